// Terms of few columns in a float product: see ThinTerm.
#include "matmul/matmul.h"

namespace cre {
namespace {

constexpr int kMostColumns = kBlock;  // one block of depth
constexpr int kRowsTogether = 4;

template <int kCount>
CRE_INLINE void addRows(const ThinTerm& term, const float* x, const float* packed, float* sums) {
  Floats low[kCount], high[kCount];
#pragma GCC unroll 4
  for (int r = 0; r < kCount; r++) {
    low[r] = load(sums + r * kBlock);
    high[r] = load(sums + r * kBlock + kLanes);
  }
  for (int column = 0; column < term.columns; column++) {
    const Floats first = load(packed + column * kBlock), second = load(packed + column * kBlock + kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < kCount; r++) {
      const Floats factor = broadcast(x[r * kBlock + column] * term.scale);
      low[r] = multiplyAdd(factor, first, low[r]);
      high[r] = multiplyAdd(factor, second, high[r]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kCount; r++) {
    store(sums + r * kBlock, low[r]);
    store(sums + r * kBlock + kLanes, high[r]);
  }
}

}  // namespace

bool isThinTerm(const ProductTerm& term, bool backward) {
  const WeightView& w = *term.w;
  return term.x->columns <= kMostColumns && !term.x->isBf16 && !w.packedBf16 && !w.isQuantized() &&
         (backward ? w.backward : w.forward) != nullptr;
}

void addThinTerms(const ThinTerms& thin, int rowBlock, int panel, int rows, float* sums) {
  for (int i = 0; i < thin.count; i++) {
    const ThinTerm& term = thin.terms[i];
    const float* x = term.x + rowBlock * term.xRowBlockStride;
    const float* packed = term.packed + panel * term.panelStride;
    int row = 0;
    for (; row + kRowsTogether <= rows; row += kRowsTogether) {
      addRows<kRowsTogether>(term, x + row * kBlock, packed, sums + row * kBlock);
    }
    for (; row < rows; row++) addRows<1>(term, x + row * kBlock, packed, sums + row * kBlock);
  }
}

}  // namespace cre
