// Products of bf16 blocks and panels on AMX tiles, sums in float. Empty on the other levels.
#include "matmul_tiles.h"

#ifdef __AMX_BF16__

namespace cre {
namespace {

template <class FinishRows>
void multiplyItem(const Product& product, const Cut& cut, int item, float* sums, const FinishRows& finish) {
  Chunk chunk;
  chunk.firstRowBlock = item / cut.panelItems * cut.rowBlocks;
  chunk.rowBlocks = std::min(cut.rowBlocks, product.y->rowBlocks() - chunk.firstRowBlock);
  chunk.aRowBlockStride = product.aRowBlockStride;
  chunk.aDepthBlockStride = product.aDepthBlockStride;
  chunk.bDepthBlockStride = product.bDepthBlockStride;
  const int firstPanel = item % cut.panelItems * cut.panels;
  const int allPanels = product.y->columnBlocks();
  const int endPanel = std::min(firstPanel + cut.panels, allPanels);
  const auto* a = static_cast<const bf16*>(product.a) + chunk.firstRowBlock * product.aRowBlockStride;
  const auto* b = static_cast<const bf16*>(product.b);
  for (int pass = 0; pass < product.depthBlocks; pass += cut.depthBlocks) {
    const int passEnd = std::min(pass + cut.depthBlocks, product.depthBlocks);
    const int perChunk = chunkOf(passEnd - pass);
    for (int panel = firstPanel; panel < endPanel; panel++) {
      chunk.panel = panel;
      chunk.sums = sums + static_cast<size_t>(panel - firstPanel) * cut.rowBlocks * kBlockElements;
      for (int depth = pass; depth < passEnd; depth += perChunk) {
        chunk.depthBlocks = std::min(perChunk, passEnd - depth);
        chunk.a = a + depth * product.aDepthBlockStride;
        chunk.b = b + panel * product.bPanelStride + depth * product.bDepthBlockStride;
        chunk.accumulate = depth > 0;
        chunk.last = depth + chunk.depthBlocks == product.depthBlocks;
        // Next comes the rest of this panel, then the panel of the item after.
        const bool sameRow = depth + chunk.depthBlocks < passEnd || panel + 1 < allPanels;
        const bf16* next = depth + chunk.depthBlocks < passEnd ? chunk.b + chunk.depthBlocks * product.bDepthBlockStride
                                                               : b + (panel + 1) * product.bPanelStride + pass * product.bDepthBlockStride;
        Ahead ahead;
        if (sameRow) {
          ahead = Ahead(next, chunk.depthBlocks, kBlockElements * sizeof(bf16), product.bDepthBlockStride * sizeof(bf16),
                        chunk.rowBlocks * chunk.depthBlocks);
        }
        multiplyChunk(chunk, ahead, finish);
      }
    }
  }
}

// At most 16 rows: half of every left block is padding, and the right factor comes from memory once. Two panels at a time are two streams.
template <class FinishRows>
void multiplyFewRows(const Product& product, int panel, float* sums, const FinishRows& finish) {
  constexpr int kAheadBlocks = 4;
  const bool two = panel + 1 < product.y->columnBlocks();
  const auto* a = static_cast<const bf16*>(product.a);
  const auto* first = static_cast<const bf16*>(product.b) + panel * product.bPanelStride;
  const auto* second = two ? first + product.bPanelStride : first;
  memoryBarrier();
  zeroTile<0>();
  zeroTile<1>();
  zeroTile<2>();
  zeroTile<3>();
  for (int depth = 0; depth < product.depthBlocks; depth++) {
    for (int line = 0; line < kBlockElements; line += kBlock) {
      __builtin_prefetch(first + kAheadBlocks * kBlockElements + line, 0, 3);
      __builtin_prefetch(second + kAheadBlocks * kBlockElements + line, 0, 3);
    }
    loadTile<4>(a, kTileStride);
    loadTile<5>(first, kTileStride);
    loadTile<6>(second, kTileStride);
    multiplyTiles<0, 4, 5>();
    multiplyTiles<2, 4, 6>();
    loadTile<5>(first + kTileElements, kTileStride);
    loadTile<7>(second + kTileElements, kTileStride);
    multiplyTiles<1, 4, 5>();
    multiplyTiles<3, 4, 7>();
    a += product.aDepthBlockStride;
    first += product.bDepthBlockStride;
    second += product.bDepthBlockStride;
  }
  storeTile<0>(quarter<0>(sums));
  storeTile<1>(quarter<1>(sums));
  storeTile<2>(quarter<0>(sums + kBlockElements));
  storeTile<3>(quarter<1>(sums + kBlockElements));
  memoryBarrier();
  finish(sums, 0, panel, 0, kBlock);
  if (two) finish(sums + kBlockElements, 0, panel + 1, 0, kBlock);
}

}  // namespace

void multiplyBf16(Pool& pool, const Product& product) {
  withFinish(product, [&](const auto& finish) {
    if (product.y->rows <= kBlock / 2) {
      pool.parallelFor((product.y->columnBlocks() + 1) / 2, [&](int item, int thread) {
        auto* sums = static_cast<float*>(pool.scratch(thread, 0, 2 * kBlockElements * sizeof(float)));
        multiplyFewRows(product, 2 * item, sums, finish);
      });
      return;
    }
    const Cut cut(product, pool.threadCount(), kCachedBlocks);
    pool.parallelFor(cut.items(), [&](int item, int thread) {
      const size_t sumBytes = static_cast<size_t>(cut.panels) * std::max(2, cut.rowBlocks) * kBlockElements * sizeof(float);
      multiplyItem(product, cut, item, static_cast<float*>(pool.scratch(thread, 0, sumBytes)), finish);
    });
  });
}

}  // namespace cre

#endif
