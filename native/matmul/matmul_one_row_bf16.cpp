// Products of a single row with quantised weights: greedy decoding. x is rounded to integers of 15 bits (14 for nf4) with a scale for each
// group of 64, which is multiplied with the weight's scale of that group; codes become integers in registers, and the sums of a group are
// exact. So the time is spent reading the codes.
#include "matmul/matmul_few_rows.h"
#include "matmul/quantized.h"

#ifdef __AVX512BF16__

namespace cre {
namespace {

// Panels that are read together, because a single stream keeps too few memory requests in flight, and the prefetch distance (measured).
template <Storage kStorage>
constexpr int kStreams = kStorage == Storage::int8 ? 2 : 4;
template <Storage kStorage>
constexpr int kAheadBytes = kStorage == Storage::int8 ? 3072 : 2048;

// The sums of one output over a group of 64 inputs, lane by lane and not scaled yet, are added to `sums` with its scale.
CRE_INLINE void addScaled(__m512i part, float scale, float* sums) {
  _mm512_store_ps(sums, _mm512_fmadd_ps(_mm512_cvtepi32_ps(part), _mm512_set1_ps(scale), _mm512_load_ps(sums)));
}

// The largest integer of x: four products of a lane are summed, with codes up to 127 or kBookUnit.
template <Storage kStorage>
constexpr float kLargestInput = kStorage == Storage::int8 ? 32767.0f : 16383.0f;
constexpr float kBookUnit = 16384.0f;

// kNormalFloat in units of 1 / kBookUnit, twice: a permutation looks at five bits of its index, of which the code is four.
CRE_INLINE __m512i wholeBook() {
  const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(kNormalFloat), _mm512_set1_ps(kBookUnit)));
  const __m256i half = _mm512_cvtepi32_epi16(whole);
  return _mm512_inserti64x4(_mm512_castsi256_si512(half), half, 1);
}

// Rounds 64 inputs (or the 32 of a last block) to integers; returns the scale that restores x.
template <Storage kStorage>
float wholeNumbers(const Floats* x, int count, int16_t* out) {
  const __m512i noSign = _mm512_set1_epi32(0x7fffffff);
  __m512i most = _mm512_setzero_si512();
  // Compared as bits: values that are not finite are larger than every number, so the scale becomes not finite too.
  for (int i = 0; i < count; i++) most = _mm512_max_epi32(most, _mm512_and_si512((__m512i)x[i].part[0], noSign));
  const int bits = _mm512_reduce_max_epi32(most);
  float largest;
  memcpy(&largest, &bits, sizeof largest);
  constexpr float kNothing = 1e-30f;
  const float factor = largest < kNothing ? 0.0f : kLargestInput<kStorage> / largest;
  for (int i = 0; i < count; i++) {
    const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps((__m512)x[i].part[0], _mm512_set1_ps(factor)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out) + i, _mm512_cvtsepi32_epi16(whole));
  }
  const float unit = kStorage == Storage::int8 ? 1.0f : 1.0f / kBookUnit;
  return largest < kNothing ? 0.0f : largest / kLargestInput<kStorage> * unit;
}

// kBlocks blocks of 32 outputs x 32 inputs; sums[output][16 lanes].
template <Storage kStorage, int kBlocks>
CRE_INLINE void addGroup(const char* codes, const float* scales, const int16_t* x, float* sums) {
  for (int line = 0; line < kBlocks * (kStorage == Storage::int8 ? 16 : 8); line++) {
    __builtin_prefetch(codes + kAheadBytes<kStorage> + line * 64, 0, 3);
  }
  __m512i inputs[kBlocks];
  for (int b = 0; b < kBlocks; b++) inputs[b] = _mm512_load_si512(x + b * kBlock);
  if constexpr (kStorage == Storage::int8) {
#pragma GCC unroll 4
    for (int r = 0; r < kBlock; r++) {
      __m512i part = _mm512_setzero_si512();
#pragma GCC unroll 2
      for (int b = 0; b < kBlocks; b++) {
        const auto* from = reinterpret_cast<const __m256i*>(codes + b * kBlockElements + r * kBlock);
        part = _mm512_dpwssd_epi32(part, _mm512_cvtepi8_epi16(_mm256_load_si256(from)), inputs[b]);
      }
      addScaled(part, scales[r], sums + r * 16);
    }
  } else {
    const __m512i book = wholeBook();
    for (int four = 0; four < kBlock / 4; four++) {
      __m512i words[kBlocks];
      for (int b = 0; b < kBlocks; b++) words[b] = _mm512_load_si512(codes + b * kBlockElements / 2 + four * 64);
#pragma GCC unroll 4
      for (int n = 0; n < 4; n++) {
        __m512i part = _mm512_setzero_si512();
#pragma GCC unroll 2
        for (int b = 0; b < kBlocks; b++) {
          part = _mm512_dpwssd_epi32(part, _mm512_permutexvar_epi16(words[b], book), inputs[b]);
          words[b] = _mm512_srli_epi16(words[b], 4);
        }
        addScaled(part, scales[4 * four + n], sums + (4 * four + n) * 16);
      }
    }
  }
}

// A row as integers, [group][64], and their scales.
struct WholeRow {
  const int16_t* numbers;
  const float* scales;
};

// Up to kStreams panels.
template <Storage kStorage, class FinishRows>
void multiplyPanels(const Quantized<kStorage>& quantized, const WholeRow& x, int depthBlocks, int first, int end,
                    const FinishRows& finish) {
  alignas(64) float sums[kStreams<kStorage>][kBlock * 16] = {}, scales[kBlock], result[kBlockElements];
  for (int block = 0; block < depthBlocks; block += kGroupBlocks) {
    const Floats inputScale = broadcast(x.scales[block / kGroupBlocks]);
    for (int panel = first; panel < end; panel++) {
      const char* codes = quantized.codes(panel, block);
      float* to = sums[panel - first];
      quantized.scales(panel, block, scales);
      store(scales, load(scales) * inputScale, load(scales + kLanes) * inputScale);
      if (block + 1 < depthBlocks) addGroup<kStorage, 2>(codes, scales, x.numbers + block * kBlock, to);
      else addGroup<kStorage, 1>(codes, scales, x.numbers + block * kBlock, to);
    }
  }
  for (int panel = first; panel < end; panel++) {
    for (int r = 0; r < kBlock; r++) result[r] = _mm512_reduce_add_ps(_mm512_load_ps(sums[panel - first] + r * 16));
    finish(result, 0, panel, 0, 1);
  }
}

template <Storage kStorage>
void multiply(Pool& pool, const Product& product) {
  const Quantized<kStorage> quantized(*product.source);
  const size_t blocks = product.depthBlocks, groups = (blocks + kGroupBlocks - 1) / kGroupBlocks;
  auto* numbers = static_cast<int16_t*>(pool.sharedScratch(1, groups * (kGroupBlocks * kBlock * sizeof(int16_t) + sizeof(float))));
  auto* scales = reinterpret_cast<float*>(numbers + groups * kGroupBlocks * kBlock);
  for (size_t block = 0; block < blocks; block += kGroupBlocks) {
    Floats x[2 * kGroupBlocks];
    const int present = static_cast<int>(std::min<size_t>(kGroupBlocks, blocks - block));
    for (int b = 0; b < present; b++) {
      const bf16* from = static_cast<const bf16*>(product.a) + (block + b) * product.aDepthBlockStride;
      x[2 * b] = load(from);
      x[2 * b + 1] = load(from + kLanes);
    }
    scales[block / kGroupBlocks] = wholeNumbers<kStorage>(x, 2 * present, numbers + block * kBlock);
  }
  const WholeRow row{numbers, scales};
  withFinish(product, [&](const auto& finish) {
    constexpr int kTogether = kStreams<kStorage>;
    const int panels = product.y->columnBlocks(), items = (panels + kTogether - 1) / kTogether;
    pool.parallelFor(items, [&](int item, int) {
      multiplyPanels(quantized, row, product.depthBlocks, item * kTogether, std::min((item + 1) * kTogether, panels), finish);
    });
  });
}

}  // namespace

void multiplyOneRow(Pool& pool, const Product& product) {
  if (product.source->storage == Storage::int8) multiply<Storage::int8>(pool, product);
  else multiply<Storage::nf4>(pool, product);
}

}  // namespace cre

#endif
