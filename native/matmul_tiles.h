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
constexpr int kCachedBlocks = 550;  // 1.1 MB of the left factor
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

// Lines that a later chunk needs, fetched into the second-level cache a few at every step. May run past the end: a prefetch never faults.
struct Ahead {
  const char* line = nullptr;
  int perStep = 0;
  int untilSkip = 0;   // lines to the end of the run
  int runLines = 0;
  long skip = 0;       // bytes from the end of a run to the next one

  Ahead() = default;
  // `runs` pieces of runBytes, strideBytes apart, in `steps` steps.
  Ahead(const void* first, int runs, size_t runBytes, size_t strideBytes, int steps)
      : line(static_cast<const char*>(first)),
        perStep((static_cast<int>(runs * (runBytes / 64)) + steps - 1) / std::max(1, steps)),
        untilSkip(static_cast<int>(runBytes / 64)),
        runLines(untilSkip),
        skip(static_cast<long>(strideBytes - runBytes)) {}

  CRE_INLINE void step() {
    for (int i = 0; i < perStep; i++, line += 64) {
      __builtin_prefetch(line, 0, 2);
      if (--untilSkip == 0) {
        untilSkip = runLines;
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

// A panel whose sums are complete: they are finished while the next panel is multiplied, because the tiles leave the vector units idle.
struct Waiting {
  const float* sums = nullptr;
  int firstRowBlock = 0, rowBlocks = 0, panel = 0;
};

// Row blocks of the left factor times one chunk of a panel.
struct Chunk {
  const bf16* a;
  size_t aRowBlockStride, aDepthBlockStride;
  const bf16* b;
  size_t bDepthBlockStride;
  int depthBlocks;  // those of `more` included
  int firstRowBlock, rowBlocks, panel;
  float* sums;      // a block for each row block, where later chunks add to them
  float* complete;  // two blocks, where sums wait to be finished
  bool accumulate;  // on the sums of the chunks before
  bool last;        // sums are complete, and each block is finished during the next one
  Waiting waiting;  // otherwise: a part of its rows, share / shares of each block, is finished meanwhile
  int share = 0, shares = 1;
  const Segment* more = nullptr;  // moreCount of them, after the first `ownBlocks` depth blocks
  int moreCount = 0;
  int ownBlocks = 0;
};

// One block of depth: `between` runs while the tiles are busy.
template <class Between>
CRE_INLINE void multiplyStep(const bf16* a, const bf16* b, Between&& between) {
  loadTile<6>(b, kTileStride);
  streamTile<4>(a);
  multiplyTiles<0, 4, 6>();
  loadTile<7>(b + kTileElements, kTileStride);
  multiplyTiles<1, 4, 7>();
  streamTile<5>(a + kTileElements);
  multiplyTiles<2, 5, 6>();
  between();
  multiplyTiles<3, 5, 7>();
}

template <bool kAccumulate, bool kLast, class NextChunk, class FinishRows>
CRE_INLINE void multiplyChunkAs(const Chunk& chunk, NextChunk& ahead, const FinishRows& finish) {
  memoryBarrier();
  // Sums that nobody adds to later need only two places, which stay in the first-level cache.
  float* const places = kLast ? chunk.complete : chunk.sums;
  const int steps = chunk.depthBlocks - 1;
  const int ownBlocks = chunk.moreCount > 0 ? chunk.ownBlocks : chunk.depthBlocks;
  for (int block = 0; block <= chunk.rowBlocks; block++) {
    const bool live = block < chunk.rowBlocks, before = block > 0;
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
    // Rows [finished, end) of the block that `target` and `from` are of.
    const bool waits = !kLast && block < chunk.waiting.rowBlocks;
    const Waiting& waiting = chunk.waiting;
    const auto target = kLast ? finish.at(before ? row - 1 : row, chunk.panel) : finish.at(waiting.firstRowBlock + (waits ? block : 0), waiting.panel);
    const auto next = kLast ? finish.at(row, chunk.panel)
                            : finish.at(waiting.firstRowBlock + (block + 1 < waiting.rowBlocks ? block + 1 : 0), waiting.panel);
    const float* from = kLast ? done : waiting.sums + static_cast<size_t>(waits ? block : 0) * kBlockElements;
    const int firstRow = kLast ? 0 : kBlock * chunk.share / chunk.shares, end = kLast ? kBlock : kBlock * (chunk.share + 1) / chunk.shares;
    int finished = (kLast ? before : waits) ? firstRow : end, fetched = kLast || waits ? firstRow : end;
    // Evenly: the vector units can do about 60 instructions of 512 bits at every step, more would hold the tiles up.
    constexpr int kFraction = 16;
    const int perStep = steps > 0 ? (((end - firstRow) << kFraction) + steps - 1) / steps : 0;
    int pace = 0;
    const auto between = [&] {
      ahead.step();
      pace += perStep;
      const int to = firstRow + (pace >> kFraction & -FinishRows::kRowsTogether);
      if (finished < end && finished < to) {
        target(from, finished, std::min(to, end));
        finished = to;
      }
      if (fetched < end && fetched < to) {
        next.prefetch(fetched, std::min(to, end));
        fetched = to;
      }
    };
    for (int step = 1; step < ownBlocks; step++) {
      a += chunk.aDepthBlockStride;
      b += chunk.bDepthBlockStride;
      multiplyStep(a, b, between);
    }
    for (int i = 0; i < chunk.moreCount; i++) {
      const Segment& segment = chunk.more[i];
      a = segment.a + block * segment.aRowBlockStride;
      b = segment.b;
      for (int step = 0; step < segment.depthBlocks; step++) {
        multiplyStep(a, b, between);
        a += segment.aDepthBlockStride;
        b += segment.bDepthBlockStride;
      }
    }
    if (finished < end) target(from, finished, end);
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

template <class FinishRows>
void finishWaiting(Waiting& waiting, const FinishRows& finish) {
  for (int block = 0; block < waiting.rowBlocks; block++) {
    finish.at(waiting.firstRowBlock + block, waiting.panel)(waiting.sums + static_cast<size_t>(block) * kBlockElements, 0, kBlock);
  }
  waiting = {};
}

// Chunks of equal size, at most kDepthBlocks each.
inline int chunkOf(int depthBlocks) {
  const int chunks = (depthBlocks + kDepthBlocks - 1) / kDepthBlocks;
  return (depthBlocks + chunks - 1) / chunks;
}

}  // namespace cre

#endif
