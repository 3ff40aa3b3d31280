#include <algorithm>
#include <cmath>

#include "runtime/vector.h"

namespace cre {
namespace {

// Rows of one work item: whole block rows if there are enough of them for all threads, quarters otherwise.
int rowsPerItem(const Pool& pool, int rows) { return blocksFor(rows) >= 4 * pool.threadCount() ? kBlock : kBlock / 4; }

template <class Y>
void zeroRow(Y* row, int columnBlocks, bool far) {
  for (int b = 0; b < columnBlocks; b++) store(row + static_cast<size_t>(b) * kBlockElements, zeros(), zeros(), far);
}

// `x` and `y` point at the first row of the item; `count` rows of it hold values.
template <class X, class Y>
void normRows(const X* x, const float* g, float epsilon, int columns, int count, bool far, Y* y) {
  const int blocks = blocksFor(columns);
  Floats factor[kBlock];
  for (int r = 0; r < count; r++) factor[r] = zeros();
  for (int b = 0; b < blocks; b++) {
    const X* block = x + static_cast<size_t>(b) * kBlockElements;
    for (int r = 0; r < count; r++) {
      prefetchRow(block + kBlockElements + r * kBlock);
      const Floats low = load(block + r * kBlock), high = load(block + r * kBlock + kLanes);
      factor[r] = multiplyAdd(high, high, multiplyAdd(low, low, factor[r]));
    }
  }
  for (int r = 0; r < count; r++) factor[r] = broadcast(1 / std::sqrt(sumOf(factor[r]) / columns + epsilon));
  for (int b = 0; b < blocks; b++) {
    const X* from = x + static_cast<size_t>(b) * kBlockElements;
    Y* to = y + static_cast<size_t>(b) * kBlockElements;
    const Floats low = load(g + b * kBlock), high = load(g + b * kBlock + kLanes);
    for (int r = 0; r < count; r++) {
      const X* row = from + r * kBlock;
      store(to + r * kBlock, load(row) * factor[r] * low, load(row + kLanes) * factor[r] * high, far);
    }
  }
}

// Writes a row of a narrow copy; only the amx level has these.
CRE_INLINE void storeNarrow(bf16* row, const Floats& low, const Floats& high, bool far) {
#if defined(__AVX512BF16__)
  store(row, low, high, far);
#else
  (void)row;
  (void)low;
  (void)high;
  (void)far;
#endif
}

struct NormSums {
  Floats squares[kBlock];   // Σ x², then 1 / √(mean + epsilon)
  Floats products[kBlock];  // Σ x · dy · g, then the factor of x in dx
};

template <class X, class DY>
void sumRows(const X* x, const float* g, const DY* dy, float epsilon, int columns, int count, NormSums& sums) {
  for (int r = 0; r < count; r++) sums.squares[r] = sums.products[r] = zeros();
  for (int b = 0; b < blocksFor(columns); b++) {
    const size_t offset = static_cast<size_t>(b) * kBlockElements;
    const Floats weights[2] = {load(g + b * kBlock), load(g + b * kBlock + kLanes)};
    for (int r = 0; r < count; r++) {
      const size_t row = offset + r * kBlock;
      prefetchRow(x + row + kBlockElements);
      prefetchRow(dy + row + kBlockElements);
      for (int half = 0; half < 2; half++) {
        const size_t at = row + half * kLanes;
        const Floats value = load(x + at);
        sums.squares[r] = multiplyAdd(value, value, sums.squares[r]);
        sums.products[r] = multiplyAdd(value, load(dy + at) * weights[half], sums.products[r]);
      }
    }
  }
  for (int r = 0; r < count; r++) {
    const float factor = 1 / std::sqrt(sumOf(sums.squares[r]) / columns + epsilon);
    sums.products[r] = broadcast(factor * factor * factor * sumOf(sums.products[r]) / columns);
    sums.squares[r] = broadcast(factor);
  }
}

// dx = factor · dy · g − x · factor³ · mean(x · dy · g) + residual; with gSums, dy · x · factor is added to them, row after row.
template <class X, class DY, class R>
void normRowsBackward(const X* x, const float* g, const DY* dy, const R* residual, const NormSums& sums, int blocks, int count, bool far,
                      float* dx, bf16* narrow, float* gSums) {
  for (int b = 0; b < blocks; b++) {
    const Floats weights[2] = {load(g + b * kBlock), load(g + b * kBlock + kLanes)};
    Floats gSum[2] = {zeros(), zeros()};
    if (gSums) {
      gSum[0] = load(gSums + b * kBlock);
      gSum[1] = load(gSums + b * kBlock + kLanes);
    }
    for (int r = 0; r < count; r++) {
      const size_t row = static_cast<size_t>(b) * kBlockElements + r * kBlock;
      Floats out[2];
      if (residual) prefetchRow(residual + row + kBlockElements);
      for (int half = 0; half < 2; half++) {
        const size_t at = row + half * kLanes;
        const Floats value = load(x + at), scaled = load(dy + at) * sums.squares[r];
        out[half] = scaled * weights[half] - value * sums.products[r];
        if (residual) out[half] = out[half] + load(residual + at);
        gSum[half] = multiplyAdd(scaled, value, gSum[half]);
      }
      store(dx + row, out[0], out[1], far);
      if (narrow) storeNarrow(narrow + row, out[0], out[1], far);
    }
    if (gSums) {
      store(gSums + b * kBlock, gSum[0]);
      store(gSums + b * kBlock + kLanes, gSum[1]);
    }
  }
}

}  // namespace

void rmsNorm(Pool& pool, const Matrix& x, const float* g, float epsilon, Matrix& y) {
  const int step = std::min(rowsPerItem(pool, x.rows), writtenRows(x.rows)), blocks = x.columnBlocks();
  const bool far = isFar(pool, y);
  pool.parallelFor(writtenRows(x.rows) / step, [&](int item, int) {
    const int first = item * step, count = std::clamp(x.rows - first, 0, step);
    withElements(x, [&](auto* from) {
      withElements(y, [&](auto* to) {
        auto* out = rowChunk(to, blocks, first, 0);
        normRows(rowChunk(from, blocks, first, 0), g, epsilon, x.columns, count, far, out);
        for (int r = count; r < step; r++) zeroRow(out + r * kBlock, blocks, far);
      });
    });
    finishFarStores();
  });
}

void rmsNormBackward(Pool& pool, const Matrix& x, const float* g, const Matrix& dy, float epsilon, const Matrix* residual, Matrix& dx,
                     float* gGradient) {
  constexpr int kMostChunks = 64;
  const int blocks = x.columnBlocks(), rowBlocks = x.rowBlocks();
  const bool far = isFar(pool, dx);
  // Rows are summed in order within a chunk, then the chunks; only the shape decides the chunks.
  const int step = gGradient ? kBlock : rowsPerItem(pool, x.rows);
  const int stepsPerChunk = gGradient ? (rowBlocks + kMostChunks - 1) / kMostChunks : 1;
  const int steps = paddedTo32(x.rows) / step, chunks = (steps + stepsPerChunk - 1) / stepsPerChunk;
  const size_t padded = static_cast<size_t>(blocks) * kBlock;
  float* partial = gGradient ? static_cast<float*>(pool.sharedScratch(0, chunks * padded * sizeof(float))) : nullptr;

  pool.parallelFor(chunks, [&](int chunk, int) {
    float* gSums = partial ? partial + chunk * padded : nullptr;
    if (gSums) memset(gSums, 0, padded * sizeof(float));
    NormSums sums;
    for (int item = chunk * stepsPerChunk; item < std::min(steps, (chunk + 1) * stepsPerChunk); item++) {
      const int first = item * step, count = std::clamp(x.rows - first, 0, step);
      float* out = rowChunk(dx.f32(), blocks, first, 0);
      bf16* narrow = dx.narrowCopy ? rowChunk(dx.narrowCopy, blocks, first, 0) : nullptr;
      withElements(x, [&](auto* xData) {
        withElements(dy, [&](auto* dyData) {
          const auto* xRows = rowChunk(xData, blocks, first, 0);
          const auto* dyRows = rowChunk(dyData, blocks, first, 0);
          sumRows(xRows, g, dyRows, epsilon, x.columns, count, sums);
          withElements(residual ? *residual : dx, [&](auto* data) {
            const auto* added = residual ? rowChunk(data, blocks, first, 0) : nullptr;
            normRowsBackward(xRows, g, dyRows, added, sums, blocks, count, far, out, narrow, gSums);
          });
        });
      });
      for (int r = count; r < step; r++) {
        zeroRow(out + r * kBlock, blocks, far);
        for (int b = 0; narrow && b < blocks; b++)
          memset(narrow + static_cast<size_t>(b) * kBlockElements + r * kBlock, 0, kBlock * sizeof(bf16));
      }
    }
    finishFarStores();
  });
  if (!gGradient) return;
  pool.parallelFor(blocks, [&](int b, int) {
    for (int half = b * kBlock; half < (b + 1) * kBlock; half += kLanes) {
      Floats sum = load(partial + half);
      for (int chunk = 1; chunk < chunks; chunk++) sum = sum + load(partial + chunk * padded + half);
      store(gGradient + half, load(gGradient + half) + sum);
    }
  });
}

}  // namespace cre
