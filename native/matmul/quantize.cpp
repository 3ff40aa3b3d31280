// Quantising frozen weights while they are loaded, and reading them back. src/compute/quantize.ts does the same in plain TypeScript
// and is the reference: every rounding here is written so that both give identical codes.
#include <algorithm>
#include <cmath>
#include <vector>

#include "matmul/quantized.h"
#include "matmul/w8a8.h"
#include "rows/raw_rows.h"

namespace cre {
namespace {

constexpr int kGroup = kGroupBlocks * kBlock;

// Values of one group of a row as 64 floats, zeros after the last input.
void groupValues(const RawRows& chunk, int row, int group, float* out) {
  const int begin = group * kGroup, count = std::min(kGroup, chunk.columns - begin);
  readValues(chunk, row, begin, count, out);
  memset(out + count, 0, (kGroup - count) * sizeof(float));
}

// NaN if there is one: without the sign, the bits of floats are ordered like their values, and NaN comes last.
float largestMagnitude(const float* values) {
  uint32_t largest = 0;
  for (int i = 0; i < kGroup; i++) {
    uint32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    largest = std::max(largest, bits & 0x7fffffffu);
  }
  float magnitude;
  memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

// Nearest integer for |x| < 2^22, ties to even.
float roundToWhole(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 · 2^23
  return (x + kMagic) - kMagic;
}

int8_t nearestCode(float x) { return static_cast<int8_t>(std::min(127.0f, std::max(-127.0f, roundToWhole(x)))); }

int normalFloatCode(float x) {
  int code = 0;
  for (int i = 0; i < 15; i++) code += x > (kNormalFloat[i] + kNormalFloat[i + 1]) * 0.5f ? 1 : 0;
  return code;
}

struct Target {
  const QuantizedLayout layout;
  char* data;
  int rows, columns;

  int8_t* scaleCodes(int outputBlock, int group) const {
    return reinterpret_cast<int8_t*>(data + layout.scalesAt) + (static_cast<size_t>(outputBlock) * layout.groups + group) * kBlock;
  }
  char* codes(int outputBlock, int inputBlock) const {
    return data + (static_cast<size_t>(outputBlock) * layout.columnBlocks + inputBlock) * layout.codeBlockBytes;
  }
  // The input blocks of a group that exist.
  int blocksOf(int group) const { return std::min(kGroupBlocks, layout.columnBlocks - group * kGroupBlocks); }
};

void quantizeInt8(Pool& pool, const RawRows& chunk, int firstRow, const Target& target) {
  const auto& layout = target.layout;
  pool.parallelFor(blocksFor(chunk.rows), [&](int chunkBlock, int) {
    const int outputBlock = firstRow / kBlock + chunkBlock;
    auto* scales = reinterpret_cast<bf16*>(target.data + layout.scalesAt) + static_cast<size_t>(outputBlock) * layout.groups * kBlock;
    memset(target.codes(outputBlock, 0), 0, layout.columnBlocks * layout.codeBlockBytes);
    memset(scales, 0, layout.groups * kBlock * sizeof(bf16));
    for (int r = 0; r < kBlock && chunkBlock * kBlock + r < chunk.rows; r++) {
      for (int group = 0; group < layout.groups; group++) {
        alignas(64) float group64[kGroup];
        groupValues(chunk, chunkBlock * kBlock + r, group, group64);
        const bf16 rounded = toBf16(largestMagnitude(group64) / 127.0f);
        scales[group * kBlock + r] = rounded;
        const float scale = toFloat(rounded);
        if (!(scale > 0)) continue;  // zeros, or NaN, which is kept in the scale
        for (int block = 0; block < target.blocksOf(group); block++) {
          auto* codes = reinterpret_cast<int8_t*>(target.codes(outputBlock, group * kGroupBlocks + block)) + r * kBlock;
          for (int c = 0; c < kBlock; c++) codes[c] = nearestCode(group64[block * kBlock + c] / scale);
        }
      }
    }
  });
}

// [output block][group][32], the order of the scales.
std::vector<float> allMagnitudes(Pool& pool, const RawRows& chunk, const Target& target) {
  const auto& layout = target.layout;
  std::vector<float> largest(static_cast<size_t>(blocksFor(target.rows)) * layout.groups * kBlock, 0.0f);
  pool.parallelFor(blocksFor(target.rows), [&](int outputBlock, int) {
    for (int r = 0; r < kBlock && outputBlock * kBlock + r < target.rows; r++) {
      for (int group = 0; group < layout.groups; group++) {
        float group64[kGroup];
        groupValues(chunk, outputBlock * kBlock + r, group, group64);
        largest[(static_cast<size_t>(outputBlock) * layout.groups + group) * kBlock + r] = largestMagnitude(group64);
      }
    }
  });
  return largest;
}

// The mean over the rows that exist, summed in a fixed order.
float meanOf(const std::vector<float>& largest, const Target& target) {
  double sum = 0;
  for (int row = 0; row < target.rows; row++) {
    for (int group = 0; group < target.layout.groups; group++) {
      sum += largest[(static_cast<size_t>(row / kBlock) * target.layout.groups + group) * kBlock + row % kBlock];
    }
  }
  return static_cast<float>(sum / (static_cast<double>(target.rows) * target.layout.groups));
}

void quantizeNf4(Pool& pool, const RawRows& chunk, const Target& target) {
  const auto& layout = target.layout;
  const std::vector<float> largest = allMagnitudes(pool, chunk, target);
  const float offset = meanOf(largest, target);
  memcpy(target.data + layout.offsetAt, &offset, sizeof offset);
  WeightView view;
  view.rows = target.rows;
  view.columns = target.columns;
  view.forward = target.data;
  const Quantized<Storage::nf4> written(view);
  pool.parallelFor(blocksFor(target.rows), [&](int outputBlock, int) {
    const int height = std::min(kBlock, target.rows - outputBlock * kBlock);
    const float* magnitudes = largest.data() + static_cast<size_t>(outputBlock) * layout.groups * kBlock;
    auto* steps = reinterpret_cast<bf16*>(target.data + layout.stepsAt) + static_cast<size_t>(outputBlock) * layout.steps;
    for (int first = 0; first < layout.groups; first += kGroupsOfStep) {
      const int end = std::min(first + kGroupsOfStep, layout.groups);
      float furthest = 0;
      for (int group = first; group < end; group++) {
        for (int r = 0; r < height; r++) {
          const float distance = std::fabs(magnitudes[group * kBlock + r] - offset);
          furthest = distance > furthest || distance != distance ? distance : furthest;
        }
      }
      const bf16 rounded = toBf16(furthest / 127.0f);
      steps[first / kGroupsOfStep] = rounded;
      const float step = toFloat(rounded);
      for (int group = first; group < end; group++) {
        int8_t* codes = target.scaleCodes(outputBlock, group);
        for (int r = 0; r < kBlock; r++) {
          codes[r] = step > 0 && r < height ? nearestCode((magnitudes[group * kBlock + r] - offset) / step) : 0;
        }
      }
    }
    for (int block = 0; block < layout.columnBlocks; block++) {
      auto* lines = reinterpret_cast<uint16_t*>(target.codes(outputBlock, block));
      float scales[kBlock];
      written.scales(outputBlock, block, scales);
      memset(lines, kZeroCode * 0x11, layout.codeBlockBytes);
      for (int r = 0; r < height; r++) {
        if (!(scales[r] > 0)) continue;
        const int width = std::min(kBlock, target.columns - block * kBlock), shift = r % 4 * 4;
        float row[kBlock];
        readValues(chunk, outputBlock * kBlock + r, block * kBlock, width, row);
        uint16_t* line = lines + r / 4 * kBlock;
        for (int c = 0; c < width; c++) {
          line[c] = static_cast<uint16_t>((line[c] & ~(15 << shift)) | normalFloatCode(row[c] / scales[r]) << shift);
        }
      }
    }
  });
}

template <Storage kStorage>
void readRow(const WeightView& w, int row, float* out) {
  const Quantized<kStorage> quantized(w);
  alignas(64) float scales[kBlock], block[kBlockElements];
  for (int inputBlock = 0; inputBlock < quantized.layout.columnBlocks; inputBlock++) {
    quantized.scales(row / kBlock, inputBlock, scales);
    quantized.fourRows(quantized.codes(row / kBlock, inputBlock), scales, row % kBlock / 4 * 4, block);
    memcpy(out + inputBlock * kBlock, block + row % kBlock * kBlock, kBlock * sizeof(float));
  }
}

}  // namespace

size_t quantizedBytes(int rows, int columns, Storage storage) {
  return storage == Storage::w8a8 ? ByteLayout(rows, columns).bytes : QuantizedLayout(rows, columns, storage).bytes;
}

void quantize(Pool& pool, const float* rowMajor, int rows, int columns, Storage storage, void* quantized) {
  quantizeRows(pool, RawRows{rowMajor, Element::f32, rows, columns}, 0, rows, storage, quantized);
}

void quantizeRows(Pool& pool, const RawRows& chunk, int firstRow, int rows, Storage storage, void* quantized) {
  if (storage == Storage::w8a8) return quantizeByteRows(pool, chunk, firstRow, rows, quantized);
  const Target target{QuantizedLayout(rows, chunk.columns, storage), static_cast<char*>(quantized), rows, chunk.columns};
  if (storage == Storage::int8) quantizeInt8(pool, chunk, firstRow, target);
  else quantizeNf4(pool, chunk, target);
}

void readQuantizedRow(const WeightView& w, int row, float* out) {
  if (w.storage == Storage::w8a8) readByteRow(w, row, out);
  else if (w.storage == Storage::int8) readRow<Storage::int8>(w, row, out);
  else readRow<Storage::nf4>(w, row, out);
}

void unpackQuantized(Pool& pool, const WeightView& w, float* rowMajor) {
  pool.parallelFor(blocksFor(w.rows), [&](int rowBlock, int thread) {
    auto* row = static_cast<float*>(pool.scratch(thread, 1, paddedTo32(w.columns) * sizeof(float)));
    for (int r = rowBlock * kBlock; r < w.rows && r < (rowBlock + 1) * kBlock; r++) {
      readQuantizedRow(w, r, row);
      memcpy(rowMajor + static_cast<size_t>(r) * w.columns, row, w.columns * sizeof(float));
    }
  });
}

}  // namespace cre
