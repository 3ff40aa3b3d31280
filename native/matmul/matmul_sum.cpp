// Sums of products: y = Σ scale · x · wᵀ + bias + residual, or backward with w instead of wᵀ.
#include <vector>

#include "matmul/matmul.h"

namespace cre {
namespace {

void multiplyTerm(Pool& pool, const ProductTerm& term, bool backward, const MatmulEpilogue& epilogue, Matrix& y) {
  if (backward) matmulBackwardInput(pool, *term.x, *term.w, epilogue, y);
  else matmulForward(pool, *term.x, *term.w, epilogue, y);
}

// Whether multiplyTerm can add thin terms to this product.
bool takesThinTerms(const ProductTerm& term) {
#ifdef __AMX_INT8__
  if (term.w->hasByteProducts()) return false;
#endif
  return !term.w->packedBf16 && term.scale != 0;
}

// One product after the other, those of few columns together with the last of the others; the sums are kept in float.
void multiplyOneByOne(Pool& pool, const ProductTerm* terms, int count, bool backward, const MatmulEpilogue& epilogue, Matrix& y) {
  std::vector<ProductTerm> products;
  std::vector<ProductTerm> thinOnes;
  for (int i = 0; i < count; i++) (isThinTerm(terms[i], backward) ? thinOnes : products).push_back(terms[i]);
  if (products.empty() || !takesThinTerms(products.back()) || thinOnes.size() > kMostThinTerms) {
    products.assign(terms, terms + count);
    thinOnes.clear();
  }
  ThinTerms thin;
  for (const ProductTerm& term : thinOnes) {
    const Matrix& x = *term.x;
    const void* packed = backward ? term.w->backward : term.w->forward;
    thin.terms[thin.count++] = {x.f32(), kBlockElements, static_cast<const float*>(packed), kBlockElements, x.columns,
                                term.scale / products.back().scale};
  }
  Matrix sums = y;
  sums.isBf16 = false;
  if (y.isBf16) sums.data = pool.sharedScratch(5, sums.bytes());
  const Matrix* before = epilogue.residual;
  for (size_t i = 0; i < products.size(); i++) {
    const bool last = i + 1 == products.size();
    MatmulEpilogue each{products[i].scale, i == 0 ? epilogue.bias : nullptr, before};
    if (last && thin.count > 0) each.thin = &thin;
    multiplyTerm(pool, products[i], backward, each, last ? y : sums);
    before = &sums;
  }
}

#ifdef __AVX512BF16__
constexpr int kFirstSlot = 1, kMostCopies = 4;  // slots of shared scratch for left factors in bf16
constexpr int kPartedColumns = 64;

bool isPlainBf16(const WeightView& w, bool backward) {
  return w.packedBf16 && !w.isQuantized() && (backward ? w.backward : w.forward) != nullptr;
}

// The bf16 numbers of a matrix in place, or null.
const bf16* narrow(const Matrix& x) { return x.isBf16 ? x.b16() : x.narrowCopy; }

// The scaled left factor as bf16 in shared scratch; `parted`: followed by its rounding errors as a second matrix.
const bf16* leftFactor(Pool& pool, const ProductTerm& term, float scale, bool parted, int slot) {
  const Matrix& x = *term.x;
  const size_t elements = x.elements();
  auto* copy = static_cast<bf16*>(pool.sharedScratch(slot, (parted ? 2 : 1) * elements * sizeof(bf16)));
  const Floats factor = broadcast(scale);
  withElements(x, [&](auto* from) {
    forPieces(pool, elements, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; i += kBlock) {
        const Floats low = load(from + i) * factor, high = load(from + i + kLanes) * factor;
        store(copy + i, low, high);
        if (parted) store(copy + elements + i, low - rounded(low), high - rounded(high));
      }
    });
  });
  return copy;
}

// All products in one accumulation on the tiles; false if this is not possible.
bool multiplyTogether(Pool& pool, const ProductTerm* terms, int count, bool backward, const MatmulEpilogue& epilogue, Matrix& y) {
  if (epilogue.rotary != nullptr && !rotatesInProduct(y, *epilogue.rotary)) return false;
  for (const Matrix* factor : {epilogue.gate, epilogue.up}) {
    if (factor != nullptr && !(factor->isBf16 && y.isBf16)) return false;
  }
  const float scale = terms[0].scale;  // of the whole sum; terms of another scale are copied
  int copies = 0;
  for (int i = 0; i < count; i++) {
    if (!isPlainBf16(*terms[i].w, backward) || (terms[i].scale != scale && scale != 1)) return false;
    copies += terms[i].scale != scale || narrow(*terms[i].x) == nullptr;
  }
  if (copies > kMostCopies) return false;
  std::vector<Product> products;
  int slot = kFirstSlot;
  for (int i = 0; i < count; i++) {
    const ProductTerm& term = terms[i];
    Product product;
    product.aRowBlockStride = product.bPanelStride = static_cast<size_t>(term.x->columnBlocks()) * kBlockElements;
    product.aDepthBlockStride = product.bDepthBlockStride = kBlockElements;
    product.depthBlocks = term.x->columnBlocks();
    product.lastPairs = lastPairsOf(term.x->columns);
    const bool copied = term.scale != scale || narrow(*term.x) == nullptr;
    // The activation between the two matrices of an adapter has few columns: a second part for its rounding errors costs little, and without it
    // the whole output of the adapter would carry a rounding error.
    const bool parted = !backward && copied && !term.x->isBf16 && term.x->columns <= kPartedColumns;
    const bf16* a = copied ? leftFactor(pool, term, term.scale / scale, parted, slot++) : narrow(*term.x);
    product.a = a;
    product.b = backward ? term.w->backward : term.w->forward;
    products.push_back(product);
    if (!parted) continue;
    product.a = a + term.x->elements();
    products.push_back(product);
  }
  for (size_t i = 0; i + 1 < products.size(); i++) products[i].next = &products[i + 1];
  products[0].epilogue = epilogue;
  products[0].epilogue.scale = scale;
  products[0].y = &y;
  multiplyBf16(pool, products[0]);
  return true;
}
#endif

}  // namespace

void matmulSum(Pool& pool, const ProductTerm* terms, int count, bool backward, const MatmulEpilogue& epilogue, Matrix& y) {
#ifdef __AVX512BF16__
  if (multiplyTogether(pool, terms, count, backward, epilogue, y)) return;
#endif
  if (epilogue.rotary != nullptr) {
    return rotateAfter(pool, epilogue, y,
                       [&](const MatmulEpilogue& plain, Matrix& sums) { matmulSum(pool, terms, count, backward, plain, sums); });
  }
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
