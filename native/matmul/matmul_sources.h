// Panels of the right factor that are not in memory in the layout of products and are made during the product: quantised weights, and the
// forward copy read for a product backward to the input. Blocks are made in small parts, which are spread over the steps of a product.
#pragma once
#include "matmul/matmul.h"
#include "matmul/quantized.h"

namespace cre {

// Block `depth` of panel `panel` in the layout of the float kernels, from w.forward (any storage).
void floatBlock(const WeightView& w, bool backward, int panel, int depth, float* out);

#ifdef __AVX512BF16__

struct alignas(64) PartScratch {
  bf16 rows[kBlockElements];
  float scales[kBlock];
};

template <Storage kStorage, bool kBackward>
struct PanelSource {
  static constexpr int kParts = kBackward ? 8 : 10;
  static constexpr int kLines = kStorage == Storage::nf4 ? 8 : 16;
  const Quantized<kStorage> quantized;

  explicit PanelSource(const WeightView& w) : quantized(w) {}

  // Parts 0 .. kParts − 1 in order make a block of two tiles.
  CRE_INLINE void part(int panel, int depth, int part, PartScratch& scratch, bf16* out) const {
    const int outputBlock = kBackward ? depth : panel, inputBlock = kBackward ? panel : depth;
    const char* codes = quantized.codes(outputBlock, inputBlock);
    if (part == 0) quantized.scales(outputBlock, inputBlock, scratch.scales);
    if constexpr (kBackward) {
      quantized.fourRows(codes, scratch.scales, 4 * part, scratch.rows);
      interleaveRows(scratch.rows + 4 * part * kBlock, out + 2 * part * kBlock, 2);
    } else {
      const int half = part / 5, step = part % 5;
      if (step < 4) return quantized.fourRows(codes, scratch.scales, 16 * half + 4 * step, scratch.rows);
      transposeWords(reinterpret_cast<const uint32_t*>(scratch.rows) + half * 256, 16, reinterpret_cast<uint32_t*>(out) + half * 256, 16);
    }
  }

  CRE_INLINE void prefetch(int panel, int depth, int part) const {
    const char* codes = kBackward ? quantized.codes(depth, panel) : quantized.codes(panel, depth);
    for (int line = part; line < kLines; line += kParts) __builtin_prefetch(codes + 64 * line, 0, 3);
  }
};

// The forward copy of a bf16 weight, for the product backward to the input.
template <>
struct PanelSource<Storage::bfloat16, true> {
  static constexpr int kParts = 8;
  const bf16* forward;
  const size_t columnBlocks;

  explicit PanelSource(const WeightView& w) : forward(static_cast<const bf16*>(w.forward)), columnBlocks(blocksFor(w.columns)) {}

  CRE_INLINE const bf16* block(int panel, int depth) const { return forward + (depth * columnBlocks + panel) * kBlockElements; }

  // Word c of row r of tile h of the forward block: inputs 2r, 2r + 1 of output 16h + c. Word c of row r of tile h of the backward block:
  // outputs 2r, 2r + 1 of input 16h + c. So pairs of words move as in a transpose of 64-bit numbers, and are swapped inside.
  CRE_INLINE void part(int panel, int depth, int part, PartScratch&, bf16* out) const {
    const bf16* from = block(panel, depth);
    const __m512i swap = _mm512_set4_epi32(0x0f0e0b0a, 0x0d0c0908, 0x07060302, 0x05040100);
#pragma GCC unroll 2
    for (int pair = 2 * part; pair < 2 * part + 2; pair++) {
      const int toTile = pair / 8, fromTile = pair / 4 % 2, quarter = pair % 4;
      const bf16* first = from + fromTile * 512 + toTile * 8 * kBlock + quarter * 8;
      const auto piece = [&](int row) { return _mm_load_si128(reinterpret_cast<const __m128i*>(first + row * kBlock)); };
      __m512i even = _mm512_castsi128_si512(piece(0)), odd = _mm512_castsi128_si512(piece(1));
      even = _mm512_inserti32x4(even, piece(2), 1);
      odd = _mm512_inserti32x4(odd, piece(3), 1);
      even = _mm512_inserti32x4(even, piece(4), 2);
      odd = _mm512_inserti32x4(odd, piece(5), 2);
      even = _mm512_inserti32x4(even, piece(6), 3);
      odd = _mm512_inserti32x4(odd, piece(7), 3);
      bf16* to = out + toTile * 512 + (8 * fromTile + 2 * quarter) * kBlock;
      _mm512_store_si512(to, _mm512_shuffle_epi8(_mm512_unpacklo_epi64(even, odd), swap));
      _mm512_store_si512(to + kBlock, _mm512_shuffle_epi8(_mm512_unpackhi_epi64(even, odd), swap));
    }
  }

  CRE_INLINE void prefetch(int panel, int depth, int part) const {
    for (int line = 0; line < 4; line++) __builtin_prefetch(block(panel, depth) + (4 * part + line) * kBlock, 0, 3);
  }
};

#endif

}  // namespace cre
