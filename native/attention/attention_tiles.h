// Shared by the passes of attention in bf16. Every product is of 32 x 32 blocks, two AMX tiles each: a left factor is row-major (rows
// 0..15, 16..31), the layout of activations in memory; a right factor has pairs of rows interleaved (columns 0..15, 16..31). Sums are
// 32 x 32 floats, row-major. Empty on the levels without bf16 products.
#pragma once
#include <algorithm>

#include "attention/attention_plan.h"
#include "matmul/bf16_vectors.h"
#include "matmul/blocks.h"
#include "runtime/exponential.h"

#ifdef __AVX512BF16__

namespace cre::attend {

constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

struct BlockPair {
  const bf16 *left, *right;
};

#ifdef __AMX_BF16__
// Own assembly instead of intrinsics: those of GCC 12 do not say that a tile store writes memory.
template <int kTile>
CRE_INLINE void loadTile(const void* from, long stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
CRE_INLINE void storeTile(void* to, long stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
CRE_INLINE void zeroTile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kSum, int kLeft, int kRight>
CRE_INLINE void multiplyTiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kLeft), "i"(kRight));
}

// Tiles 0..3 are the quarters of a block of sums.
CRE_INLINE void zeroSums() {
  zeroTile<0>();
  zeroTile<1>();
  zeroTile<2>();
  zeroTile<3>();
}
CRE_INLINE void loadSums(const float* sums) {
  loadTile<0>(sums, 128);
  loadTile<1>(sums + 16, 128);
  loadTile<2>(sums + 16 * kBlock, 128);
  loadTile<3>(sums + 16 * kBlock + 16, 128);
}
CRE_INLINE void storeSums(float* sums) {
  storeTile<0>(sums, 128);
  storeTile<1>(sums + 16, 128);
  storeTile<2>(sums + 16 * kBlock, 128);
  storeTile<3>(sums + 16 * kBlock + 16, 128);
}
// sums += left · right
CRE_INLINE void multiplyBlocks(const bf16* left, const bf16* right) {
  loadTile<6>(right, 64);
  loadTile<4>(left, 64);
  multiplyTiles<0, 4, 6>();
  loadTile<7>(right + 512, 64);
  multiplyTiles<1, 4, 7>();
  loadTile<5>(left + 512, 64);
  multiplyTiles<2, 5, 6>();
  multiplyTiles<3, 5, 7>();
}
// sums = the sum of left · right over `count` pairs, added to the previous sums unless `fresh`; between() runs while the tiles are busy.
template <class Between>
CRE_INLINE void addProducts(const BlockPair* pairs, int count, bool fresh, float* sums, Between&& between) {
  if (fresh) zeroSums();
  else loadSums(sums);
  for (int i = 0; i < count; i++) multiplyBlocks(pairs[i].left, pairs[i].right);
  between();
  storeSums(sums);
}
// sums = left · right over the blocks of a head.
CRE_INLINE void multiplyHeads(const bf16* left, const bf16* right, int parts, float* sums) {
  zeroSums();
  for (int part = 0; part < parts; part++) multiplyBlocks(left + part * kBlockElements, right + part * kBlockElements);
  storeSums(sums);
}
#else
// sums = the sum of left · right over `count` pairs, added to the previous sums unless `fresh`.
template <class Between>
CRE_INLINE void addProducts(const BlockPair* pairs, int count, bool fresh, float* sums, Between&& between) {
  constexpr int kMostPairs = 8;
  DepthBlocks parts[kMostPairs];
  for (int i = 0; i < count; i++) parts[i] = {pairs[i].left, 0, pairs[i].right, 0, 1};
  between();
  addBlock(parts, count, kBlock, fresh ? nullptr : sums, sums);
}
// sums = left · right over the blocks of a head.
CRE_INLINE void multiplyHeads(const bf16* left, const bf16* right, int parts, float* sums) {
  const DepthBlocks factors{left, kBlockElements, right, kBlockElements, parts};
  addBlock(&factors, 1, kBlock, nullptr, sums);
}
#endif

// Makes a right factor from a row-major block; rows of the block become its columns.
CRE_INLINE void packAcross(const bf16* rows, bf16* out) {
  const auto* in = reinterpret_cast<const uint32_t*>(rows);
  transposeWords(in, kLanes, reinterpret_cast<uint32_t*>(out), kLanes);
  transposeWords(in + 16 * kLanes, kLanes, reinterpret_cast<uint32_t*>(out) + 16 * kLanes, kLanes);
}

// The blocks of a head's columns in 32 rows: in place if the rows are one block row (`firstRow` >= 0), else gathered to `space`.
CRE_INLINE const bf16* headBlocks(const Matrix& matrix, int firstRow, const int32_t* rows, int column, int parts, bf16* space) {
  const int blocks = matrix.columnBlocks();
  if (firstRow >= 0) return rowChunk(matrix.b16(), blocks, firstRow, column / kBlock);
  for (int r = 0; r < kBlock; r++) {
    const bf16* from = rows[r] < 0 ? nullptr : rowChunk(matrix.b16(), blocks, rows[r], column / kBlock);
    for (int part = 0; part < parts; part++) {
      const __m512i line = from == nullptr ? _mm512_setzero_si512() : _mm512_load_si512(from + part * kBlockElements);
      _mm512_store_si512(space + part * kBlockElements + r * kBlock, line);
    }
  }
  return space;
}

// 2^x, exactly 0 for −∞ and far below −126. The relative error of 4e-6 (a polynomial through the Chebyshev nodes of [0, 1)) is a
// thousandth of the error of the following rounding to bf16.
CRE_INLINE __m512 powerOfTwo(__m512 x) {
  const __m512 rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // x − ⌊x⌋
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.0136703094f), rest, _mm512_set1_ps(0.0517449975f));
  p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(0.241604358f));
  p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(0.692972898f));
  p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(1.00000346f));
  return _mm512_scalef_ps(p, x);  // by 2^⌊x⌋
}

// ln x of normal x > 0: x = m · 2^e with m in [0.75, 1.5), ln m = 2 artanh((m − 1) / (m + 1)); absolute error about 1e-7 in addition
// to the rounding of e · ln 2.
CRE_INLINE __m512 logarithm(__m512 x) {
  const __m512 one = _mm512_set1_ps(1);
  const __m512 m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
  const __m512 e = _mm512_getexp_ps(_mm512_div_ps(x, m));
  const __m512 s = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one)), square = _mm512_mul_ps(s, s);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(2.0f / 9), square, _mm512_set1_ps(2.0f / 7));
  p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(2.0f / 5));
  p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(2.0f / 3));
  p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(2.0f));
  return _mm512_fmadd_ps(e, _mm512_set1_ps(kLn2), _mm512_mul_ps(p, s));
}

// Lane i of the result combines all lanes of v[i], always in the same order.
template <class Join>
CRE_INLINE __m512 joinRows(const __m512 (&v)[16], Join join) {
  // Each step halves the number of vectors: the lanes of two become the halves, quarters … of one.
  __m512 a[8], b[4], c[2];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) a[i] = join(_mm512_unpacklo_ps(v[i], v[i + 8]), _mm512_unpackhi_ps(v[i], v[i + 8]));
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) b[i] = join(_mm512_unpacklo_ps(a[i], a[i + 4]), _mm512_unpackhi_ps(a[i], a[i + 4]));
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) c[i] = join(_mm512_shuffle_f32x4(b[i], b[i + 2], 0x88), _mm512_shuffle_f32x4(b[i], b[i + 2], 0xdd));
  const __m512 joined = join(_mm512_shuffle_f32x4(c[0], c[1], 0x88), _mm512_shuffle_f32x4(c[0], c[1], 0xdd));
  return _mm512_permutexvar_ps(_mm512_set_epi32(15, 7, 11, 3, 14, 6, 10, 2, 13, 5, 9, 1, 12, 4, 8, 0), joined);
}

CRE_INLINE uint32_t laneMask(int first, int end) {
  const auto below = [](int lane) { return lane <= 0 ? 0u : lane >= 32 ? ~0u : (1u << lane) - 1; };
  return below(end) & ~below(first);
}

// Stores a row of 32 columns, with non-temporal stores if `far`: see isFar.
CRE_INLINE void storeRow(bf16* to, __m512i row, bool far) {
  if (far) _mm512_stream_si512(reinterpret_cast<__m512i*>(to), row);
  else _mm512_store_si512(to, row);
}

// Prefetches the rows of one head that the next item reads into the second-level cache, one row at a time during the current item: a head's
// blocks are too short for the hardware prefetcher.
class RowsAhead {
 public:
  // Columns [column, column + columns) of the rows.
  void add(const Matrix& matrix, const std::vector<int32_t>& rows, int column, int columns) {
    const int rowCount = static_cast<int>(rows.size());
    sources_[count_++] = {matrix.b16(), rows.data(), rowCount, matrix.columnBlocks(), column / kBlock, columns / kBlock};
    rows_ = std::max(rows_, rowCount);
  }
  CRE_INLINE void step() {
    if (next_ == rows_) return;
    for (int i = 0; i < count_; i++) {
      const Source& source = sources_[i];
      if (next_ >= source.rowCount || source.rows[next_] < 0) continue;
      const bf16* line = rowChunk(source.data, source.columnBlocks, source.rows[next_], source.block);
      for (int part = 0; part < source.parts; part++) __builtin_prefetch(line + part * kBlockElements, 0, 2);
    }
    next_++;
  }

 private:
  struct Source {
    const bf16* data;
    const int32_t* rows;
    int rowCount, columnBlocks, block, parts;
  };
  Source sources_[5];
  int count_ = 0, next_ = 0, rows_ = 0;
};

// The two products of a pair: scores = k · qᵀ, products = v · dOutputᵀ. They are spread over 16 steps with vector work in between:
// a store of sums that are not ready would stall everything after it.
struct PairProducts {
  static constexpr int kProductSteps = 6;
  const bf16 *keys, *values, *queriesAcross, *dOutputsAcross;
  float *scores, *products;
  int parts;

#ifdef __AMX_BF16__
  CRE_INLINE void step(int step) const {
    if (step < kProductSteps) return multiply(keys, queriesAcross, step);
    if (step == kProductSteps) return storeSums(scores);
    if (step <= 2 * kProductSteps) return multiply(values, dOutputsAcross, step - kProductSteps - 1);
    if (step == 2 * kProductSteps + 2) storeSums(products);
  }

 private:
  CRE_INLINE void multiply(const bf16* left, const bf16* right, int step) const {
    if (step == 0) zeroSums();
    const auto before = [this](int step) { return (step * parts + kProductSteps - 1) / kProductSteps; };
    for (int part = before(step); part < before(step + 1); part++) {
      multiplyBlocks(left + part * kBlockElements, right + part * kBlockElements);
    }
  }
#else
  CRE_INLINE void step(int step) const {
    if (step == 0) multiplyHeads(keys, queriesAcross, parts, scores);
    else if (step == kProductSteps) multiplyHeads(values, dOutputsAcross, parts, products);
  }
#endif
};

}  // namespace cre::attend

#endif
