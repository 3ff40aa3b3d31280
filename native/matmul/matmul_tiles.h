// AMX tiles: the instructions, and the product of some row blocks with one chunk of a panel.
//
// Reasons for its speed: sums stay in tiles over the largest possible depth, because moving sums to the second-level cache and back costs
// more than reading both factors; the left factor and all but the beginning of the right one stream from the second-level cache with the
// hint not to keep them in the first; the tile stores of one block and the rows of its epilogue are spread over the steps of the next block;
// the next chunk of the right factor is prefetched at the same time.
#pragma once
#include "matmul/matmul_chunk.h"

#ifdef __AMX_BF16__

namespace cre {

constexpr int kResidentBlocks = 18;  // of depth: 36 KB of the right factor stay in the first-level cache
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

// Sums of one panel, or two, over the whole depth for at most kFewRows rows: half of every left block is padding.
inline void sumFewRows(const Product& product, int panel, bool two, float* sums) {
  constexpr int kAheadBlocks = 4;
  memoryBarrier();
  zeroTile<0>();
  zeroTile<1>();
  zeroTile<2>();
  zeroTile<3>();
  for (const Product* part = &product; part != nullptr; part = part->next) {
    const auto* a = static_cast<const bf16*>(part->a);
    const auto* first = static_cast<const bf16*>(part->b) + panel * part->bPanelStride;
    const auto* second = two ? first + part->bPanelStride : first;
    for (int depth = 0; depth < part->depthBlocks; depth++) {
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
      a += part->aDepthBlockStride;
      first += part->bDepthBlockStride;
      second += part->bDepthBlockStride;
    }
  }
  storeTile<0>(quarter<0>(sums));
  storeTile<1>(quarter<1>(sums));
  storeTile<2>(quarter<0>(sums + kBlockElements));
  storeTile<3>(quarter<1>(sums + kBlockElements));
  memoryBarrier();
}

}  // namespace cre

#endif
