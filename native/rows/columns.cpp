#include <algorithm>

#include "runtime/exponential.h"
#include "runtime/vector.h"

// Columns scaled by a vector over another one, the lengths of rows, and tanh.

namespace cre {
namespace {

// g / divisors of 32 columns; 0 where the divisor is 0, as in the padding.
struct Factors {
  Floats low, high;

  Factors(const float* g, const float* divisors) : low(of(g, divisors)), high(of(g + kLanes, divisors + kLanes)) {}
  static Floats of(const float* g, const float* divisors) {
    const Floats divisor = load(divisors);
    return whereGreater(divisor, zeros(), load(g) / divisor, zeros());
  }
};

// The divisors [1,O] of a block of columns.
const float* divisorsOf(const Matrix& divisors, int block) { return divisors.f32() + static_cast<size_t>(block) * kBlockElements; }

constexpr float kNoBias[kBlock] = {};

}  // namespace

void scaleColumns(Pool& pool, const Matrix& x, const float* g, const Matrix& divisors, const float* bias, Matrix& y) {
  const int blocks = x.columnBlocks(), written = writtenRows(x.rows), step = std::min(kBlock, written);
  const bool far = isFar(pool, y);
  pool.parallelFor(written / step, [&](int item, int) {
    const int first = item * step, count = std::clamp(x.rows - first, 0, step);
    withElements(x, [&](auto* from) {
      withElements(y, [&](auto* to) {
        for (int b = 0; b < blocks; b++) {
          const Factors factors(g + b * kBlock, divisorsOf(divisors, b));
          const float* added = bias ? bias + b * kBlock : kNoBias;
          const Floats low = load(added), high = load(added + kLanes);
          const auto* in = rowChunk(from, blocks, first, b);
          auto* out = rowChunk(to, blocks, first, b);
          for (int r = 0; r < count; r++, in += kBlock, out += kBlock) {
            store(out, multiplyAdd(load(in), factors.low, low), multiplyAdd(load(in + kLanes), factors.high, high), far);
          }
          for (int r = count; r < step; r++, out += kBlock) store(out, zeros(), zeros(), far);
        }
      });
    });
    finishFarStores();
  });
}

void scaleColumnsBackward(Pool& pool, const Matrix& x, const float* g, const Matrix& divisors, const Matrix& dy, Matrix& dx,
                          float* gGradient) {
  const int blocks = x.columnBlocks(), written = writtenRows(x.rows), step = std::min(kBlock, written);
  const bool far = isFar(pool, dx);
  // A thread has whole columns, whose rows it adds in order: first those of a block, then the blocks.
  pool.parallelFor(blocks, [&](int b, int) {
    const Factors factors(g + b * kBlock, divisorsOf(divisors, b));
    Floats sums[2] = {zeros(), zeros()};
    withElements(x, [&](auto* xData) {
      withElements(dy, [&](auto* dyData) {
        withElements(dx, [&](auto* dxData) {
          for (int first = 0; first < written; first += step) {
            const int count = std::clamp(x.rows - first, 0, step);
            const auto* value = rowChunk(xData, blocks, first, b);
            const auto* gradient = rowChunk(dyData, blocks, first, b);
            auto* out = rowChunk(dxData, blocks, first, b);
            Floats ofBlock[2] = {zeros(), zeros()};
            for (int r = 0; r < count; r++, value += kBlock, gradient += kBlock, out += kBlock) {
              const Floats low = load(gradient), high = load(gradient + kLanes);
              store(out, low * factors.low, high * factors.high, far);
              ofBlock[0] = multiplyAdd(low, load(value), ofBlock[0]);
              ofBlock[1] = multiplyAdd(high, load(value + kLanes), ofBlock[1]);
            }
            for (int r = count; r < step; r++, out += kBlock) store(out, zeros(), zeros(), far);
            for (int half = 0; half < 2; half++) sums[half] = sums[half] + ofBlock[half];
          }
        });
      });
    });
    finishFarStores();
    if (!gGradient) return;
    for (int half = 0; half < 2; half++) {
      float* gradient = gGradient + b * kBlock + half * kLanes;
      const Floats divisor = load(divisorsOf(divisors, b) + half * kLanes);
      store(gradient, load(gradient) + whereGreater(divisor, zeros(), sums[half] / divisor, zeros()));
    }
  });
}

void rowNorms(Pool& pool, const Matrix& x, Matrix& out) {
  const int blocks = x.columnBlocks();
  pool.parallelFor(x.rowBlocks(), [&](int item, int) {
    float* lengths = out.f32() + static_cast<size_t>(item) * kBlockElements;
    const int count = std::min(kBlock, x.rows - item * kBlock);
    withElements(x, [&](auto* from) {
      for (int r = 0; r < kBlock; r++) {
        Floats squares[2] = {zeros(), zeros()};
        for (int b = 0; r < count && b < blocks; b++) {
          const auto* chunk = rowChunk(from, blocks, item * kBlock + r, b);
          const Floats low = load(chunk), high = load(chunk + kLanes);
          squares[0] = multiplyAdd(low, low, squares[0]);
          squares[1] = multiplyAdd(high, high, squares[1]);
        }
        lengths[r] = r < count ? __builtin_sqrtf(sumOf(squares[0] + squares[1])) : 0;
      }
    });
  });
}

void tanh(Pool& pool, const Matrix& x, Matrix& y) {
  // (1 − e) / (1 + e) with e = exp(−2|x|) is 0 of 0, whatever the reciprocal is: the padding stays 0.
  const auto tanhOf = [](const Floats& value) {
    const Floats power = exponential(maximum(value, zeros() - value) * broadcast(-2.0f));
    const Floats size = (broadcast(1.0f) - power) * reciprocal(broadcast(1.0f) + power);
    return whereGreater(zeros(), value, zeros() - size, size);
  };
  withElements(x, [&](auto* from) {
    withElements(y, [&](auto* out) {
      forWrittenPieces(pool, y, [=](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i += kBlock) store(out + i, tanhOf(load(from + i)), tanhOf(load(from + i + kLanes)));
      });
    });
  });
}

void tanhBackward(Pool& pool, const Matrix& y, const Matrix& dy, Matrix& dx) {
  withElements(y, [&](auto* value) {
    withElements(dy, [&](auto* gradient) {
      withElements(dx, [&](auto* out) {
        forWrittenPieces(pool, dx, [=](size_t begin, size_t end) {
          for (size_t i = begin; i < end; i += kBlock) {
            Floats parts[2];
            for (int half = 0; half < 2; half++) {
              const Floats at = load(value + i + half * kLanes);
              parts[half] = load(gradient + i + half * kLanes) * (broadcast(1.0f) - at * at);
            }
            store(out + i, parts[0], parts[1]);
          }
        });
      });
    });
  });
}

}  // namespace cre
