// Shared by the matrix products: the shape of a product, its division into work items, and the epilogue of a finished block of sums.
#pragma once
#include <algorithm>
#include <type_traits>

#include "runtime/exponential.h"
#include "runtime/kernels.h"
#include "rows/rotary.h"
#include "runtime/vector.h"

namespace cre {

// y = scale · A · B + bias + residual. A consists of blocks of 32 rows x 32 of depth, B of panels of 32 columns. Strides are in elements.
struct Product {
  const void* a = nullptr;
  size_t aRowBlockStride = 0;  // from one row block to the next
  size_t aDepthBlockStride = 0;
  bool aTransposed = false;  // blocks are stored [depth][row] (float only)
  const void* b = nullptr;
  size_t bPanelStride = 0;
  size_t bDepthBlockStride = 0;
  const WeightView* source = nullptr;  // instead of b: panels are made from source->forward during the product
  bool sourceBackward = false;
  int depthBlocks = 0;
  int lastPairs = kBlock / 2;  // pairs of depth in the last block that are not padding: vector units can leave out the others
  MatmulEpilogue epilogue;
  Matrix* y = nullptr;
  bool far = false;               // non-temporal stores of y: see isFar
  const Product* next = nullptr;  // a further product, added before the epilogue (bf16 only); its own epilogue and y are ignored

  int allDepthBlocks() const { return depthBlocks + (next == nullptr ? 0 : next->allDepthBlocks()); }
};

void multiplyFloat(Pool&, const Product&);
// levels avx512bf16 and amx only: matmul_bf16.cpp, matmul_quantized_bf16.cpp, matmul_gradient_bf16.cpp
void multiplyBf16(Pool&, const Product&);
bool rotatesInProduct(const Matrix& y, const Rotary&);  // whether multiplyBf16 can apply this rotation
void multiplyBf16FromSource(Pool&, const Product&);
void weightGradientBf16(Pool&, const Matrix& dy, const Matrix& x, float scale, Matrix& gradient);
// matmul_thin_bf16.cpp: gradients of weights with up to 16 columns
bool isThinGradient(const Matrix& dy, const Matrix& x);
void thinGradientBf16(Pool&, const Matrix& dy, const Matrix& x, float scale, Matrix& gradient);
// w's gradient += scale · dyᵀ · x and dx = scale · dy · w in one pass over dy
bool canBackTogether(const Matrix& dy, const Matrix& x, const WeightView& w, const Matrix& dx);
void thinBackwardBf16(Pool&, const Matrix& dy, const Matrix& x, float scale, WeightView& w, Matrix& dx);

// matmul_thin_float.cpp: adds the thin terms to the 32 x 32 sums of a row block and a panel.
bool isThinTerm(const ProductTerm& term, bool backward);
void addThinTerms(const ThinTerms& thin, int rowBlock, int panel, int rows, float* sums);

// Pairs of columns in the last block of a matrix.
inline int lastPairsOf(int columns) { return ((columns - 1) % kBlock + 2) / 2; }

constexpr float kNoBias[kBlock] = {};

// Epilogue: makes rows of y from rows of a finished block of sums (32 x 32, row-major). Residual is void if there is none.
template <class Out, class Residual>
struct Finish {
  static constexpr int kRowsTogether = 2;
  Out* y;
  const Residual* residual;
  const float* bias;
  float scale;
  int rows, columnBlocks;
  bool far;  // see isFar

  explicit Finish(const Product& product)
      : y(static_cast<Out*>(product.y->data)),
        residual(nullptr),
        bias(product.epilogue.bias),
        scale(product.epilogue.scale),
        rows(product.y->rows),
        columnBlocks(product.y->columnBlocks()),
        far(product.far) {
    if constexpr (!std::is_void_v<Residual>) residual = static_cast<const Residual*>(product.epilogue.residual->data);
  }

  // One block of y.
  struct Block {
    Out* y;
    const Residual* residual;
    const float* bias;
    float scale;
    int filled;  // rows of the matrix; the others are zero
    bool far;

    CRE_INLINE void row(const float* sums, int r) const {
      const Floats factor = broadcast(scale);
      Floats low = multiplyAdd(load(sums + r * kBlock), factor, load(bias));
      Floats high = multiplyAdd(load(sums + r * kBlock + kLanes), factor, load(bias + kLanes));
      if constexpr (!std::is_void_v<Residual>) {
        low = low + load(residual + r * kBlock);
        high = high + load(residual + r * kBlock + kLanes);
      }
      store(y + r * kBlock, low, high, far);
    }
    CRE_INLINE void operator()(const float* sums, int begin, int end) const {
      const int computed = std::min(end, filled);
      for (int r = begin; r < computed; r++) row(sums, r);
      for (int r = std::max(begin, filled); r < end; r++) store(y + r * kBlock, zeros(), zeros());
    }
    // kRowsTogether rows.
    CRE_INLINE void some(const float* sums, int begin) const {
      if (begin + kRowsTogether > filled) return (*this)(sums, begin, begin + kRowsTogether);
#pragma GCC unroll 2
      for (int i = 0; i < kRowsTogether; i++) row(sums, begin + i);
    }
    // Prefetches the input of these rows.
    CRE_INLINE void prefetchSome(int begin) const {
      if constexpr (!std::is_void_v<Residual>) {
        for (int i = 0; i < kRowsTogether; i++) prefetchRow(residual + (begin + i) * kBlock);
      }
    }
  };

  CRE_INLINE Block at(int rowBlock, int panel) const {
    const size_t start = (static_cast<size_t>(rowBlock) * columnBlocks + panel) * kBlockElements;
    Block block{y + start, nullptr, bias == nullptr ? kNoBias : bias + panel * kBlock, scale, rows - rowBlock * kBlock, far};
    if constexpr (!std::is_void_v<Residual>) block.residual = residual + start;
    return block;
  }
  CRE_INLINE void operator()(const float* sums, int rowBlock, int panel, int begin, int end) const {
    at(rowBlock, panel)(sums, begin, end);
  }
};

#ifdef __AVX512BF16__
// d silu(x) / dx, given σ(x) and silu(x).
CRE_INLINE Floats siluSlope(const Floats& sigma, const Floats& silu) { return multiplyAdd(silu, broadcast(1.0f) - sigma, sigma); }

// Epilogue of bf16 results with a gate: y and silu(gate) · y, or backward the gradients of gate and up.
template <bool kBackward>
struct GatedFinish {
  static constexpr int kRowsTogether = 1;
  const MatmulEpilogue& epilogue;
  bf16* y;
  int rows, columnBlocks;
  bool far;

  explicit GatedFinish(const Product& product)
      : epilogue(product.epilogue), y(product.y->b16()), rows(product.y->rows), columnBlocks(product.y->columnBlocks()), far(product.far) {}

  struct Block {
    const bf16 *gate, *up;
    bf16 *first, *second;
    const float* bias;
    float scale;
    int filled;
    bool far;

    CRE_INLINE Floats part(const float* sums, int at, int half, Floats& other) const {
      const int i = at + half * kLanes;
      // Rounded as if it were stored first, so that a product with a gate is bit-identical to the two separate operations.
      const Floats product = rounded(multiplyAdd(load(sums + i), broadcast(scale), load(bias + half * kLanes)));
      const Floats x = load(gate + i), sigma = roughLogistic(x), silu = x * sigma;
      other = product * silu;
      if constexpr (kBackward) return product * load(up + i) * siluSlope(sigma, silu);
      return product;
    }
    CRE_INLINE void row(const float* sums, int r) const {
      Floats otherLow, otherHigh;
      const Floats low = part(sums, r * kBlock, 0, otherLow), high = part(sums, r * kBlock, 1, otherHigh);
      store(first + r * kBlock, low, high, far);
      store(second + r * kBlock, otherLow, otherHigh, far);
    }
    CRE_INLINE void operator()(const float* sums, int begin, int end) const {
      const int computed = std::min(end, filled);
      for (int r = begin; r < computed; r++) row(sums, r);
      for (int r = std::max(begin, filled); r < end; r++) {
        store(first + r * kBlock, zeros(), zeros());
        store(second + r * kBlock, zeros(), zeros());
      }
    }
    CRE_INLINE void some(const float* sums, int begin) const { (*this)(sums, begin, begin + kRowsTogether); }
    CRE_INLINE void prefetchSome(int begin) const {
      prefetchRow(gate + begin * kBlock);
      if constexpr (kBackward) prefetchRow(up + begin * kBlock);
    }
  };

  CRE_INLINE Block at(int rowBlock, int panel) const {
    const size_t start = (static_cast<size_t>(rowBlock) * columnBlocks + panel) * kBlockElements;
    bf16* second = (kBackward ? epilogue.dUp : epilogue.gated)->b16() + start;
    const bf16* up = kBackward ? epilogue.up->b16() + start : nullptr;
    const float* bias = epilogue.bias == nullptr ? kNoBias : epilogue.bias + panel * kBlock;
    return {epilogue.gate->b16() + start, up, y + start, second, bias, epilogue.scale, rows - rowBlock * kBlock, far};
  }
  CRE_INLINE void operator()(const float* sums, int rowBlock, int panel, int begin, int end) const {
    at(rowBlock, panel)(sums, begin, end);
  }
};

// Epilogue with rotation: finished sums of whole heads (Rotation::isAligned) to blocks of a bf16 result.
struct RotatingFinish {
  bf16* y;
  const float* bias;
  float scale;
  int rows, columnBlocks;
  bool far;
  int headPanels, pairPanels;
  const float* tables;   // cosines, then sines of each slot
  const int32_t* slots;  // of the rows

  RotatingFinish(const Product& product, const float* tables, const int32_t* slots)
      : y(product.y->b16()),
        bias(product.epilogue.bias),
        scale(product.epilogue.scale),
        rows(product.y->rows),
        columnBlocks(product.y->columnBlocks()),
        far(product.far),
        headPanels(product.epilogue.rotary->headWidth / kBlock),
        pairPanels(product.epilogue.rotary->rotation.pairs / kBlock),
        tables(tables),
        slots(slots) {}

  // One row block of the head that begins at `panel`; the sums of its panels are `stride` elements apart.
  void operator()(const float* sums, size_t stride, int rowBlock, int panel) const {
    for (int i = 0; i < pairPanels; i++) {
      const float *first = sums + i * stride, *second = first + pairPanels * stride;
      bf16* const to = blockOf(rowBlock, panel + i);
      bf16* const otherTo = blockOf(rowBlock, panel + i + pairPanels);
      const float *added = biasOf(panel + i), *otherAdded = biasOf(panel + i + pairPanels);
      forRows(rowBlock, [&](int r, bool isRow) {
        Floats a[2] = {zeros(), zeros()}, b[2] = {zeros(), zeros()};
        if (isRow) {
          const float* cosines = tables + static_cast<size_t>(slots[rowBlock * kBlock + r]) * 2 * pairPanels * kBlock + i * kBlock;
          for (int half = 0; half < 2; half++) {
            const int lane = half * kLanes;
            a[half] = sumOf(first + r * kBlock + lane, added + lane);
            b[half] = sumOf(second + r * kBlock + lane, otherAdded + lane);
            rotatePairs(a[half], b[half], load(cosines + lane), load(cosines + pairPanels * kBlock + lane));
          }
        }
        store(to + r * kBlock, a[0], a[1], far);
        store(otherTo + r * kBlock, b[0], b[1], far);
      });
    }
    for (int i = 2 * pairPanels; i < headPanels; i++) {
      const float *from = sums + i * stride, *added = biasOf(panel + i);
      bf16* const to = blockOf(rowBlock, panel + i);
      forRows(rowBlock, [&](int r, bool isRow) {
        if (isRow) store(to + r * kBlock, sumOf(from + r * kBlock, added), sumOf(from + r * kBlock + kLanes, added + kLanes), far);
        else store(to + r * kBlock, zeros(), zeros(), far);
      });
    }
  }

 private:
  template <class Body>
  CRE_INLINE void forRows(int rowBlock, Body&& body) const {
    const int filled = std::min(kBlock, rows - rowBlock * kBlock);
    for (int r = 0; r < kBlock; r++) body(r, r < filled);
  }
  bf16* blockOf(int rowBlock, int panel) const { return y + (static_cast<size_t>(rowBlock) * columnBlocks + panel) * kBlockElements; }
  const float* biasOf(int panel) const { return bias == nullptr ? kNoBias : bias + panel * kBlock; }
  CRE_INLINE Floats sumOf(const float* sums, const float* added) const { return multiplyAdd(load(sums), broadcast(scale), load(added)); }
};
#endif

// Calls body(finish) with the Finish for the element types of y and the residual.
template <class Body>
void withFinish(const Product& product, Body&& body) {
  const Matrix* residual = product.epilogue.residual;
#ifdef __AVX512BF16__
  if (product.y->isBf16) {
    if (residual == nullptr) return body(Finish<bf16, void>(product));
    if (residual->isBf16) return body(Finish<bf16, bf16>(product));
    return body(Finish<bf16, float>(product));
  }
  if (residual != nullptr && residual->isBf16) return body(Finish<float, bf16>(product));
#endif
  if (residual == nullptr) return body(Finish<float, void>(product));
  body(Finish<float, float>(product));
}

// The product in float, then the rotation.
template <class Multiply>
void rotateAfter(Pool& pool, const MatmulEpilogue& epilogue, Matrix& y, Multiply&& multiply) {
  MatmulEpilogue plain = epilogue;
  plain.rotary = nullptr;
  Matrix sums = y;
  sums.isBf16 = false;
  if (y.isBf16) sums.data = pool.sharedScratch(6, sums.bytes());
  multiply(plain, sums);
  rotary(pool, sums, *epilogue.rotary, false, y);
}

// Largest pass when A does not fit in the cache. The more rows and panels share a pass, the fewer blocks are read from outside the cache.
struct PassSize {
  int rowBlocks, panels;
  int cachedBlocks;  // of A
};

// Division of a product: a work item is some row blocks times some panels over the whole depth, so threads never wait for each other.
struct Cut {
  int rowBlocks, panels;  // of one item
  int depthBlocks;        // of one pass: rowBlocks x depthBlocks of A stay in the second-level cache
  int rowItems, panelItems;

  // `cachedBlocks`: how many blocks of A may stay in the cache.
  Cut(const Product& product, int threads, int cachedBlocks, const PassSize& pass) {
    constexpr int kFewestRowBlocks = 4, kItemsPerThread = 4, kPassItemsPerThread = 2;
    const int allRows = product.y->rowBlocks(), allPanels = product.y->columnBlocks();
    const int wanted = threads == 1 ? 1 : kItemsPerThread * threads;
    const int allDepth = product.allDepthBlocks(), fitting = cachedBlocks / allDepth;
    rowBlocks = std::min(allRows, fitting);
    depthBlocks = allDepth;
    panels = 1;
    if (fitting < std::min(allRows, kFewestRowBlocks)) {
      // A does not fit: several panels share a pass over a part of the depth, and their sums are kept in scratch.
      rowBlocks = std::min(allRows, pass.rowBlocks);
      const int passes = (allDepth * rowBlocks + pass.cachedBlocks - 1) / pass.cachedBlocks;
      depthBlocks = (allDepth + passes - 1) / passes;
      const int rows = (allRows + rowBlocks - 1) / rowBlocks;
      panels = std::max(1, std::min({pass.panels, allPanels, allPanels * rows / (threads == 1 ? 1 : kPassItemsPerThread * threads)}));
      panelItems = (allPanels + panels - 1) / panels;
      while (panelItems < allPanels && rows * panelItems % threads != 0) panelItems++;
      panels = (allPanels + panelItems - 1) / panelItems;
    }
    panelItems = (allPanels + panels - 1) / panels;
    rowItems = (allRows + rowBlocks - 1) / rowBlocks;
    if (rowItems * panelItems < wanted) {
      rowItems = std::max(rowItems, std::min((wanted + panelItems - 1) / panelItems, allRows / kFewestRowBlocks));
      // Few panels, as in an adapter's products: a busy thread is worth more than rows that share a panel.
      if (rowItems * panelItems < threads) rowItems = std::min((threads + panelItems - 1) / panelItems, allRows);
    }
    rowBlocks = (allRows + rowItems - 1) / rowItems;
    rowItems = (allRows + rowBlocks - 1) / rowBlocks;
  }
  int items() const { return rowItems * panelItems; }
};

}  // namespace cre
