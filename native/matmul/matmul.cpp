// The products of kernels.h, expressed as products of blocks and panels.
#include "matmul/matmul.h"

#include "matmul/blocks.h"
#include "matmul/w8a8.h"

namespace cre {
namespace {

#ifdef __AVX512BF16__
// The blocks of a matrix as bf16: its own, or converted to shared scratch.
const bf16* bf16Blocks(Pool& pool, const Matrix& x, int slot) {
  if (x.isBf16) return x.b16();
  if (x.narrowCopy != nullptr) return x.narrowCopy;
  auto* out = static_cast<bf16*>(pool.sharedScratch(slot, x.elements() * sizeof(bf16)));
  const int columnBlocks = x.columnBlocks();
  if (x.rows == 1) {
    for (int block = 0; block < columnBlocks; block++) {
      const float* row = x.f32() + static_cast<size_t>(block) * kBlockElements;
      store(out + static_cast<size_t>(block) * kBlockElements, load(row), load(row + kLanes));
    }
    return out;
  }
  pool.parallelFor(x.rowBlocks(), [&](int rowBlock, int) {
    for (int block = rowBlock * columnBlocks; block < (rowBlock + 1) * columnBlocks; block++) {
      narrowBlock(x.f32() + static_cast<size_t>(block) * kBlockElements, out + static_cast<size_t>(block) * kBlockElements);
    }
  });
  return out;
}
#endif

#ifdef __AVX512BF16__
// The matrix, or its narrow copy.
Matrix narrowest(const Matrix& x) { return x.narrowCopy == nullptr ? x : Matrix{x.narrowCopy, x.rows, x.columns, true}; }
#endif

// `packed` null: panels are made from w.forward.
void multiplyPacked(Pool& pool, const Matrix& x, const WeightView& w, const void* packed, bool backward, const MatmulEpilogue& epilogue,
                    Matrix& y) {
  Product product;
  product.aRowBlockStride = product.bPanelStride = static_cast<size_t>(x.columnBlocks()) * kBlockElements;
  product.aDepthBlockStride = product.bDepthBlockStride = kBlockElements;
  product.depthBlocks = x.columnBlocks();
  product.lastPairs = lastPairsOf(x.columns);
  product.b = packed;
  product.source = packed == nullptr ? &w : nullptr;
  product.sourceBackward = backward;
  product.epilogue = epilogue;
  product.y = &y;
#ifdef __AVX512BF16__
  if (w.packedBf16) {
    product.a = bf16Blocks(pool, x, 0);
    return packed == nullptr ? multiplyBf16FromSource(pool, product) : multiplyBf16(pool, product);
  }
#endif
  product.a = x.f32();
  multiplyFloat(pool, product);
}

}  // namespace

const char* levelName() { return CRE_LEVEL; }

bool supportsBf16() {
#ifdef __AVX512BF16__
  return true;
#else
  return false;
#endif
}

void matmulForward(Pool& pool, const Matrix& x, const WeightView& w, const MatmulEpilogue& epilogue, Matrix& y) {
  if (epilogue.rotary != nullptr) {
#ifdef __AVX512BF16__
    const bool onTheWay = w.packedBf16 && !w.isQuantized() && rotatesInProduct(y, *epilogue.rotary);
#else
    constexpr bool onTheWay = false;
#endif
    if (!onTheWay)
      return rotateAfter(pool, epilogue, y, [&](const MatmulEpilogue& plain, Matrix& sums) { matmulForward(pool, x, w, plain, sums); });
  }
  if (w.hasByteProducts()) return multiplyBytes(pool, x, w, epilogue, y);
  multiplyPacked(pool, x, w, w.isQuantized() ? nullptr : w.forward, false, epilogue, y);
}

void matmulBackwardInput(Pool& pool, const Matrix& dy, const WeightView& w, const MatmulEpilogue& epilogue, Matrix& dx) {
  multiplyPacked(pool, dy, w, w.backward, true, epilogue, dx);
}

void matmulBackwardWeight(Pool& pool, const Matrix& dy, const Matrix& x, float scale, WeightView& w) {
  Matrix gradient{w.gradient, w.rows, w.columns, false};
  clearPaddingRows(dy);
  clearPaddingRows(x);
#ifdef __AVX512BF16__
  if (w.packedBf16) return weightGradientBf16(pool, narrowest(dy), narrowest(x), scale, gradient);
#endif
  // Float needs no rearranging: a block of dy read by columns is a block of dyᵀ, and a column of blocks of x is a panel.
  Product product;
  product.a = dy.f32();
  product.aTransposed = true;
  product.aRowBlockStride = product.bPanelStride = kBlockElements;
  product.aDepthBlockStride = static_cast<size_t>(dy.columnBlocks()) * kBlockElements;
  product.b = x.f32();
  product.bDepthBlockStride = static_cast<size_t>(x.columnBlocks()) * kBlockElements;
  product.depthBlocks = dy.rowBlocks();
  product.epilogue.scale = scale;
  product.epilogue.residual = &gradient;
  product.y = &gradient;
  multiplyFloat(pool, product);
}

void matmulBackward(Pool& pool, const Matrix& dy, const Matrix& x, float scale, WeightView& w, Matrix& dx) {
#ifdef __AVX512BF16__
  const Matrix narrow = narrowest(dy);
  if (canBackTogether(narrow, x, w, dx)) return thinBackwardBf16(pool, narrow, x, scale, w, dx);
#endif
  matmulBackwardWeight(pool, dy, x, scale, w);
  MatmulEpilogue epilogue;
  epilogue.scale = scale;
  matmulBackwardInput(pool, dy, w, epilogue, dx);
}

void biasBackward(Pool& pool, const Matrix& dy, WeightView& b) {
  const int columnBlocks = dy.columnBlocks(), rowBlocks = dy.rowBlocks();
  clearPaddingRows(dy);
  pool.parallelFor(columnBlocks, [&](int column, int) {
    withElements(dy, [&](const auto* data) {
      Floats low = zeros(), high = zeros();
      for (int row = 0; row < rowBlocks; row++) {
        const auto* block = data + (static_cast<size_t>(row) * columnBlocks + column) * kBlockElements;
        for (int r = 0; r < kBlock; r++) {
          low = low + load(block + r * kBlock);
          high = high + load(block + r * kBlock + kLanes);
        }
      }
      float* gradient = b.gradient + column * kBlock;
      store(gradient, load(gradient) + low);
      store(gradient + kLanes, load(gradient + kLanes) + high);
    });
  });
}

}  // namespace cre
