// Products of bf16 blocks and panels on AMX tiles, sums in float. Empty on the other levels.
//
// What makes it fast (measured in bench-matmul.ts): the right factor's chunk of 32 columns x at most 512 of depth stays in the first-level
// cache, the left factor streams past it from the second-level cache without displacing it; the tile stores of one block and the rows of
// its epilogue are spread over the steps of the next block; the next chunk of the right factor is prefetched meanwhile.
#include "matmul.h"

#ifdef __AMX_BF16__

namespace cre {
namespace {

constexpr int kDepthBlocks = 16;    // 512 of depth: 32 KB of the right factor
constexpr int kCachedBlocks = 320;  // 640 KB of the left factor
constexpr int kTileElements = 512;  // of bf16: half a block
constexpr long kTileStride = 64;    // bytes from row to row in a bf16 tile
constexpr long kSumStride = 128;    // in a 32 x 32 block of float sums

// Own assembly instead of intrinsics: those of GCC 12 do not say that a tile store writes memory.
template <int kTile>
CRE_INLINE void zeroTile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
CRE_INLINE void loadTile(const void* from, long stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile));
}
// With the hint that it will not be used again soon.
template <int kTile>
CRE_INLINE void streamTile(const void* from) {
  asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(kTileStride), "i"(kTile));
}
template <int kTile>
CRE_INLINE void storeTile(void* to) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(kSumStride), "i"(kTile) : "memory");
}
template <int kSum, int kLeft, int kRight>
CRE_INLINE void multiplyTiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kLeft), "i"(kRight));
}
CRE_INLINE void memoryBarrier() { asm volatile("" ::: "memory"); }

// Tile 0..3 is quarter 0..3 of a block of sums: rows 0..15 and 16..31, columns 0..15 and 16..31 of each.
template <int kTile>
CRE_INLINE float* quarter(float* sums) {
  return sums + kTile / 2 * 16 * kBlock + kTile % 2 * 16;
}
template <int kTile>
CRE_INLINE void startSum(float* sums, bool accumulate) {
  if (accumulate) loadTile<kTile>(quarter<kTile>(sums), kSumStride);
  else zeroTile<kTile>();
}

// Lines of the next chunk of the right factor, fetched into the second-level cache a few at a time.
struct Ahead {
  const char* line = nullptr;
  int left = 0;
  int perStep = 0;

  CRE_INLINE void step() {
    if (left <= 0) return;
    for (int i = 0; i < perStep; i++, line += 64) __builtin_prefetch(line, 0, 2);
    left -= perStep;
  }
};

// Row blocks of the left factor times one chunk of a panel.
struct Chunk {
  const bf16* a;
  size_t aRowBlockStride, aDepthBlockStride;
  const bf16* b;
  size_t bDepthBlockStride;
  int depthBlocks;
  int firstRowBlock, rowBlocks, panel;
  float* sums;
  bool accumulate;  // on the sums of the chunks before
  bool last;        // sums are complete: finish them
};

template <class FinishRows>
CRE_INLINE void multiplyChunk(const Chunk& chunk, Ahead& ahead, const FinishRows& finish) {
  memoryBarrier();
  // Sums that nobody adds to later need only two places, which stay in the first-level cache.
  const bool alternate = chunk.last && !chunk.accumulate;
  const auto sumsOf = [&](int block) { return chunk.sums + static_cast<size_t>(alternate ? block & 1 : block) * kBlockElements; };
  const int steps = chunk.depthBlocks - 1;
  const int rowsPerStep = steps > 0 ? (kBlock + steps - 1) / steps : kBlock;
  for (int block = 0; block <= chunk.rowBlocks; block++) {
    const bool live = block < chunk.rowBlocks, before = block > 0;
    float* sums = sumsOf(block);
    float* done = sumsOf(block - 1);
    const bf16* a = chunk.a + block * chunk.aRowBlockStride;
    const bf16* b = chunk.b;
    const bool accumulate = chunk.accumulate;
    if (live) {
      loadTile<6>(b, kTileStride);
      streamTile<4>(a);
    }
    if (before) storeTile<0>(quarter<0>(done));
    if (live) {
      startSum<0>(sums, accumulate);
      multiplyTiles<0, 4, 6>();
      loadTile<7>(b + kTileElements, kTileStride);
    }
    if (before) storeTile<1>(quarter<1>(done));
    if (live) {
      startSum<1>(sums, accumulate);
      multiplyTiles<1, 4, 7>();
      streamTile<5>(a + kTileElements);
    }
    if (before) storeTile<2>(quarter<2>(done));
    if (live) {
      startSum<2>(sums, accumulate);
      multiplyTiles<2, 5, 6>();
    }
    if (before) storeTile<3>(quarter<3>(done));
    if (live) {
      startSum<3>(sums, accumulate);
      multiplyTiles<3, 5, 7>();
    }
    const int row = chunk.firstRowBlock + block;
    int finished = before && chunk.last ? 0 : kBlock;
    if (live) {
      ahead.step();
      for (int step = 1; step < chunk.depthBlocks; step++) {
        a += chunk.aDepthBlockStride;
        b += chunk.bDepthBlockStride;
        loadTile<6>(b, kTileStride);
        streamTile<4>(a);
        multiplyTiles<0, 4, 6>();
        loadTile<7>(b + kTileElements, kTileStride);
        multiplyTiles<1, 4, 7>();
        streamTile<5>(a + kTileElements);
        multiplyTiles<2, 5, 6>();
        ahead.step();
        if (finished < kBlock) {
          const int end = std::min(finished + rowsPerStep, kBlock);
          finish(done, row - 1, chunk.panel, finished, end);
          finished = end;
        }
        if (chunk.last) {
          const int fetched = std::min((step - 1) * rowsPerStep, kBlock);
          finish.prefetch(row, chunk.panel, fetched, std::min(fetched + rowsPerStep, kBlock));
        }
        multiplyTiles<3, 5, 7>();
      }
    }
    if (finished < kBlock) finish(done, row - 1, chunk.panel, finished, kBlock);
  }
  memoryBarrier();
}

int chunkOf(int depthBlocks) {
  const int chunks = (depthBlocks + kDepthBlocks - 1) / kDepthBlocks;
  return (depthBlocks + chunks - 1) / chunks;
}

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
        const int lines = chunk.depthBlocks * kBlockElements * 2 / 64, stepsOfChunk = chunk.rowBlocks * chunk.depthBlocks;
        Ahead ahead;
        if (sameRow) ahead = {reinterpret_cast<const char*>(next), lines, (lines + stepsOfChunk - 1) / stepsOfChunk};
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
