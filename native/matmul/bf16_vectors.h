// Products of bf16 blocks on vector units with AVX-512 BF16, for the level without tile units. Factors have the layout of the tiles: a left
// factor is row-major, a right factor has pairs of rows interleaved (columns 0..15, then 16..31). A few rows of sums stay in registers over
// the whole depth; pairs of the left factor are broadcast.
#pragma once
#include "runtime/kernels.h"
#include "runtime/vector.h"

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)

namespace cre {

// Blocks of both factors along the depth; strides in elements from one block to the next.
struct DepthBlocks {
  const bf16* left;
  size_t leftStride;
  const bf16* right;
  size_t rightStride;
  int blocks;
  int lastPairs = kBlock / 2;  // pairs of depth in the last block that are not padding
};

// kRows rows from `row` on of the sums of all parts, added to those at `from` (null: zeros) and stored at `to`; rows kSumStride apart,
// kVectors vectors of 16 columns.
template <int kRows, int kVectors, int kSumStride = kBlock>
__attribute__((noinline)) void addRows(const DepthBlocks* parts, int count, int row, const float* from, float* to) {
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) {
      sums[r][v] = from == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(from + (row + r) * kSumStride + v * kLanes);
    }
  }
  for (int part = 0; part < count; part++) {
    const bf16 *left = parts[part].left + row * kBlock, *right = parts[part].right;
    for (int block = parts[part].blocks; block > 0; block--) {
      for (int pair = 0, pairs = block > 1 ? kBlock / 2 : parts[part].lastPairs; pair < pairs; pair++) {
        __m512bh columns[kVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; v++) columns[v] = (__m512bh)_mm512_load_si512(right + v * (kBlockElements / 2) + pair * kBlock);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; r++) {
          int32_t word;
          memcpy(&word, left + r * kBlock + 2 * pair, sizeof word);
          const auto both = (__m512bh)_mm512_set1_epi32(word);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; v++) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], both, columns[v]);
        }
      }
      left += parts[part].leftStride;
      right += parts[part].rightStride;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) _mm512_storeu_ps(to + (row + r) * kSumStride + v * kLanes, sums[r][v]);
  }
}

// Rows [0, rows) of a block of sums, 32 columns wide; up to three rows after them may be computed too. `from` may be `to`.
inline void addBlock(const DepthBlocks* parts, int count, int rows, const float* from, float* to) {
  constexpr int kRows = 8;  // with 2 vectors: 16 sums in registers, and as fast as 12 or 14 rows (measured)
  int row = 0;
  for (; row + kRows / 2 < rows; row += kRows) addRows<kRows, 2>(parts, count, row, from, to);
  if (row + 2 < rows) addRows<4, 2>(parts, count, row, from, to);
  else if (row + 1 < rows) addRows<2, 2>(parts, count, row, from, to);
  else if (row < rows) addRows<1, 2>(parts, count, row, from, to);
}

// The same for at most 16 columns; the others become zero.
inline void addHalfBlock(const DepthBlocks* parts, int count, int rows, const float* from, float* to) {
  constexpr int kRows = 16;
  for (int row = 0; row < rows; row += kRows) {
    addRows<kRows, 1>(parts, count, row, from, to);
    for (int r = row; r < row + kRows; r++) _mm512_storeu_ps(to + r * kBlock + kLanes, _mm512_setzero_ps());
  }
}

}  // namespace cre

#endif
