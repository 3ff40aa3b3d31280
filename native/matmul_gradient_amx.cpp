// Weight gradients on AMX tiles: gradient += scale · dyᵀ · x. Empty on the other levels.
//
// Blocks of dy are transposed, blocks of x interleaved to tiles, both by the item that needs them next: going through memory as whole
// matrices costs as much as a third of the product.
#include "blocks.h"
#include "matmul_tiles.h"

#ifdef __AMX_BF16__

namespace cre {
namespace {

constexpr int kTokenBlocksOfPass = 32;  // 1,024 tokens; each pass adds to the gradient in memory
constexpr int kItemsPerThread = 4;
constexpr int kFewestPanels = 4;

struct GradientCut {
  int tokenBlocks;  // of a pass
  int rowBlocks, panels, rowItems, panelItems;

  GradientCut(const Matrix& dy, const Matrix& x, int threads) {
    const int passes = (dy.rowBlocks() + kTokenBlocksOfPass - 1) / kTokenBlocksOfPass;
    tokenBlocks = (dy.rowBlocks() + passes - 1) / passes;
    const int allRows = dy.columnBlocks(), allPanels = x.columnBlocks();
    const int wanted = threads == 1 ? 1 : kItemsPerThread * threads;
    rowItems = (allRows + kCachedBlocks / tokenBlocks - 1) / (kCachedBlocks / tokenBlocks);
    rowBlocks = (allRows + rowItems - 1) / rowItems;
    rowItems = (allRows + rowBlocks - 1) / rowBlocks;
    panelItems = std::max(1, std::min((wanted + rowItems - 1) / rowItems, allPanels / kFewestPanels));
    panels = (allPanels + panelItems - 1) / panelItems;
    panelItems = (allPanels + panels - 1) / panels;
  }
};

// A matrix whose blocks are taken as bf16.
template <class T>
struct Blocks {
  const T* data;
  int columnBlocks;

  explicit Blocks(const Matrix& matrix) : data(static_cast<const T*>(matrix.data)), columnBlocks(matrix.columnBlocks()) {}
  CRE_INLINE const T* at(int row, int column) const {
    return data + (static_cast<size_t>(row) * columnBlocks + column) * kBlockElements;
  }
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
void gradientItem(const Blocks<Left>& dy, const Blocks<Right>& x, int firstToken, int tokens, const GradientCut& cut, int item,
                  Pool& pool, int thread, const Finish<float, float>& finish) {
  const int allRows = dy.columnBlocks, allPanels = x.columnBlocks;
  Chunk chunk;
  chunk.firstRowBlock = item / cut.panelItems * cut.rowBlocks;
  chunk.rowBlocks = std::min(cut.rowBlocks, allRows - chunk.firstRowBlock);
  const int firstPanel = item % cut.panelItems * cut.panels, endPanel = std::min(firstPanel + cut.panels, allPanels);
  auto* left = static_cast<bf16*>(pool.scratch(thread, 1, static_cast<size_t>(cut.rowBlocks) * cut.tokenBlocks * kBlockElements * sizeof(bf16)));
  auto* right = static_cast<bf16*>(pool.scratch(thread, 2, kDepthBlocks * kBlockElements * sizeof(bf16)));
  chunk.sums = static_cast<float*>(pool.scratch(thread, 0, (cut.rowBlocks + 2) * kBlockElements * sizeof(float)));
  chunk.complete = chunk.sums + static_cast<size_t>(cut.rowBlocks) * kBlockElements;
  for (int token = 0; token < tokens; token++) {
    for (int row = 0; row < chunk.rowBlocks; row++) {
      const int column = chunk.firstRowBlock + row;
      if (token + 1 < tokens) dy.prefetch(firstToken + token + 1, column);
      dy.arrange(firstToken + token, column, left + (static_cast<size_t>(row) * tokens + token) * kBlockElements,
                 [](const bf16* in, bf16* out) { transposeBlock(in, out); });
    }
  }
  chunk.aRowBlockStride = static_cast<size_t>(tokens) * kBlockElements;
  chunk.aDepthBlockStride = chunk.bDepthBlockStride = kBlockElements;
  chunk.b = right;
  const int perChunk = chunkOf(tokens);
  for (int panel = firstPanel; panel < endPanel; panel++) {
    chunk.panel = panel;
    for (int token = 0; token < tokens; token += perChunk) {
      chunk.depthBlocks = std::min(perChunk, tokens - token);
      for (int i = 0; i < chunk.depthBlocks; i++) {
        x.arrange(firstToken + token + i, panel, right + i * kBlockElements,
                  [](const bf16* in, bf16* out) { interleaveRows(in, out); });
      }
      chunk.a = left + static_cast<size_t>(token) * kBlockElements;
      chunk.accumulate = token > 0;
      chunk.last = token + chunk.depthBlocks == tokens;
      const int nextToken = chunk.last ? 0 : token + chunk.depthBlocks, nextPanel = chunk.last ? panel + 1 : panel;
      Ahead ahead;
      if (nextPanel < endPanel) {
        ahead = Ahead(x.at(firstToken + nextToken, nextPanel), std::min(perChunk, tokens - nextToken), kBlockElements * sizeof(Right),
                      static_cast<size_t>(allPanels) * kBlockElements * sizeof(Right), chunk.rowBlocks * chunk.depthBlocks);
      }
      multiplyChunk(chunk, ahead, finish);
    }
  }
}

template <class Left, class Right>
void weightGradient(Pool& pool, const Matrix& dy, const Matrix& x, float scale, Matrix& gradient) {
  Product product;
  product.epilogue.scale = scale;
  product.epilogue.residual = &gradient;
  product.y = &gradient;
  const Finish<float, float> finish(product);
  const GradientCut cut(dy, x, pool.threadCount());
  for (int first = 0; first < dy.rowBlocks(); first += cut.tokenBlocks) {
    const int tokens = std::min(cut.tokenBlocks, dy.rowBlocks() - first);
    pool.parallelFor(cut.rowItems * cut.panelItems, [&](int item, int thread) {
      gradientItem(Blocks<Left>(dy), Blocks<Right>(x), first, tokens, cut, item, pool, thread, finish);
    });
  }
}

}  // namespace

void weightGradientBf16(Pool& pool, const Matrix& dy, const Matrix& x, float scale, Matrix& gradient) {
  if (dy.isBf16 && x.isBf16) return weightGradient<bf16, bf16>(pool, dy, x, scale, gradient);
  if (dy.isBf16) return weightGradient<bf16, float>(pool, dy, x, scale, gradient);
  if (x.isBf16) return weightGradient<float, bf16>(pool, dy, x, scale, gradient);
  weightGradient<float, float>(pool, dy, x, scale, gradient);
}

}  // namespace cre

#endif
