// Products of a single row with quantised weights: greedy decoding. Every code is looked up or converted in registers and used at once, so
// that reading the codes is what takes time. Empty on the other levels.
#include "matmul_few_rows.h"
#include "quantized.h"

#ifdef __AMX_BF16__

namespace cre {
namespace {

constexpr int kStreams = 4;

// The sums of one output over a group of 64 inputs, lane by lane and not scaled yet, are added to `sums` with its scale.
CRE_INLINE void addScaled(__m512 part, float scale, float* sums) {
  _mm512_store_ps(sums, _mm512_fmadd_ps(part, _mm512_set1_ps(scale), _mm512_load_ps(sums)));
}

// kBlocks blocks of 32 outputs x 32 inputs; sums[output][16 lanes].
template <Storage kStorage, int kBlocks>
CRE_INLINE void addGroup(const char* codes, const float* scales, const bf16* x, const float* wideX, float* sums) {
  for (int line = 0; line < kBlocks * (kStorage == Storage::int8 ? 16 : 8); line++) {
    if constexpr (kStorage == Storage::int8) __builtin_prefetch(codes + 2048 + line * 64, 0, 2);
    else __builtin_prefetch(codes + 4096 + line * 64, 0, 3);
  }
  if constexpr (kStorage == Storage::int8) {
    __m512 inputs[2 * kBlocks];
    for (int i = 0; i < 2 * kBlocks; i++) inputs[i] = _mm512_load_ps(wideX + i * 16);
#pragma GCC unroll 4
    for (int r = 0; r < kBlock; r++) {
      __m512 part = _mm512_setzero_ps();
#pragma GCC unroll 4
      for (int i = 0; i < 2 * kBlocks; i++) {
        const auto* from = reinterpret_cast<const __m128i*>(codes + i / 2 * kBlockElements + r * kBlock) + i % 2;
        part = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(from))), inputs[i], part);
      }
      addScaled(part, scales[r], sums + r * 16);
    }
  } else {
    const __m512 book = _mm512_load_ps(kNormalFloat);
    const __m512i table = (__m512i)_mm512_cvtne2ps_pbh(book, book);  // twice: a permutation looks at five bits of its index
    for (int four = 0; four < kBlock / 4; four++) {
      __m512i words[kBlocks];
      for (int b = 0; b < kBlocks; b++) words[b] = _mm512_load_si512(codes + b * kBlockElements / 2 + four * 64);
#pragma GCC unroll 4
      for (int n = 0; n < 4; n++) {
        __m512 part = _mm512_setzero_ps();
#pragma GCC unroll 2
        for (int b = 0; b < kBlocks; b++) {
          const __m512i values = _mm512_permutexvar_epi16(words[b], table);
          part = _mm512_dpbf16_ps(part, (__m512bh)values, (__m512bh)_mm512_load_si512(x + b * kBlock));
          words[b] = _mm512_srli_epi16(words[b], 4);
        }
        addScaled(part, scales[4 * four + n], sums + (4 * four + n) * 16);
      }
    }
  }
}

// Up to kStreams panels together: a core has too few requests to memory under way with one stream, however far ahead it asks. x in bf16
// and, for int8, in float.
template <Storage kStorage, class FinishRows>
void multiplyPanels(const Quantized<kStorage>& quantized, const bf16* x, const float* wideX, int depthBlocks, int first, int end,
                    const FinishRows& finish) {
  alignas(64) float sums[kStreams][kBlock * 16] = {}, scales[kBlock], result[kBlockElements];
  for (int block = 0; block < depthBlocks; block += kGroupBlocks) {
    for (int panel = first; panel < end; panel++) {
      const char* codes = quantized.codes(panel, block);
      float* to = sums[panel - first];
      quantized.scales(panel, block, scales);
      if (block + 1 < depthBlocks) addGroup<kStorage, 2>(codes, scales, x + block * kBlock, wideX + block * kBlock, to);
      else addGroup<kStorage, 1>(codes, scales, x + block * kBlock, wideX + block * kBlock, to);
    }
  }
  for (int panel = first; panel < end; panel++) {
    for (int r = 0; r < kBlock; r++) result[r] = _mm512_reduce_add_ps(_mm512_load_ps(sums[panel - first] + r * 16));
    finish(result, 0, panel, 0, kBlock);
  }
}

template <Storage kStorage>
void multiply(Pool& pool, const Product& product) {
  const Quantized<kStorage> quantized(*product.source);
  const size_t inputs = static_cast<size_t>(product.depthBlocks) * kBlock;
  auto* wideX = static_cast<float*>(pool.sharedScratch(1, inputs * (sizeof(float) + sizeof(bf16))));
  auto* x = reinterpret_cast<bf16*>(wideX + inputs);
  for (int block = 0; block < product.depthBlocks; block++) {
    const bf16* from = static_cast<const bf16*>(product.a) + block * product.aDepthBlockStride;
    const Floats low = load(from), high = load(from + kLanes);
    store(wideX + block * kBlock, low, high);
    store(x + block * kBlock, low, high);
  }
  withFinish(product, [&](const auto& finish) {
    const int panels = product.y->columnBlocks(), items = (panels + kStreams - 1) / kStreams;
    pool.parallelFor(items, [&](int item, int) {
      multiplyPanels(quantized, x, wideX, product.depthBlocks, item * kStreams, std::min((item + 1) * kStreams, panels), finish);
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
