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

// Codes of a group as bytes of two's complement, xored with `flip`; returns the scale.
CRE_INLINE float quantizeGroup(const float* values, float codes, uint8_t flip, uint8_t* out) {
  const float largest = largestMagnitude(values);
  if (!(largest >= kLeastMagnitude && largest <= std::numeric_limits<float>::max())) {
    memset(out, flip, kByteGroup);
    return largest < kLeastMagnitude ? 0 : std::numeric_limits<float>::quiet_NaN();
  }
  const float factor = codes / largest;
  for (int i = 0; i < kByteGroup; i++) out[i] = nearestByte(values[i], factor) ^ flip;
  return largest / codes;
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
        scales[group * kBlock + r] = quantizeGroup(values, kWeightCodes, 0, codes);
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

void quantizeActivations(Pool& pool, const Matrix& x, uint8_t* codes, size_t stride, float* scales) {
  const int columnBlocks = x.columnBlocks(), groups = (columnBlocks + kByteGroupBlocks - 1) / kByteGroupBlocks;
  pool.parallelFor(x.rowBlocks(), [&](int rowBlock, int) {
    withElements(x, [&](const auto* data) {
      const auto* blocks = data + static_cast<size_t>(rowBlock) * columnBlocks * kBlockElements;
      const int height = std::min(kBlock, x.rows - rowBlock * kBlock);
      for (int group = 0; group < groups; group++) {
        const int first = group * kByteGroupBlocks, count = std::min(kByteGroupBlocks, columnBlocks - first);
        alignas(64) float values[kByteGroup] = {};
        for (int r = 0; r < height; r++) {
          const size_t row = static_cast<size_t>(rowBlock) * kBlock + r;
          for (int block = 0; block < count; block++) {
            const auto* from = blocks + static_cast<size_t>(first + block) * kBlockElements + r * kBlock;
            store(values + block * kBlock, load(from), load(from + kLanes));
          }
          scales[row * groups + group] = quantizeGroup(values, kActivationCodes, kCodeOffset, codes + row * stride + group * kByteGroup);
        }
      }
    });
  });
}

}  // namespace cre
