// AMX tiles: the instructions, and the product of some row blocks with one chunk of a panel.
//
// What makes it fast (measured by bench-matmul.ts): the right factor's chunk of 32 columns x at most 512 of depth stays in the first-level
// cache, the left factor streams past it from the second-level cache without displacing it; the tile stores of one block and the rows of
// its epilogue are spread over the steps of the next block; the next chunk of the right factor is prefetched meanwhile.
#pragma once
#include "matmul.h"

#ifdef __AMX_BF16__

namespace cre {

constexpr int kDepthBlocks = 16;    // 512 of depth: 32 KB of the right factor
constexpr int kCachedBlocks = 400;  // 800 KB of the left factor
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

// Blocks of the next chunk of the right factor, fetched into the second-level cache a few lines at a time.
struct Ahead {
  const char* line = nullptr;
  int left = 0;        // lines
  int perStep = 0;
  int blockLines = 1;  // lines of a block
  long skip = 0;       // bytes from the end of a block to the next one
  int untilSkip = 1;

  Ahead() = default;
  Ahead(const void* first, int blocks, size_t blockBytes, size_t strideBytes, int steps)
      : line(static_cast<const char*>(first)),
        left(static_cast<int>(blocks * blockBytes / 64)),
        perStep((left + steps - 1) / steps),
        blockLines(static_cast<int>(blockBytes / 64)),
        skip(static_cast<long>(strideBytes - blockBytes)),
        untilSkip(blockLines) {}

  CRE_INLINE void step() {
    if (left <= 0) return;
    left -= perStep;
    for (int i = 0; i < perStep; i++, line += 64) {
      __builtin_prefetch(line, 0, 2);
      if (--untilSkip == 0) {
        untilSkip = blockLines;
        line += skip;
      }
    }
  }
};

// A part of a chunk whose factors stand elsewhere.
struct Segment {
  const bf16* a;
  size_t aRowBlockStride, aDepthBlockStride;
  const bf16* b;
  size_t bDepthBlockStride;
  int depthBlocks;
};

// Row blocks of the left factor times one chunk of a panel.
struct Chunk {
  const bf16* a;
  size_t aRowBlockStride, aDepthBlockStride;
  const bf16* b;
  size_t bDepthBlockStride;
  int depthBlocks;  // those of `more` included
  int firstRowBlock, rowBlocks, panel;
  float* sums;
  bool accumulate;  // on the sums of the chunks before
  bool last;        // sums are complete: finish them
  const Segment* more = nullptr;  // moreCount of them, after the first `ownBlocks` depth blocks
  int moreCount = 0;
  int ownBlocks = 0;
};

// `ahead` prepares the next chunk, a little at every step.
template <class NextChunk, class FinishRows>
CRE_INLINE void multiplyChunk(const Chunk& chunk, NextChunk& ahead, const FinishRows& finish) {
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
      const Segment* segment = chunk.more;
      int segmentEnd = chunk.moreCount > 0 ? chunk.ownBlocks : chunk.depthBlocks;
      size_t aStride = chunk.aDepthBlockStride, bStride = chunk.bDepthBlockStride;
      for (int step = 1; step < chunk.depthBlocks; step++) {
        if (step == segmentEnd) {
          a = segment->a + block * segment->aRowBlockStride;
          b = segment->b;
          aStride = segment->aDepthBlockStride;
          bStride = segment->bDepthBlockStride;
          segmentEnd += segment->depthBlocks;
          segment++;
        } else {
          a += aStride;
          b += bStride;
        }
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

// Chunks of equal size, at most kDepthBlocks each.
inline int chunkOf(int depthBlocks) {
  const int chunks = (depthBlocks + kDepthBlocks - 1) / kDepthBlocks;
  return (depthBlocks + chunks - 1) / chunks;
}

}  // namespace cre

#endif
