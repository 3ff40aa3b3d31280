// AMX tiles: the instructions, and the product of some row blocks with one chunk of a panel.
//
// Reasons for its speed: sums stay in tiles over the largest possible depth, because moving sums to the second-level cache and back costs
// more than reading both factors; the left factor and all but the beginning of the right one stream from the second-level cache with the
// hint not to keep them in the first; the tile stores of one block and the rows of its epilogue are spread over the steps of the next block;
// the next chunk of the right factor is prefetched at the same time.
#pragma once
#include "matmul/matmul.h"

#ifdef __AMX_BF16__

namespace cre {

constexpr int kResidentBlocks = 18;  // of depth: 36 KB of the right factor stay in the first-level cache
constexpr int kDepthBlocks = 16;     // of right factors that are made during the product
constexpr int kCachedBlocks = 550;   // 1.1 MB of the left factor
constexpr int kTileElements = 512;   // of bf16: half a block
constexpr long kTileStride = 64;     // bytes between rows of a bf16 tile
constexpr long kSumStride = 128;     // in a 32 x 32 block of float sums

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
template <bool kResident, int kTile>
CRE_INLINE void loadRight(const void* from) {
  if constexpr (kResident) loadTile<kTile>(from, kTileStride);
  else streamTile<kTile>(from);
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
};

// One block of depth: `between` runs while the tiles are busy.
template <bool kResident, class Between>
CRE_INLINE void multiplyStep(const bf16* a, const bf16* b, Between&& between) {
  loadRight<kResident, 6>(b);
  streamTile<4>(a);
  multiplyTiles<0, 4, 6>();
  loadRight<kResident, 7>(b + kTileElements);
  multiplyTiles<1, 4, 7>();
  streamTile<5>(a + kTileElements);
  multiplyTiles<2, 5, 6>();
  between();
  multiplyTiles<3, 5, 7>();
}

template <bool kAccumulate, bool kLast, class NextChunk, class FinishRows>
CRE_INLINE void multiplyChunkAs(const Chunk& chunk, NextChunk& ahead, const FinishRows& finish) {
  constexpr int kDelay = 3;  // steps until the sums of the previous block are certainly in the cache
  memoryBarrier();
  // Complete sums need only two places, which stay in the first-level cache.
  float* const places = kLast ? chunk.complete : chunk.sums;
  const int ownBlocks = chunk.moreCount > 0 ? chunk.ownBlocks : chunk.depthBlocks;
  const int resident = std::min(ownBlocks, kResidentBlocks);
  // Rows a step, evenly: the vector units can do about 60 instructions of 512 bits at every step; more would delay the tiles.
  constexpr int kFraction = 16;
  const int perStep = (kBlock << kFraction) / std::max(1, chunk.depthBlocks - kDelay) + 1;
  for (int block = 0; block <= chunk.rowBlocks; block++) {
    const bool live = block<chunk.rowBlocks, before = block> 0;
    float* sums = chunk.sums + static_cast<size_t>(block) * kBlockElements;
    float* done = places + static_cast<size_t>(kLast ? (block + 1) & 1 : block - 1) * kBlockElements;
    const bf16* a = chunk.a + block * chunk.aRowBlockStride;
    const bf16* b = chunk.b;
    if (live) {
      loadTile<6>(b, kTileStride);
      streamTile<4>(a);
    }
    if (before) storeTile<0>(quarter<0>(done));
    if (live) {
      startSum<0>(sums, kAccumulate);
      multiplyTiles<0, 4, 6>();
      loadTile<7>(b + kTileElements, kTileStride);
    }
    if (before) storeTile<1>(quarter<1>(done));
    if (live) {
      startSum<1>(sums, kAccumulate);
      multiplyTiles<1, 4, 7>();
      streamTile<5>(a + kTileElements);
    }
    if (before) storeTile<2>(quarter<2>(done));
    if (live) {
      startSum<2>(sums, kAccumulate);
      multiplyTiles<2, 5, 6>();
    }
    if (before) storeTile<3>(quarter<3>(done));
    const int row = chunk.firstRowBlock + block;
    if (!live) {
      if constexpr (kLast) finish.at(row - 1, chunk.panel)(done, 0, kBlock);
      break;
    }
    startSum<3>(sums, kAccumulate);
    multiplyTiles<3, 5, 7>();
    ahead.step();
    const auto target = finish.at(before ? row - 1 : row, chunk.panel), next = finish.at(row, chunk.panel);
    int finished = kLast ? 0 : kBlock, pace = -(kDelay - 1) * perStep;
    const auto between = [&] {
      ahead.step();
      if constexpr (kLast) {
        pace += perStep;
        for (; finished + FinishRows::kRowsTogether <= pace >> kFraction && finished < kBlock; finished += FinishRows::kRowsTogether) {
          if (before) target.some(done, finished);
          next.prefetchSome(finished);
        }
      }
    };
    int step = 1;
    for (; step < resident; step++) {
      a += chunk.aDepthBlockStride;
      b += chunk.bDepthBlockStride;
      multiplyStep<true>(a, b, between);
    }
    for (; step < ownBlocks; step++) {
      a += chunk.aDepthBlockStride;
      b += chunk.bDepthBlockStride;
      multiplyStep<false>(a, b, between);
    }
    for (int i = 0; i < chunk.moreCount; i++) {
      const Segment& segment = chunk.more[i];
      a = segment.a + block * segment.aRowBlockStride;
      b = segment.b;
      for (int at = 0; at < segment.depthBlocks; at++) {
        multiplyStep<false>(a, b, between);
        a += segment.aDepthBlockStride;
        b += segment.bDepthBlockStride;
      }
    }
    if (before && finished < kBlock) target(done, finished, kBlock);
  }
  memoryBarrier();
}

// `ahead` prepares the next chunk, a little at every step.
template <class NextChunk, class FinishRows>
CRE_INLINE void multiplyChunk(const Chunk& chunk, NextChunk& ahead, const FinishRows& finish) {
  if (chunk.last) {
    if (chunk.accumulate) multiplyChunkAs<true, true>(chunk, ahead, finish);
    else multiplyChunkAs<false, true>(chunk, ahead, finish);
  } else {
    if (chunk.accumulate) multiplyChunkAs<true, false>(chunk, ahead, finish);
    else multiplyChunkAs<false, false>(chunk, ahead, finish);
  }
}

// Chunks of equal size, at most `most` each.
inline int chunkOf(int depthBlocks, int most = kDepthBlocks) {
  const int chunks = (depthBlocks + most - 1) / most;
  return (depthBlocks + chunks - 1) / chunks;
}

}  // namespace cre

#endif
