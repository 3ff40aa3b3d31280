// Quantising weights and activations for products of bytes: see w8a8.h.
#include <algorithm>
#include <cmath>
#include <limits>

#include "matmul/w8a8.h"
#include "rows/raw_rows.h"
#include "runtime/vector.h"

namespace cre {
namespace {

constexpr float kLeastMagnitude = 1e-30f;

#if !defined(__AVX512F__)
// NaN if there is one: without the sign, the bits of floats are ordered like their values, and NaN comes last.
CRE_INLINE float largestMagnitude(const float* values) {
  uint32_t largest = 0;
  for (int i = 0; i < kByteGroup; i++) {
    uint32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    largest = std::max(largest, bits & 0x7fffffffu);
  }
  float magnitude;
  memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

// The nearest whole number to the exact product, ties to even, for products below 2^22; its low byte is the code.
CRE_INLINE uint8_t nearestByte(float value, float factor) {
#if defined(__FMA__) || defined(__aarch64__)
  const float sum = __builtin_fmaf(value, factor, 12582912.0f);  // 1.5 · 2^23
  uint32_t bits;
#else
  const double sum = static_cast<double>(value) * factor + 6755399441055744.0;  // 1.5 · 2^52; the product is exact
  uint64_t bits;
#endif
  memcpy(&bits, &sum, sizeof bits);
  return static_cast<uint8_t>(bits);
}
#endif

// The scale of a group whose largest magnitude is no number or zero.
CRE_INLINE bool hasNoCodes(float largest) { return !(largest >= kLeastMagnitude && largest <= std::numeric_limits<float>::max()); }
CRE_INLINE float scaleWithoutCodes(float largest) {
  return largest < kLeastMagnitude ? 0 : std::numeric_limits<float>::quiet_NaN();
}

// Codes of a group as bytes of two's complement, xored with `flip`, the second half at `stepStride`; returns the scale.
#if defined(__AVX512F__)
// As the loops below, 16 numbers at a time.
CRE_INLINE float quantizeGroup(const float* values, float codes, uint8_t flip, uint8_t* out, size_t stepStride) {
  constexpr int kVectors = kStepInputs / kLanes;
  const __m512i magnitudeBits = _mm512_set1_epi32(0x7fffffff);
  __m512i most = _mm512_setzero_si512();
  for (int i = 0; i < kByteGroup; i += kLanes) most = _mm512_max_epu32(most, _mm512_and_si512(_mm512_loadu_si512(values + i), magnitudeBits));
  const uint32_t bits = _mm512_reduce_max_epu32(most);
  float largest;
  memcpy(&largest, &bits, sizeof largest);
  const bool isEmpty = hasNoCodes(largest);
  const __m512 factor = _mm512_set1_ps(isEmpty ? 0 : codes / largest), shift = _mm512_set1_ps(12582912.0f);
  // Packing works inside lanes of 128 bits, so words of four codes end up transposed.
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  for (int step = 0; step < kGroupSteps; step++, values += kStepInputs, out += stepStride) {
    __m512i whole[kVectors];
    for (int v = 0; v < kVectors; v++) {
      const __m512 sum = _mm512_fmadd_ps(_mm512_loadu_ps(values + v * kLanes), factor, shift);
      whole[v] = _mm512_sub_epi32(_mm512_castps_si512(sum), _mm512_castps_si512(shift));
    }
    const __m512i packed = _mm512_packs_epi16(_mm512_packs_epi32(whole[0], whole[1]), _mm512_packs_epi32(whole[2], whole[3]));
    const __m512i bytes = _mm512_xor_si512(_mm512_permutexvar_epi32(order, packed), _mm512_set1_epi8(static_cast<char>(flip)));
    _mm512_storeu_si512(out, isEmpty ? _mm512_set1_epi8(static_cast<char>(flip)) : bytes);
  }
  return isEmpty ? scaleWithoutCodes(largest) : largest / codes;
}
#else
CRE_INLINE float quantizeGroup(const float* values, float codes, uint8_t flip, uint8_t* out, size_t stepStride) {
  const float largest = largestMagnitude(values);
  const bool isEmpty = hasNoCodes(largest);
  const float factor = isEmpty ? 0 : codes / largest;
  for (int step = 0; step < kGroupSteps; step++, values += kStepInputs, out += stepStride) {
    if (isEmpty) memset(out, flip, kStepInputs);
    else for (int i = 0; i < kStepInputs; i++) out[i] = nearestByte(values[i], factor) ^ flip;
  }
  return isEmpty ? scaleWithoutCodes(largest) : largest / codes;
}
#endif

// A scale of 22 significant bits, of which tiles_w8a8.h makes use; numbers of bfloat16 have 8.
float shortened(float scale) {
  uint32_t bits;
  memcpy(&bits, &scale, sizeof bits);
  bits = (bits + 2) & ~3u;
  memcpy(&scale, &bits, sizeof scale);
  return scale;
}

}  // namespace

void quantizeByteRows(Pool& pool, const RawRows& chunk, int firstRow, int rows, void* quantized) {
  const ByteLayout layout(rows, chunk.columns);
  auto* data = static_cast<char*>(quantized);
  pool.parallelFor(blocksFor(chunk.rows), [&](int chunkBlock, int) {
    const int outputBlock = firstRow / kBlock + chunkBlock;
    auto* scales = reinterpret_cast<float*>(data + layout.scalesAt) + layout.scales(outputBlock, 0);
    auto* starts = reinterpret_cast<int32_t*>(data + layout.startsAt) + layout.scales(outputBlock, 0);
    memset(data + layout.codes(outputBlock, 0), 0, static_cast<size_t>(layout.columnBlocks) * kBlockElements);
    memset(scales, 0, layout.groups * kBlock * sizeof *scales);
    memset(starts, 0, layout.groups * kBlock * sizeof *starts);
    for (int r = 0; r < kBlock && chunkBlock * kBlock + r < chunk.rows; r++) {
      for (int group = 0; group < layout.groups; group++) {
        alignas(64) float values[kByteGroup];
        alignas(64) uint8_t codes[kByteGroup];
        const int begin = group * kByteGroup, count = std::min(kByteGroup, chunk.columns - begin);
        readValues(chunk, chunkBlock * kBlock + r, begin, count, values);
        memset(values + count, 0, (kByteGroup - count) * sizeof(float));
        scales[group * kBlock + r] = shortened(quantizeGroup(values, kWeightCodes, 0, codes, kStepInputs));
        int32_t sum = 0;
        for (const uint8_t code : codes) sum += static_cast<int8_t>(code);
        starts[group * kBlock + r] = -kCodeOffset * sum;
        for (int block = 0; block < layout.blocksOf(group); block++) {
          char* to = data + layout.codes(outputBlock, group * kByteGroupBlocks + block) + r * 4;
          for (int quad = 0; quad < kQuads; quad++) memcpy(to + quad * 4 * kBlock, codes + block * kBlock + quad * 4, 4);
        }
      }
    }
  });
}

void readByteRow(const WeightView& w, int row, float* out) {
  const ByteLayout layout(w.rows, w.columns);
  const auto* data = static_cast<const char*>(w.forward);
  const auto* scales = reinterpret_cast<const float*>(data + layout.scalesAt);
  for (int block = 0; block < layout.columnBlocks; block++) {
    const float scale = scales[layout.scales(row / kBlock, block / kByteGroupBlocks) + row % kBlock];
    const auto* codes = reinterpret_cast<const int8_t*>(data + layout.codes(row / kBlock, block)) + row % kBlock * 4;
    for (int c = 0; c < kBlock; c++) out[block * kBlock + c] = static_cast<float>(codes[c / 4 * 4 * kBlock + c % 4]) * scale;
  }
}

void quantizeActivations(Pool& pool, const Matrix& x, const ActivationCodes& to) {
  const int columnBlocks = x.columnBlocks();
  const uint8_t flip = to.inTiles ? 0 : kCodeOffset;
  pool.parallelFor(x.rowBlocks(), [&](int rowBlock, int) {
    withElements(x, [&](const auto* data) {
      const auto* blocks = data + static_cast<size_t>(rowBlock) * columnBlocks * kBlockElements;
      const int height = std::min(kBlock, x.rows - rowBlock * kBlock);
      for (int group = 0; group < to.groups; group++) {
        const int first = group * kByteGroupBlocks, count = std::min(kByteGroupBlocks, columnBlocks - first);
        alignas(64) float values[kByteGroup] = {};
        for (int r = 0; r < height; r++) {
          const int row = rowBlock * kBlock + r;
          for (int block = 0; block < count; block++) {
            const auto* from = blocks + static_cast<size_t>(first + block) * kBlockElements + r * kBlock;
            store(values + block * kBlock, load(from), load(from + kLanes));
          }
          to.scales[static_cast<size_t>(row) * to.groups + group] =
              quantizeGroup(values, kActivationCodes, flip, to.at(row, group), to.stepStride());
        }
      }
    });
  });
}

}  // namespace cre
