// Rearranges 32 x 32 blocks: transposes, and interleaves pairs of rows, the AMX layout of the right factor of a bf16 product.
#pragma once
#include "runtime/kernels.h"
#include "runtime/vector.h"

namespace cre {

// out[c][r] = in[r][c] for 16 x 16 words of 32 bits; strides in words.
CRE_INLINE void transposeWords(const uint32_t* in, size_t inStride, uint32_t* out, size_t outStride) {
#ifdef __AVX512F__
  for (int group = 0; group < 4; group++) {
    // Lane l of v[m] holds row m + 4l, so that a 4 x 4 transpose inside the lanes finishes whole output rows.
    __m512i v[4];
#pragma GCC unroll 4
    for (int m = 0; m < 4; m++) {
      const auto quarter = [&](int lane) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + (m + 4 * lane) * inStride + group * 4));
      };
      v[m] = _mm512_castsi128_si512(quarter(0));
      v[m] = _mm512_inserti32x4(v[m], quarter(1), 1);
      v[m] = _mm512_inserti32x4(v[m], quarter(2), 2);
      v[m] = _mm512_inserti32x4(v[m], quarter(3), 3);
    }
    const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
    const __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    uint32_t* row = out + group * 4 * outStride;
    _mm512_storeu_si512(row, _mm512_unpacklo_epi64(a, c));
    _mm512_storeu_si512(row + outStride, _mm512_unpackhi_epi64(a, c));
    _mm512_storeu_si512(row + 2 * outStride, _mm512_unpacklo_epi64(b, d));
    _mm512_storeu_si512(row + 3 * outStride, _mm512_unpackhi_epi64(b, d));
  }
#elif defined(CRE_NEON)
  for (int c = 0; c < 16; c += 4) {
    for (int r = 0; r < 16; r += 4) {
      const uint32_t* from = in + r * inStride + c;
      const uint32x4_t v0 = vld1q_u32(from), v1 = vld1q_u32(from + inStride);
      const uint32x4_t v2 = vld1q_u32(from + 2 * inStride), v3 = vld1q_u32(from + 3 * inStride);
      const auto a = (uint64x2_t)vtrn1q_u32(v0, v1), b = (uint64x2_t)vtrn2q_u32(v0, v1);
      const auto d = (uint64x2_t)vtrn1q_u32(v2, v3), e = (uint64x2_t)vtrn2q_u32(v2, v3);
      uint32_t* row = out + c * outStride + r;
      vst1q_u32(row, (uint32x4_t)vtrn1q_u64(a, d));
      vst1q_u32(row + outStride, (uint32x4_t)vtrn1q_u64(b, e));
      vst1q_u32(row + 2 * outStride, (uint32x4_t)vtrn2q_u64(a, d));
      vst1q_u32(row + 3 * outStride, (uint32x4_t)vtrn2q_u64(b, e));
    }
  }
#elif defined(__wasm_simd128__)
  for (int c = 0; c < 16; c += 4) {
    for (int r = 0; r < 16; r += 4) {
      const uint32_t* from = in + r * inStride + c;
      const v128_t v0 = wasm_v128_load(from), v1 = wasm_v128_load(from + inStride);
      const v128_t v2 = wasm_v128_load(from + 2 * inStride), v3 = wasm_v128_load(from + 3 * inStride);
      const v128_t a = wasm_i32x4_shuffle(v0, v1, 0, 4, 1, 5), b = wasm_i32x4_shuffle(v0, v1, 2, 6, 3, 7);
      const v128_t d = wasm_i32x4_shuffle(v2, v3, 0, 4, 1, 5), e = wasm_i32x4_shuffle(v2, v3, 2, 6, 3, 7);
      uint32_t* row = out + c * outStride + r;
      wasm_v128_store(row, wasm_i64x2_shuffle(a, d, 0, 2));
      wasm_v128_store(row + outStride, wasm_i64x2_shuffle(a, d, 1, 3));
      wasm_v128_store(row + 2 * outStride, wasm_i64x2_shuffle(b, e, 0, 2));
      wasm_v128_store(row + 3 * outStride, wasm_i64x2_shuffle(b, e, 1, 3));
    }
  }
#else
  for (int c = 0; c < 16; c++) {
    for (int r = 0; r < 16; r++) out[c * outStride + r] = in[r * inStride + c];
  }
#endif
}

CRE_INLINE void transposeBlock(const float* in, float* out) {
  for (int half = 0; half < 4; half++) {
    const int row = half / 2 * 16, column = half % 2 * 16;
    transposeWords(reinterpret_cast<const uint32_t*>(in) + row * kBlock + column, kBlock,
                   reinterpret_cast<uint32_t*>(out) + column * kBlock + row, kBlock);
  }
}

#ifdef __AVX512BF16__
// Rounds a float block to bf16.
CRE_INLINE void narrowBlock(const float* in, bf16* out) {
  for (int row = 0; row < kBlock; row++) store(out + row * kBlock, load(in + row * kBlock), load(in + row * kBlock + kLanes));
}

// Two tiles of 16 x 64 bytes: word c of row r of tile h is the pair (in[2r][16h + c], in[2r + 1][16h + c]). The first `pairs` rows of each.
CRE_INLINE void interleaveRows(const bf16* in, bf16* out, int pairs = 16) {
  const __m512i counting = _mm512_set_epi32(0x002f000f, 0x002e000e, 0x002d000d, 0x002c000c, 0x002b000b, 0x002a000a, 0x00290009, 0x00280008,
                                            0x00270007, 0x00260006, 0x00250005, 0x00240004, 0x00230003, 0x00220002, 0x00210001, 0x00200000);
  const __m512i second = _mm512_add_epi16(counting, _mm512_set1_epi16(16));
  for (int r = 0; r < pairs; r++) {
    const __m512i even = _mm512_loadu_si512(in + 2 * r * kBlock), odd = _mm512_loadu_si512(in + (2 * r + 1) * kBlock);
    _mm512_storeu_si512(out + r * kBlock, _mm512_permutex2var_epi16(even, counting, odd));
    _mm512_storeu_si512(out + (16 + r) * kBlock, _mm512_permutex2var_epi16(even, second, odd));
  }
}

// out[c][r] = in[r][c].
CRE_INLINE void transposeBlock(const bf16* in, bf16* out) {
  for (int group = 0; group < 4; group++) {
    // Lane l of v[m] holds row m + 8l: an 8 x 8 transpose inside the lanes finishes whole output rows.
    __m512i v[8];
#pragma GCC unroll 8
    for (int m = 0; m < 8; m++) {
      const auto quarter = [&](int lane) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + (m + 8 * lane) * kBlock + group * 8));
      };
      v[m] = _mm512_castsi128_si512(quarter(0));
      v[m] = _mm512_inserti32x4(v[m], quarter(1), 1);
      v[m] = _mm512_inserti32x4(v[m], quarter(2), 2);
      v[m] = _mm512_inserti32x4(v[m], quarter(3), 3);
    }
    __m512i pairs[8], fours[8];
#pragma GCC unroll 4
    for (int m = 0; m < 4; m++) {
      pairs[m] = _mm512_unpacklo_epi16(v[2 * m], v[2 * m + 1]);      // columns 0..3 of rows 2m, 2m + 1
      pairs[4 + m] = _mm512_unpackhi_epi16(v[2 * m], v[2 * m + 1]);  // columns 4..7
    }
#pragma GCC unroll 4
    for (int m = 0; m < 4; m++) {
      const __m512i a = pairs[2 * m], b = pairs[2 * m + 1];
      fours[2 * m] = _mm512_unpacklo_epi32(a, b);
      fours[2 * m + 1] = _mm512_unpackhi_epi32(a, b);
    }
    bf16* row = out + group * 8 * kBlock;
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
      const __m512i *top = fours + 4 * half, *bottom = top + 2;
#pragma GCC unroll 2
      for (int m = 0; m < 2; m++, row += 2 * kBlock) {
        _mm512_storeu_si512(row, _mm512_unpacklo_epi64(top[m], bottom[m]));
        _mm512_storeu_si512(row + kBlock, _mm512_unpackhi_epi64(top[m], bottom[m]));
      }
    }
  }
}
#endif

}  // namespace cre
