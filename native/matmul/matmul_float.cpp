// Products of float blocks and panels on every level: a register tile of kRows x kColumns sums; A is broadcast, B is streamed.
#include "matmul/matmul_sources.h"
#include "runtime/neon.h"

namespace cre {
namespace {

// Register tile of the level, and the number of blocks of A that stay in the second-level cache.
#if defined(__AVX512F__)
constexpr int kRows = 8, kVectors = 2, kDepthBlocks = 8, kCachedBlocks = 160;
#elif defined(__AVX2__)
constexpr int kRows = 6, kVectors = 1, kDepthBlocks = 4, kCachedBlocks = 40;
#elif defined(__aarch64__)
constexpr int kRows = 4, kVectors = 1, kDepthBlocks = 4, kCachedBlocks = 40;
#else
constexpr int kRows = 2, kVectors = 1, kDepthBlocks = 4, kCachedBlocks = 40;
#endif
constexpr PassSize kPass{8, 8, kCachedBlocks};
constexpr int kColumns = kVectors * kLanes;

struct Chunk {
  const float* a;
  size_t aDepthBlockStride;
  const float* b;
  size_t bDepthBlockStride;
  int depthBlocks;
  bool accumulate;  // onto the sums of the previous chunks
};

// sums[kCount, kColumns] (+)= A[kCount, depth] · B[depth, kColumns]; in a block of A rows are kRowStep apart, depth kDepthStep.
template <int kCount, int kRowStep, int kDepthStep>
void multiplyRows(const Chunk& chunk, float* sums) {
  Floats c[kCount][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kCount; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) c[r][v] = chunk.accumulate ? load(sums + r * kBlock + v * kLanes) : zeros();
  }
  for (int block = 0; block < chunk.depthBlocks; block++) {
    const float* a = chunk.a + block * chunk.aDepthBlockStride;
    const float* b = chunk.b + block * chunk.bDepthBlockStride;
#if defined(CRE_NEON)
    addProducts(a, kRowStep, kDepthStep, b, kBlock, kBlock, c);
#else
    for (int k = 0; k < kBlock; k++, a += kDepthStep, b += kBlock) {
      Floats column[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; v++) column[v] = load(b + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kCount; r++) {
        const Floats x = broadcast(a[r * kRowStep]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; v++) c[r][v] = multiplyAdd(x, column[v], c[r][v]);
      }
    }
#endif
  }
#pragma GCC unroll 8
  for (int r = 0; r < kCount; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) store(sums + r * kBlock + v * kLanes, c[r][v]);
  }
}

template <int kCount, int kRowStep, int kDepthStep>
CRE_INLINE void multiplyGroup(Chunk& part, int count, float* sums) {
  if constexpr (kCount > 2) {
    if (count < kCount) return multiplyGroup<kCount - 1, kRowStep, kDepthStep>(part, count, sums);
  }
  multiplyRows<kCount, kRowStep, kDepthStep>(part, sums);
}

// Rows in groups of at most kRows that differ by one row at most: 32 rows are two groups of six and four of five.
template <int kRowStep, int kDepthStep>
void multiplyGroups(Chunk& part, int rows, float* sums) {
  const int groups = (rows + kRows - 1) / kRows, fewest = rows / groups, larger = rows % groups;
  for (int group = 0, r = 0; group < groups; group++) {
    const int count = fewest + (group < larger ? 1 : 0);
    multiplyGroup<kRows, kRowStep, kDepthStep>(part, count, sums + r * kBlock);
    part.a += count * kRowStep;
    r += count;
  }
}

template <int kRowStep, int kDepthStep>
void multiplyBlock(const Chunk& chunk, int rows, float* sums) {
  for (int column = 0; column < kBlock; column += kColumns) {
    Chunk part = chunk;
    part.b += column;
    if (rows == 1) {
      multiplyRows<1, kRowStep, kDepthStep>(part, sums + column);
      continue;
    }
    if constexpr (kBlock % kRows != 0) {
      multiplyGroups<kRowStep, kDepthStep>(part, rows, sums + column);
      continue;
    }
    for (int r = 0; r < rows; r += kRows, part.a += kRows * kRowStep) {
      multiplyRows<kRows, kRowStep, kDepthStep>(part, sums + r * kBlock + column);
    }
  }
}

template <class FinishRows>
void multiplyItem(const Product& product, const Cut& cut, int item, float* sums, float* made, const FinishRows& finish) {
  const int firstRow = item / cut.panelItems * cut.rowBlocks, firstPanel = item % cut.panelItems * cut.panels;
  const int endRow = std::min(firstRow + cut.rowBlocks, product.y->rowBlocks());
  const int endPanel = std::min(firstPanel + cut.panels, product.y->columnBlocks());
  const auto* a = static_cast<const float*>(product.a);
  const auto* b = static_cast<const float*>(product.b);
  for (int pass = 0; pass < product.depthBlocks; pass += cut.depthBlocks) {
    const int passEnd = std::min(pass + cut.depthBlocks, product.depthBlocks);
    for (int panel = firstPanel; panel < endPanel; panel++) {
      for (int depth = pass; depth < passEnd; depth += kDepthBlocks) {
        const int depthEnd = std::min(depth + kDepthBlocks, passEnd);
        const float* right = b + panel * product.bPanelStride + depth * product.bDepthBlockStride;
        if (product.source != nullptr) {
          for (int d = depth; d < depthEnd; d++) {
            floatBlock(*product.source, product.sourceBackward, panel, d, made + static_cast<size_t>(d - depth) * kBlockElements);
          }
          right = made;
        }
        float* block = sums + static_cast<size_t>(panel - firstPanel) * cut.rowBlocks * kBlockElements;
        for (int row = firstRow; row < endRow; row++, block += kBlockElements) {
          const int rows = std::min(kBlock, product.y->rows - row * kBlock);
          const Chunk chunk{a + row * product.aRowBlockStride + depth * product.aDepthBlockStride,
                            product.aDepthBlockStride,
                            right,
                            product.bDepthBlockStride,
                            depthEnd - depth,
                            depth > 0};
          if (product.aTransposed) multiplyBlock<1, kBlock>(chunk, rows, block);
          else multiplyBlock<kBlock, 1>(chunk, rows, block);
          if (depthEnd < product.depthBlocks) continue;
          if (product.epilogue.thin != nullptr) addThinTerms(*product.epilogue.thin, row, panel, rows, block);
          finish(block, row, panel, 0, kBlock);
        }
      }
    }
  }
}

}  // namespace

void multiplyFloat(Pool& pool, const Product& product) {
  const Cut cut(product, pool.threadCount(), kCachedBlocks, kPass);
  withFinish(product, [&](const auto& finish) {
    pool.parallelFor(cut.items(), [&](int item, int thread) {
      const size_t sumBytes = static_cast<size_t>(cut.panels) * cut.rowBlocks * kBlockElements * sizeof(float);
      constexpr size_t kMadeBytes = kDepthBlocks * kBlockElements * sizeof(float);
      auto* made = static_cast<float*>(product.source == nullptr ? nullptr : pool.scratch(thread, 1, kMadeBytes));
      multiplyItem(product, cut, item, static_cast<float*>(pool.scratch(thread, 0, sumBytes)), made, finish);
    });
  });
}

}  // namespace cre
