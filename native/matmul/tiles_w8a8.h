// Products of bytes on AMX tiles: one panel of 32 outputs times some row blocks.
//
// A group (128 inputs) is two steps of four tile products, 128 cycles; its whole sums then get their scales on the vector units. Both work at the
// same time: the whole sums of a few groups wait in a ring in the first-level cache, and at every step the vector units scale some of the rows
// that wait, and finish those whose depth is complete.
//
// Next to tile products there is one vector instruction a cycle, which is one for every 16 products of a step: conversion, product with the
// weight's scale and with the row's would be too many. So whole sums start at the bits of the float kSumStart, 1.5 · 2^23: as floats they then
// are kSumStart + sum exactly, because sums are below 2^22, and one instruction converts and scales: (kSumStart + sum) · scale - kSumStart · scale.
// The last product is exact because weights' scales have 22 bits (quantize_w8a8.cpp).
#pragma once
#include "matmul/matmul_tiles.h"
#include "matmul/w8a8.h"

#ifdef __AMX_INT8__

namespace cre {

constexpr int kTileBytes = kStepBytes / 2;
constexpr long kPanelStride = 4 * kBlock;  // bytes between the quads of a panel
constexpr float kSumStart = 12582912;
constexpr int kPassGroups = 2;      // whole sums of a row block that are scaled together
constexpr int kResidentGroups = 4;  // of the panel in the first-level cache: 16 KB

template <int kTile>
CRE_INLINE int32_t* quarterOf(int32_t* sums) {
  return sums + kTile / 2 * 16 * kBlock + kTile % 2 * 16;
}
template <int kSum, int kLeft, int kRight>
CRE_INLINE void multiplyByteTiles() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kLeft), "i"(kRight));
}

// Row blocks of activations and one panel of a weight.
struct BytePanel {
  const uint8_t* x;      // codes in tiles, see ActivationCodes
  const float* xScales;  // [row][group]
  const ByteLayout& layout;
  const char* codes;
  const float* scales;  // [group][32]
  int rows, firstRowBlock, panel;
};

struct alignas(64) ByteTileScratch {
  static constexpr int kPasses = 2;
  int32_t whole[kPasses][kPassGroups][kBlockElements];
  float complete[kBlockElements];
  char lastStep[kStepBytes];
};

// Passes whose whole sums wait for their scales, in order.
template <class FinishRows>
class Scaling {
 public:
  Scaling(const BytePanel& work, const FinishRows& finish, ByteTileScratch& scratch) : work_(work), finish_(finish), scratch_(scratch) {}

  // Where the whole sums of the next pass go; scales the oldest one if the ring is full.
  int32_t (*place())[kBlockElements] {
    while (count_ == ByteTileScratch::kPasses) someRows();
    return scratch_.whole[(head_ + count_) % ByteTileScratch::kPasses];
  }
  // The pass at place(): groups of one row block, ready at step `ready`. They are added to `sums`, the last of a row block's passes is finished.
  void add(int rowBlock, int firstGroup, int groups, float* sums, bool first, bool last, long ready) {
    passes_[(head_ + count_++) % ByteTileScratch::kPasses] = {rowBlock, firstGroup, groups, sums, first, last, ready};
  }
  CRE_INLINE void step(long now) {
    if (count_ > 0 && passes_[head_].ready <= now) someRows();
  }
  void rest() {
    while (count_ > 0) someRows();
  }

 private:
  static constexpr int kRowsTogether = 8;  // of 32 in the four steps of a pass
  struct Pass {
    int rowBlock, firstGroup, groups;
    float* sums;
    bool first, last;
    long ready;
  };

  // Not inlined: it is called between all tile instructions.
  __attribute__((noinline)) void someRows() {
    const Pass& pass = passes_[head_];
    const int filled = std::min(kBlock, work_.rows - pass.rowBlock * kBlock), end = row_ + kRowsTogether;
    if (end <= filled) {
      if (pass.groups == 2) scale<2, kRowsTogether>(pass, row_);
      else scale<1, kRowsTogether>(pass, row_);
    } else {
      for (int r = row_; r < filled; r++) {
        if (pass.groups == 2) scale<2, 1>(pass, r);
        else scale<1, 1>(pass, r);
      }
    }
    if (pass.last) finish_(pass.sums, work_.firstRowBlock + pass.rowBlock, work_.panel, row_, end);
    row_ = end % kBlock;
    if (row_ > 0) return;
    head_ = (head_ + 1) % ByteTileScratch::kPasses;
    count_--;
  }

  template <int kGroups, int kRows>
  CRE_INLINE void scale(const Pass& pass, int row) const {
    static_assert(kPassGroups == 2);
    const auto* whole = reinterpret_cast<const float*>(scratch_.whole[head_][0]) + row * kBlock;
    float* sums = pass.sums + row * kBlock;
    const int groups = work_.layout.groups;
    const float* xScales = work_.xScales + static_cast<size_t>(pass.rowBlock * kBlock + row) * groups + pass.firstGroup;
    const float* scales = work_.scales + pass.firstGroup * kBlock;
    __m512 of[kGroups][2], start[kGroups][2];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; g++) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; half++) {
        of[g][half] = _mm512_loadu_ps(scales + g * kBlock + half * kLanes);
        start[g][half] = _mm512_mul_ps(of[g][half], _mm512_set1_ps(-kSumStart));
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++, sums += kBlock, whole += kBlock, xScales += groups) {
      __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
      if (!pass.first) {
        sum[0] = _mm512_load_ps(sums);
        sum[1] = _mm512_load_ps(sums + kLanes);
      }
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; g++) {
        const __m512 scale = _mm512_set1_ps(xScales[g]);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
          const __m512 started = _mm512_load_ps(whole + g * kBlockElements + half * kLanes);
          sum[half] = _mm512_fmadd_ps(_mm512_fmadd_ps(started, of[g][half], start[g][half]), scale, sum[half]);
        }
      }
      _mm512_store_ps(sums, sum[0]);
      _mm512_store_ps(sums + kLanes, sum[1]);
    }
  }

  const BytePanel& work_;
  const FinishRows& finish_;
  ByteTileScratch& scratch_;
  Pass passes_[ByteTileScratch::kPasses];
  int head_ = 0, count_ = 0, row_ = 0;
};

// `sums`: a block for each row block if the depth is more than kResidentGroups groups. `ahead` prefetches, a little at every step.
template <class NextPanel, class FinishRows>
void multiplyBytePanel(const BytePanel& work, float* sums, ByteTileScratch& scratch, NextPanel& ahead, const FinishRows& finish) {
  constexpr int kDelay = 2;  // steps until the whole sums of a pass are in the cache
  const ByteLayout& layout = work.layout;
  const int rowBlocks = blocksFor(work.rows);
  const size_t rowBlockBytes = static_cast<size_t>(layout.groups) * kGroupSteps * kStepBytes;
  if (layout.columnBlocks % 2 != 0) {
    // Half a step: the rest of it has codes of another panel, or none.
    memcpy(scratch.lastStep, work.codes + static_cast<size_t>(layout.columnBlocks - 1) * kBlockElements, kTileBytes);
    memset(scratch.lastStep + kTileBytes, 0, kTileBytes);
  }
  alignas(64) float starts[kLanes];
  for (float& start : starts) start = kSumStart;
  Scaling<FinishRows> scaling(work, finish, scratch);
  long now = 0;
  int32_t* before = nullptr;  // where the sums in the tiles go
  memoryBarrier();
  for (int chunk = 0; chunk < layout.groups; chunk += kResidentGroups) {
    const int chunkEnd = std::min(chunk + kResidentGroups, layout.groups);
    for (int block = 0; block < rowBlocks; block++) {
      float* const to = layout.groups <= kResidentGroups ? scratch.complete : sums + static_cast<size_t>(block) * kBlockElements;
      const uint8_t* const x = work.x + block * rowBlockBytes;
      for (int pass = chunk; pass < chunkEnd; pass += kPassGroups) {
        const int passEnd = std::min(pass + kPassGroups, chunkEnd);
        auto* const place = scaling.place();
        for (int group = pass; group < passEnd; group++) {
          const int steps = (layout.blocksOf(group) + 1) / 2;
          for (int step = 0; step < steps; step++) {
            const int at = group * kGroupSteps + step;
            const uint8_t* a = x + static_cast<size_t>(at) * kStepBytes;
            const char* b = work.codes + static_cast<size_t>(at) * kStepBytes;
            if (2 * at + 1 == layout.columnBlocks) b = scratch.lastStep;
            const bool isFirst = step == 0;
            loadTile<6>(b, kPanelStride);
            streamTile<4>(a);
            if (isFirst) {
              if (before != nullptr) storeTile<0>(quarterOf<0>(before));
              loadTile<0>(starts, 0);
            }
            multiplyByteTiles<0, 4, 6>();
            loadTile<7>(b + kPanelStride / 2, kPanelStride);
            if (isFirst) {
              if (before != nullptr) storeTile<1>(quarterOf<1>(before));
              loadTile<1>(starts, 0);
            }
            multiplyByteTiles<1, 4, 7>();
            streamTile<5>(a + kTileBytes);
            if (isFirst) {
              if (before != nullptr) storeTile<2>(quarterOf<2>(before));
              loadTile<2>(starts, 0);
            }
            multiplyByteTiles<2, 5, 6>();
            if (isFirst) {
              if (before != nullptr) storeTile<3>(quarterOf<3>(before));
              loadTile<3>(starts, 0);
              before = place[group - pass];
            }
            multiplyByteTiles<3, 5, 7>();
            scaling.step(now++);
            ahead.step();
          }
        }
        scaling.add(block, pass, passEnd - pass, to, pass == 0, passEnd == layout.groups, now + kDelay);
      }
    }
  }
  storeTile<0>(quarterOf<0>(before));
  storeTile<1>(quarterOf<1>(before));
  storeTile<2>(quarterOf<2>(before));
  storeTile<3>(quarterOf<3>(before));
  memoryBarrier();
  scaling.rest();
}

}  // namespace cre

#endif
