// Sums of products: y = scale · x · wᵀ + the others + bias + residual, and the same backward.
#include <vector>

#include "matmul.h"

namespace cre {
namespace {

void multiplyTerm(Pool& pool, const ProductTerm& term, bool backward, const MatmulEpilogue& epilogue, Matrix& y) {
  if (backward) matmulBackwardInput(pool, *term.x, *term.w, epilogue, y);
  else matmulForward(pool, *term.x, *term.w, epilogue, y);
}

// One after the other; the sums wait in float.
void multiplyOneByOne(Pool& pool, const ProductTerm* terms, int count, bool backward, const MatmulEpilogue& epilogue, Matrix& y) {
  Matrix sums = y;
  sums.isBf16 = false;
  if (y.isBf16) sums.data = pool.sharedScratch(5, sums.bytes());
  const Matrix* before = epilogue.residual;
  for (int i = 0; i < count; i++) {
    const bool last = i + 1 == count;
    multiplyTerm(pool, terms[i], backward, {terms[i].scale, i == 0 ? epilogue.bias : nullptr, before}, last ? y : sums);
    before = &sums;
  }
}

#ifdef __AMX_BF16__
constexpr int kFirstSlot = 1, kMostCopies = 4;  // slots of shared scratch for left factors in bf16

bool isPlainBf16(const WeightView& w, bool backward) {
  return w.packedBf16 && !w.isQuantized() && (backward ? w.backward : w.forward) != nullptr;
}

// The left factor in bf16: as it stands, or scaled and rounded to shared scratch.
const bf16* leftFactor(Pool& pool, const ProductTerm& term, float scale, int slot) {
  const Matrix& x = *term.x;
  Matrix copy{pool.sharedScratch(slot, x.elements() * sizeof(bf16)), x.rows, x.columns, true};
  const Floats factor = broadcast(scale);
  withElements(x, [&](auto* from) {
    forPieces(pool, x.elements(), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; i += kBlock) store(copy.b16() + i, load(from + i) * factor, load(from + i + kLanes) * factor);
    });
  });
  return copy.b16();
}

// All in one accumulation on the tiles; false when this is not possible.
bool multiplyTogether(Pool& pool, const ProductTerm* terms, int count, bool backward, const MatmulEpilogue& epilogue, Matrix& y) {
  for (const Matrix* narrow : {epilogue.gate, epilogue.up}) {
    if (narrow != nullptr && !(narrow->isBf16 && y.isBf16)) return false;
  }
  const float scale = terms[0].scale;  // of the whole sum; terms of another scale are copied
  int copies = 0;
  for (int i = 0; i < count; i++) {
    if (!isPlainBf16(*terms[i].w, backward) || (terms[i].scale != scale && scale != 1)) return false;
    copies += terms[i].scale != scale || !terms[i].x->isBf16;
  }
  if (copies > kMostCopies) return false;
  std::vector<Product> products(count);
  int slot = kFirstSlot;
  for (int i = 0; i < count; i++) {
    const ProductTerm& term = terms[i];
    Product& product = products[i];
    product.aRowBlockStride = product.bPanelStride = static_cast<size_t>(term.x->columnBlocks()) * kBlockElements;
    product.aDepthBlockStride = product.bDepthBlockStride = kBlockElements;
    product.depthBlocks = term.x->columnBlocks();
    const bool copied = term.scale != scale || !term.x->isBf16;
    product.a = copied ? leftFactor(pool, term, term.scale / scale, slot++) : term.x->b16();
    product.b = backward ? term.w->backward : term.w->forward;
    product.next = i + 1 < count ? &products[i + 1] : nullptr;
  }
  products[0].epilogue = epilogue;
  products[0].epilogue.scale = scale;
  products[0].y = &y;
  multiplyBf16(pool, products[0]);
  return true;
}
#endif

}  // namespace

void matmulSum(Pool& pool, const ProductTerm* terms, int count, bool backward, const MatmulEpilogue& epilogue, Matrix& y) {
#ifdef __AMX_BF16__
  if (multiplyTogether(pool, terms, count, backward, epilogue, y)) return;
#endif
  if (epilogue.gate == nullptr) return multiplyOneByOne(pool, terms, count, backward, epilogue, y);
  const MatmulEpilogue plain{epilogue.scale, epilogue.bias, epilogue.residual};
  if (epilogue.gated != nullptr) {
    multiplyOneByOne(pool, terms, count, backward, plain, y);
    return swiglu(pool, *epilogue.gate, y, *epilogue.gated);
  }
  Matrix dh = y;
  dh.data = pool.sharedScratch(6, dh.bytes());
  multiplyOneByOne(pool, terms, count, backward, plain, dh);
  swigluBackward(pool, *epilogue.gate, *epilogue.up, dh, y, *epilogue.dUp);
}

}  // namespace cre
