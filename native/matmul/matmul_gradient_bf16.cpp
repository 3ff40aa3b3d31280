// Weight gradients in bf16: gradient += scale · dyᵀ · x.
//
// Blocks of dy are transposed and blocks of x interleaved by the work item that uses them next: converting whole matrices through memory
// would take a third of the time of the product.
#include "matmul/blocks.h"
#include "matmul/matmul_bf16.h"

#ifdef __AVX512BF16__

namespace cre {
namespace {

constexpr int kTokenBlocksOfPass = 32;  // 1,024 tokens

// Division of a gradient: a work item is some row blocks times some panels over all tokens. Its sums and its part of dy in a pass stay in
// the second-level cache; with several passes, all sums are kept there.
struct GradientCut {
  int tokenBlocks, passes;  // blocks of a pass
  int rowBlocks, panels, rowItems, panelItems;

  GradientCut(const Matrix& dy, const Matrix& x, int threads) {
    // Time to rearrange a block of each factor, relative to the product of two blocks (measured).
#ifdef __AMX_BF16__
    constexpr double kTransposing = 1.6, kInterleaving = 0.8;
#else
    constexpr double kTransposing = 0.3, kInterleaving = 0.15;
#endif
    constexpr int kMostRows = 48, kPanelItemsTried = 8;
    passes = (dy.rowBlocks() + kTokenBlocksOfPass - 1) / kTokenBlocksOfPass;
    tokenBlocks = (dy.rowBlocks() + passes - 1) / passes;
    passes = (dy.rowBlocks() + tokenBlocks - 1) / tokenBlocks;
    const int allRows = dy.columnBlocks(), allPanels = x.columnBlocks();
    double least = 0;
    rowBlocks = 0;
    for (int rows = std::min(allRows, kMostRows); rows >= 1; rows--) {
      const int itemsOfRows = (allRows + rows - 1) / rows;
      if (rows > 1 && (allRows + rows - 2) / (rows - 1) == itemsOfRows) continue;  // fewer rows give the same number of items
      const int cached = kCachedBlocks + kCachedBlocks / 2 - rows * tokenBlocks;
      const int mostPanels = passes == 1 ? allPanels : std::min(allPanels, cached / (2 * rows));
      if (cached <= 0 || mostPanels < 1) continue;
      const int fewest = (allPanels + mostPanels - 1) / mostPanels;
      for (int items = fewest; items < fewest + kPanelItemsTried && items <= allPanels; items++) {
        const int each = (allPanels + items - 1) / items, most = (itemsOfRows * items + threads - 1) / threads;
        const double time = most * (rows * each + rows * kTransposing + each * kInterleaving);
        if (rowBlocks != 0 && time >= least) continue;
        least = time;
        rowBlocks = rows;
        panels = each;
      }
    }
    rowItems = (allRows + rowBlocks - 1) / rowBlocks;
    panelItems = (allPanels + panels - 1) / panels;
  }
};

// A matrix whose blocks are read as bf16.
template <class T>
struct Blocks {
  const T* data;
  int columnBlocks;

  explicit Blocks(const Matrix& matrix) : data(static_cast<const T*>(matrix.data)), columnBlocks(matrix.columnBlocks()) {}
  CRE_INLINE const T* at(int row, int column) const { return data + (static_cast<size_t>(row) * columnBlocks + column) * kBlockElements; }
  template <class Arrange>
  CRE_INLINE void arrange(int row, int column, bf16* out, const Arrange& arranged) const {
    if constexpr (std::is_same_v<T, bf16>) {
      arranged(at(row, column), out);
    } else {
      alignas(64) bf16 narrow[kBlockElements];
      narrowBlock(at(row, column), narrow);
      arranged(narrow, out);
    }
  }
  // All lines of a block.
  CRE_INLINE void prefetch(int row, int column) const {
    const char* block = reinterpret_cast<const char*>(at(row, column));
    for (size_t byte = 0; byte < kBlockElements * sizeof(T); byte += 64) __builtin_prefetch(block + byte, 0, 3);
  }
};

template <class Left, class Right>
struct Gradient {
  Blocks<Left> dy;
  Blocks<Right> x;
  GradientCut cut;
  int tokenBlocks;
  Finish<float, float> finish;

  void item(int item, Pool& pool, int thread) const {
    const int allRows = dy.columnBlocks, allPanels = x.columnBlocks;
    const int firstPanel = item % cut.panelItems * cut.panels, endPanel = std::min(firstPanel + cut.panels, allPanels);
    const int sumPanels = cut.passes == 1 ? 1 : cut.panels;
    Chunk chunk;
    chunk.firstRowBlock = item / cut.panelItems * cut.rowBlocks;
    chunk.rowBlocks = std::min(cut.rowBlocks, allRows - chunk.firstRowBlock);
    const size_t leftElements = static_cast<size_t>(cut.rowBlocks) * cut.tokenBlocks * kBlockElements;
    auto* left = static_cast<bf16*>(pool.scratch(thread, 1, leftElements * sizeof(bf16)));
    auto* right = static_cast<bf16*>(pool.scratch(thread, 2, kDepthBlocks * kBlockElements * sizeof(bf16)));
    const size_t sumElements = static_cast<size_t>(cut.rowBlocks) * sumPanels * kBlockElements;
    auto* sums = static_cast<float*>(pool.scratch(thread, 0, (sumElements + 2 * kBlockElements) * sizeof(float)));
    chunk.complete = sums + sumElements;
    chunk.aDepthBlockStride = chunk.bDepthBlockStride = kBlockElements;
    chunk.b = right;
    for (int pass = 0; pass < tokenBlocks; pass += cut.tokenBlocks) {
      const int passTokens = std::min(cut.tokenBlocks, tokenBlocks - pass), perChunk = chunkOf(passTokens);
      transposeLeft(chunk, pass, passTokens, left);
      chunk.aRowBlockStride = static_cast<size_t>(passTokens) * kBlockElements;
      for (int panel = firstPanel; panel < endPanel; panel++) {
        chunk.panel = panel;
        chunk.sums = sums + (sumPanels == 1 ? 0 : static_cast<size_t>(panel - firstPanel) * cut.rowBlocks * kBlockElements);
        for (int token = 0; token < passTokens; token += perChunk) {
          chunk.depthBlocks = std::min(perChunk, passTokens - token);
          for (int i = 0; i < chunk.depthBlocks; i++) {
            x.arrange(pass + token + i, panel, right + i * kBlockElements, [](const bf16* in, bf16* out) { interleaveRows(in, out); });
          }
          chunk.a = left + static_cast<size_t>(token) * kBlockElements;
          chunk.accumulate = pass + token > 0;
          chunk.last = pass + token + chunk.depthBlocks == tokenBlocks;
          const bool endOfPanel = token + chunk.depthBlocks == passTokens;
          const int nextToken = endOfPanel ? 0 : token + chunk.depthBlocks, nextPanel = endOfPanel ? panel + 1 : panel;
          Ahead ahead;
          if (nextPanel < endPanel) {
            ahead = Ahead(x.at(pass + nextToken, nextPanel), std::min(perChunk, passTokens - nextToken), kBlockElements * sizeof(Right),
                          static_cast<size_t>(allPanels) * kBlockElements * sizeof(Right), chunk.rowBlocks * chunk.depthBlocks);
          }
          multiplyChunk(chunk, ahead, finish);
        }
      }
    }
  }

  void transposeLeft(const Chunk& chunk, int pass, int passTokens, bf16* left) const {
    for (int token = 0; token < passTokens; token++) {
      for (int row = 0; row < chunk.rowBlocks; row++) {
        const int column = chunk.firstRowBlock + row;
        if (token + 1 < passTokens) dy.prefetch(pass + token + 1, column);
        dy.arrange(pass + token, column, left + (static_cast<size_t>(row) * passTokens + token) * kBlockElements,
                   [](const bf16* in, bf16* out) { transposeBlock(in, out); });
      }
    }
  }
};

template <class Left, class Right>
void weightGradient(Pool& pool, const Matrix& dy, const Matrix& x, float scale, Matrix& gradient) {
  Product product;
  product.epilogue.scale = scale;
  product.epilogue.residual = &gradient;
  product.y = &gradient;
  const GradientCut cut(dy, x, pool.threadCount());
  const Gradient<Left, Right> whole{Blocks<Left>(dy), Blocks<Right>(x), cut, dy.rowBlocks(), Finish<float, float>(product)};
  pool.parallelFor(cut.rowItems * cut.panelItems, [&](int item, int thread) { whole.item(item, pool, thread); });
}

}  // namespace

void weightGradientBf16(Pool& pool, const Matrix& dy, const Matrix& x, float scale, Matrix& gradient) {
  if (isThinGradient(dy, x)) return thinGradientBf16(pool, dy, x, scale, gradient);
  if (dy.isBf16 && x.isBf16) return weightGradient<bf16, bf16>(pool, dy, x, scale, gradient);
  if (dy.isBf16) return weightGradient<bf16, float>(pool, dy, x, scale, gradient);
  if (x.isBf16) return weightGradient<float, bf16>(pool, dy, x, scale, gradient);
  weightGradient<float, float>(pool, dy, x, scale, gradient);
}

}  // namespace cre

#endif
