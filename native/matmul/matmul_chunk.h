// One chunk of a bf16 product: some row blocks times a part of the depth of one panel. Tiles (matmul_tiles.h) and vector units
// (matmul_vectors.h) compute it in their own ways.
#pragma once
#include "matmul/matmul.h"

#ifdef __AVX512BF16__

namespace cre {

#ifdef __AMX_BF16__
constexpr int kCachedBlocks = 550;  // of the left factor: 1.1 MB of 2 MB in the second-level cache
#else
constexpr int kCachedBlocks = 300;  // 600 KB of 1 MB
#endif
constexpr int kDepthBlocks = 16;    // of right factors that are made during the product
constexpr int kTileElements = 512;  // of bf16: half a block
constexpr int kFewRows = 16;        // of a tile

// Prefetches cache lines of a later chunk into the second-level cache, a few at every step, alternating between four places of a stretch:
// 8 KB apart (two pages), they arrive faster during a product than sequential lines. May go past the end: a prefetch never faults.
struct Ahead {
  static constexpr int kStreams = 4, kFraction = 12;
  const char* line = nullptr;
  long apart = 0;   // bytes between neighbours of the four
  int perStep = 0;  // of four lines, times 2^kFraction
  int due = 0;
  int untilSkip = 0;  // fours to the end of the stretch
  int stretchFours = 0;
  long skip = 0;  // bytes from the end of a stretch's first quarter to the next stretch

  Ahead() = default;
  // `stretches` pieces of stretchBytes (a multiple of 256), strideBytes apart, in `steps` steps.
  Ahead(const void* first, int stretches, size_t stretchBytes, size_t strideBytes, int steps)
      : line(static_cast<const char*>(first)),
        apart(static_cast<long>(stretchBytes / kStreams)),
        perStep(
            static_cast<int>(((static_cast<long>(stretches) * static_cast<long>(stretchBytes / (64 * kStreams)) << kFraction) + steps - 1) /
                             std::max(1, steps))),
        untilSkip(static_cast<int>(stretchBytes / (64 * kStreams))),
        stretchFours(untilSkip),
        skip(static_cast<long>(strideBytes - stretchBytes / kStreams)) {}

  // The same stretches, four of them at a time; prefetches past the last one are useless but harmless.
  static Ahead inFours(const void* first, int stretches, size_t stretchBytes, size_t strideBytes, int steps) {
    Ahead ahead(first, (stretches + kStreams - 1) / kStreams, kStreams * stretchBytes, kStreams * strideBytes, steps);
    ahead.apart = static_cast<long>(strideBytes);
    ahead.skip = static_cast<long>(kStreams * strideBytes - stretchBytes);
    return ahead;
  }

  CRE_INLINE void step() {
    for (due += perStep; due >= 1 << kFraction; due -= 1 << kFraction) {
      for (int stream = 0; stream < kStreams; stream++) __builtin_prefetch(line + stream * apart, 0, 2);
      line += 64;
      if (--untilSkip == 0) {
        untilSkip = stretchFours;
        line += skip;
      }
    }
  }
};

// A further part of a chunk, with its own factors.
struct Segment {
  const bf16* a;
  size_t aRowBlockStride, aDepthBlockStride;
  const bf16* b;
  size_t bDepthBlockStride;
  int depthBlocks;
  int lastPairs;  // see Product
};

// Row blocks of the left factor times one chunk of a panel.
struct Chunk {
  const bf16* a;
  size_t aRowBlockStride, aDepthBlockStride;
  const bf16* b;
  size_t bDepthBlockStride;
  int depthBlocks;  // including those of `more`
  int firstRowBlock, rowBlocks, panel;
  float* sums;                    // a block for each row block, if later chunks add to them
  float* complete;                // two blocks of sums for the epilogue
  bool accumulate;                // onto the sums of the previous chunks
  bool last;                      // sums are complete; the epilogue of each block runs during the next one
  const Segment* more = nullptr;  // moreCount of them, after the first `ownBlocks` depth blocks
  int moreCount = 0;
  int ownBlocks = 0;
  int lastPairs = kBlock / 2;  // of ownBlocks, see Product
  bool isHalf = false;         // the panel has at most 16 columns
};

// Chunks of equal size, at most `most` each.
inline int chunkOf(int depthBlocks, int most = kDepthBlocks) {
  const int chunks = (depthBlocks + most - 1) / most;
  return (depthBlocks + chunks - 1) / chunks;
}

}  // namespace cre

#endif
