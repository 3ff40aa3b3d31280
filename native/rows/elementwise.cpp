#include <algorithm>
#include <cmath>

#include "runtime/exponential.h"
#include "runtime/vector.h"

// Most of these need no special case for padding: zeros give zeros.

namespace cre {

// Accuracy to match the element type of the output.
CRE_INLINE Floats logisticFor(const float*, const Floats& x) { return logistic(x); }
CRE_INLINE Floats logisticFor(const bf16*, const Floats& x) { return roughLogistic(x); }

void swiglu(Pool& pool, const Matrix& gate, const Matrix& up, Matrix& h) {
  withElements(gate, [&](auto* g) {
    withElements(up, [&](auto* u) {
      withElements(h, [&](auto* out) {
        forWrittenPieces(pool, h, [=](size_t begin, size_t end) {
          for (size_t i = begin; i < end; i += kBlock) {
            const Floats low = load(g + i), high = load(g + i + kLanes);
            store(out + i, low * logisticFor(out, low) * load(u + i), high * logisticFor(out, high) * load(u + i + kLanes));
          }
        });
      });
    });
  });
}

void swigluBackward(Pool& pool, const Matrix& gate, const Matrix& up, const Matrix& dh, Matrix& dGate, Matrix& dUp) {
  withElements(gate, [&](auto* g) {
    withElements(up, [&](auto* u) {
      withElements(dh, [&](auto* d) {
        withElements(dGate, [&](auto* gateOut) {
          auto* upOut = static_cast<decltype(gateOut)>(dUp.data);
          forWrittenPieces(pool, dh, [=](size_t begin, size_t end) {
            for (size_t i = begin; i < end; i += kBlock) {
              Floats gateGradient[2], upGradient[2];
              for (int half = 0; half < 2; half++) {
                const size_t at = i + half * kLanes;
                const Floats x = load(g + at), sigma = logisticFor(gateOut, x), silu = x * sigma, dy = load(d + at);
                upGradient[half] = dy * silu;
                gateGradient[half] = dy * load(u + at) * multiplyAdd(silu, broadcast(1.0f) - sigma, sigma);
              }
              store(gateOut + i, gateGradient[0], gateGradient[1]);
              store(upOut + i, upGradient[0], upGradient[1]);
            }
          });
        });
      });
    });
  });
}

void add(Pool& pool, const Matrix& a, const Matrix& b, float scale, Matrix& y) {
  const Floats factor = broadcast(scale);
  const bool far = isFar(pool, y);
  withElements(a, [&](auto* first) {
    withElements(b, [&](auto* second) {
      withElements(y, [&](auto* out) {
        forWrittenPieces(pool, y, [=](size_t begin, size_t end) {
          for (size_t i = begin; i < end; i += kBlock) {
            prefetchRow(first + i + kBlockElements);
            prefetchRow(second + i + kBlockElements);
            store(out + i, multiplyAdd(load(second + i), factor, load(first + i)),
                  multiplyAdd(load(second + i + kLanes), factor, load(first + i + kLanes)), far);
          }
          finishFarStores();
        });
      });
    });
  });
}

void dropout(Pool& pool, const Matrix& x, double probability, uint32_t seed, const int32_t* numbers, Matrix& y) {
  constexpr uint32_t kRowFactor = 0x9e3779b1u, kColumnFactor = 0x85ebca77u;
  const double bound = std::floor(probability * 4294967296.0);
  const Words threshold = broadcast(static_cast<uint32_t>(std::min(bound, 4294967295.0)));
  const Floats factor = broadcast(static_cast<float>(1 / (1 - probability)));
  Words lanes;
  const Ints counting = laneNumbers();
  memcpy(&lanes, &counting, sizeof lanes);
  lanes = lanes * broadcast(kColumnFactor);
  const size_t blocks = x.columnBlocks();
  const bool far = isFar(pool, y);
  withElements(y, [&](auto* to) {
    auto* from = static_cast<decltype(to)>(x.data);
    forPieces(pool, y.elements(), [&](size_t begin, size_t end) {
      for (size_t start = begin; start < end; start += kBlockElements) {
        const size_t block = start / kBlockElements;
        const uint32_t firstRow = static_cast<uint32_t>(block / blocks * kBlock), column = static_cast<uint32_t>(block % blocks * kBlock);
        const uint32_t filled = numbers == nullptr ? 0 : std::min<uint32_t>(kBlock, x.rows - firstRow);
        Words columnHash[2];
        for (int half = 0; half < 2; half++) {
          columnHash[half] = broadcast((column + half * kLanes) * kColumnFactor);
          CRE_PARTS columnHash[half].part[i] = columnHash[half].part[i] + lanes.part[i];
        }
        for (uint32_t r = 0; r < kBlock; r++) {
          const size_t at = start + r * kBlock;
          prefetchRow(from + at + 2 * kBlockElements);
          const uint32_t number = r < filled ? static_cast<uint32_t>(numbers[firstRow + r]) : firstRow + r;
          const Words rowHash = broadcast(seed ^ number * kRowFactor);
          Floats out[2];
          for (int half = 0; half < 2; half++) {
            Words hash = rowHash ^ columnHash[half];
            hash = (hash ^ hash >> 16) * broadcast(0x85ebca6bu);
            hash = (hash ^ hash >> 13) * broadcast(0xc2b2ae35u);
            hash = hash ^ hash >> 16;
            out[half] = keepWhereAtLeast(hash, threshold, load(from + at + half * kLanes) * factor);
          }
          store(to + at, out[0], out[1], far);
        }
      }
      finishFarStores();
    });
  });
}

void fromRowMajor(Pool& pool, const float* values, Matrix& y) {
  const int blocks = y.columnBlocks();
  withElements(y, [&](auto* to) {
    pool.parallelFor(y.rowBlocks() * 4, [&](int item, int) {
      for (int r = item * 8; r < item * 8 + 8; r++) {
        for (int b = 0; b < blocks; b++) {
          float chunk[kBlock] = {};
          const int width = std::min(kBlock, y.columns - b * kBlock);
          if (r < y.rows) memcpy(chunk, values + static_cast<size_t>(r) * y.columns + b * kBlock, width * sizeof(float));
          store(rowChunk(to, blocks, r, b), load(chunk), load(chunk + kLanes));
        }
      }
    });
  });
}

void toRowMajor(Pool& pool, const Matrix& x, float* values) {
  const int blocks = x.columnBlocks();
  withElements(x, [&](auto* from) {
    pool.parallelFor((x.rows + 7) / 8, [&](int item, int) {
      for (int r = item * 8; r < std::min(item * 8 + 8, x.rows); r++) {
        for (int b = 0; b < blocks; b++) {
          const auto* chunk = rowChunk(from, blocks, r, b);
          const int width = std::min(kBlock, x.columns - b * kBlock);
          float* out = values + static_cast<size_t>(r) * x.columns + b * kBlock;
          if (width == kBlock) store(out, load(chunk), load(chunk + kLanes));
          else
            for (int c = 0; c < width; c++) out[c] = toFloat(chunk[c]);
        }
      }
    });
  });
}

}  // namespace cre
