#include "rows/raw_rows.h"

#include <algorithm>
#include <cmath>

#include "runtime/vector.h"

namespace cre {
namespace {

#if !defined(__F16C__)
float halfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
#endif

void readHalves(const char* from, int count, float* out) {
  int i = 0;
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * 2))));
  }
#endif
  for (; i < count; i++) {
    uint16_t half;
    memcpy(&half, from + i * 2, sizeof half);
#if defined(__F16C__)
    out[i] = _cvtsh_ss(half);
#else
    out[i] = halfToFloat(half);
#endif
  }
}

void readBf16(const char* from, int count, float* out) {
  for (int i = 0; i < count; i++) {
    uint16_t half;
    memcpy(&half, from + i * 2, sizeof half);
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    memcpy(out + i, &bits, sizeof bits);
  }
}

}  // namespace

void readValues(const RawRows& chunk, int row, int begin, int count, float* out) {
  const size_t start = static_cast<size_t>(row) * chunk.columns + begin;
  const char* from = static_cast<const char*>(chunk.data) + start * elementBytes(chunk.type);
  if (chunk.type == Element::f32) memcpy(out, from, count * sizeof(float));
  else if (chunk.type == Element::f16) readHalves(from, count, out);
  else readBf16(from, count, out);
  if (chunk.lengths == nullptr) return;
  for (int i = 0; i < count; i++) out[i] = static_cast<float>(out[i] / chunk.lengths[row]);
}

void rowLengths(Pool& pool, const RawRows& chunk, double* lengths) {
  RawRows plain = chunk;
  plain.lengths = nullptr;
  pool.parallelFor(blocksFor(chunk.rows), [&](int rowBlock, int) {
    const int end = std::min(chunk.rows, (rowBlock + 1) * kBlock);
    for (int row = rowBlock * kBlock; row < end; row++) {
      double squares = 0;
      for (int begin = 0; begin < chunk.columns; begin += kBlock) {
        float values[kBlock];
        const int count = std::min(kBlock, chunk.columns - begin);
        readValues(plain, row, begin, count, values);
        for (int i = 0; i < count; i++) squares += static_cast<double>(values[i]) * values[i];
      }
      lengths[row] = std::max(std::sqrt(squares), 1e-12);
    }
  });
}

void copyToMaster(Pool& pool, const RawRows& chunk, int firstRow, WeightView& w) {
  if (w.isVector()) return readValues(chunk, 0, 0, chunk.columns, w.master);
  const int columnBlocks = blocksFor(chunk.columns);
  pool.parallelFor(blocksFor(chunk.rows), [&](int rowBlock, int) {
    float* to = w.master + static_cast<size_t>(firstRow / kBlock + rowBlock) * columnBlocks * kBlockElements;
    memset(to, 0, columnBlocks * kBlockElements * sizeof(float));
    const int height = std::min(kBlock, chunk.rows - rowBlock * kBlock);
    for (int r = 0; r < height; r++) {
      for (int begin = 0; begin < chunk.columns; begin += kBlock) {
        const int count = std::min(kBlock, chunk.columns - begin);
        readValues(chunk, rowBlock * kBlock + r, begin, count, to + begin / kBlock * kBlockElements + r * kBlock);
      }
    }
  });
}

}  // namespace cre
