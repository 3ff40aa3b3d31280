// Frozen weights in 8 and 4 bits: their memory layout, and dequantisation of blocks of 32 x 32.
//
// A group is 64 inputs of one output and has one scale.
//   int8  value = code · scale, codes −127..127, scale in bf16 (codes are chosen with the rounded scale, which compensates its rounding)
//   nf4   value = kNormalFloat[code] · scale; scale = offset + second code · step, one step (bf16) for 32 outputs x 8 groups, that is 256
//         scales, and one offset for the matrix: the double quantisation of QLoRA (Dettmers et al. 2023), whose code book this is
// Memory: codes, scales, steps, offset, each 64-byte aligned. Block (output block p, input block i) of codes is at index p * columnBlocks + i.
//   int8  1024 bytes, row-major [output][input]
//   nf4   512 bytes: eight lines of 32 words; nibble n of word j of line l is output 4l + n, input j, so that one load and three shifts give
//         the indices of four permutations
//   scales of 32 outputs are contiguous, [output block][group][32]; steps [output block][group / 8]
#pragma once
#include "matmul/blocks.h"
#include "runtime/kernels.h"
#include "runtime/vector.h"

namespace cre {

constexpr int kGroupBlocks = 2;  // 64 inputs
constexpr int kGroupsOfStep = 8;
constexpr int kZeroCode = 7;  // of kNormalFloat

alignas(64) constexpr float kNormalFloat[16] = {-1.0f,
                                                -0.6961928009986877f,
                                                -0.5250730514526367f,
                                                -0.39491748809814453f,
                                                -0.28444138169288635f,
                                                -0.18477343022823334f,
                                                -0.09105003625154495f,
                                                0.0f,
                                                0.07958029955625534f,
                                                0.16093020141124725f,
                                                0.24611230194568634f,
                                                0.33791524171829224f,
                                                0.44070982933044434f,
                                                0.5626170039176941f,
                                                0.7229568362236023f,
                                                1.0f};

struct QuantizedLayout {
  int columnBlocks, groups, steps;  // of one output block
  size_t codeBlockBytes, scalesAt, stepsAt, offsetAt, bytes;

  QuantizedLayout(int rows, int columns, Storage storage) {
    const auto aligned = [](size_t size) { return (size + 63) / 64 * 64; };
    const size_t rowBlocks = blocksFor(rows);
    const bool nf4 = storage == Storage::nf4;
    columnBlocks = blocksFor(columns);
    groups = (columnBlocks + kGroupBlocks - 1) / kGroupBlocks;
    steps = nf4 ? (groups + kGroupsOfStep - 1) / kGroupsOfStep : 0;
    codeBlockBytes = nf4 ? kBlockElements / 2 : kBlockElements;
    scalesAt = rowBlocks * columnBlocks * codeBlockBytes;
    stepsAt = aligned(scalesAt + rowBlocks * groups * kBlock * (nf4 ? 1 : 2));
    offsetAt = aligned(stepsAt + rowBlocks * steps * sizeof(bf16));
    bytes = nf4 ? offsetAt + 64 : stepsAt;
  }
};

// A quantised weight for reading.
template <Storage kStorage>
struct Quantized {
  const QuantizedLayout layout;
  const char* data;
  float offset = 0;

  explicit Quantized(const WeightView& w) : layout(w.rows, w.columns, kStorage), data(static_cast<const char*>(w.forward)) {
    if (kStorage == Storage::nf4) memcpy(&offset, data + layout.offsetAt, sizeof offset);
  }

  CRE_INLINE const char* codes(int outputBlock, int inputBlock) const {
    return data + (static_cast<size_t>(outputBlock) * layout.columnBlocks + inputBlock) * layout.codeBlockBytes;
  }

  // The 32 scales of a block.
  CRE_INLINE void scales(int outputBlock, int inputBlock, float* out) const {
    const int group = inputBlock / kGroupBlocks;
    const size_t at = (static_cast<size_t>(outputBlock) * layout.groups + group) * kBlock;
    if constexpr (kStorage == Storage::int8) {
      const bf16* from = reinterpret_cast<const bf16*>(data + layout.scalesAt) + at;
      store(out, load(from), load(from + kLanes));
    } else {
      const auto* from = reinterpret_cast<const int8_t*>(data + layout.scalesAt) + at;
      const size_t stepAt = static_cast<size_t>(outputBlock) * layout.steps + group / kGroupsOfStep;
      const float step = toFloat(reinterpret_cast<const bf16*>(data + layout.stepsAt)[stepAt]);
#if defined(__AVX512F__)
      for (int half = 0; half < 2; half++) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + half);
        const __m512 second = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
        _mm512_storeu_ps(out + half * kLanes, _mm512_fmadd_ps(second, _mm512_set1_ps(step), _mm512_set1_ps(offset)));
      }
#else
      // The product has at most 15 digits, so the sum is rounded once with or without a fused instruction.
      for (int r = 0; r < kBlock; r++) out[r] = static_cast<float>(from[r]) * step + offset;
#endif
    }
  }

  // Rows [first, first + 4) of a block as float, rows 32 apart; first is a multiple of 4. `scales` of the whole block.
  CRE_INLINE void fourRows(const char* codes, const float* scales, int first, float* out) const {
    if constexpr (kStorage == Storage::int8) {
      for (int r = first; r < first + 4; r++) {
        const auto* row = reinterpret_cast<const int8_t*>(codes) + r * kBlock;
        for (int c = 0; c < kBlock; c++) out[r * kBlock + c] = static_cast<float>(row[c]) * scales[r];
      }
    } else {
      const auto* line = reinterpret_cast<const uint16_t*>(codes) + first / 4 * kBlock;
      for (int n = 0; n < 4; n++) {
        float* row = out + (first + n) * kBlock;
        const float scale = scales[first + n];
#if defined(__AVX512F__)
        const __m512 book = _mm512_mul_ps(_mm512_load_ps(kNormalFloat), _mm512_set1_ps(scale));
        for (int half = 0; half < 2; half++) {
          const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(line) + half));
          _mm512_storeu_ps(row + half * kLanes, _mm512_permutexvar_ps(_mm512_srli_epi32(words, 4 * n), book));
        }
#elif defined(__AVX2__)
        const __m256 factor = _mm256_set1_ps(scale);
        const __m256 low = _mm256_mul_ps(_mm256_load_ps(kNormalFloat), factor);
        const __m256 high = _mm256_mul_ps(_mm256_load_ps(kNormalFloat + 8), factor);
        for (int part = 0; part < 4; part++) {
          const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(line) + part));
          const __m256i index = _mm256_srli_epi32(words, 4 * n);
          const __m256 top = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));  // bit 3 of the code as the sign
          const __m256 value = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index), _mm256_permutevar8x32_ps(high, index), top);
          _mm256_storeu_ps(row + part * 8, value);
        }
#elif defined(CRE_NEON)
        // Bytes 4c..4c + 3 of the code book are the value of code c.
        uint8x16x4_t book;
        for (int part = 0; part < 4; part++) book.val[part] = (uint8x16_t)vmulq_n_f32(vld1q_f32(kNormalFloat + 4 * part), scale);
        const int32x4_t shift = vdupq_n_s32(-4 * n);
        for (int c = 0; c < kBlock; c += 4) {
          const uint32x4_t code = vandq_u32(vshlq_u32(vmovl_u16(vld1_u16(line + c)), shift), vdupq_n_u32(15));
          const uint32x4_t bytes = vmlaq_n_u32(vdupq_n_u32(0x03020100), code, 0x04040404);
          vst1q_f32(row + c, (float32x4_t)vqtbl4q_u8(book, (uint8x16_t)bytes));
        }
#else
        for (int c = 0; c < kBlock; c++) row[c] = kNormalFloat[line[c] >> (4 * n) & 15] * scale;
#endif
      }
    }
  }

#ifdef __AVX512BF16__
  // fourRows to bf16, for kBlocks blocks that share their scales; codes and rows of the second block follow those of the first.
  template <int kBlocks = 1>
  CRE_INLINE void fourRows(const char* codes, const float* scales, int first, bf16* out) const {
    if constexpr (kStorage == Storage::int8) {
      for (int r = first; r < first + 4; r++) {
        const __m512 scale = _mm512_set1_ps(scales[r]);
#pragma GCC unroll 2
        for (int block = 0; block < kBlocks; block++) {
          const auto* row = reinterpret_cast<const __m128i*>(codes + block * kBlockElements) + r * 2;
          const __m512 low = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(row))), scale);
          const __m512 high = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(row + 1))), scale);
          _mm512_store_si512(out + block * kBlockElements + r * kBlock, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
      }
    } else {
      // The code book twice over: a permutation looks at five bits of its index, of which the code is four.
      const __m512 book = _mm512_load_ps(kNormalFloat);
      __m512i words[kBlocks];
#pragma GCC unroll 2
      for (int block = 0; block < kBlocks; block++) words[block] = _mm512_load_si512(codes + block * kBlockElements / 2 + first / 4 * 64);
#pragma GCC unroll 4
      for (int n = 0; n < 4; n++) {
        const __m512 scaled = _mm512_mul_ps(book, _mm512_set1_ps(scales[first + n]));
        const __m512i table = (__m512i)_mm512_cvtne2ps_pbh(scaled, scaled);
#pragma GCC unroll 2
        for (int block = 0; block < kBlocks; block++) {
          _mm512_store_si512(out + block * kBlockElements + (first + n) * kBlock, _mm512_permutexvar_epi16(words[block], table));
          words[block] = _mm512_srli_epi16(words[block], 4);
        }
      }
    }
  }
#endif
};

}  // namespace cre
