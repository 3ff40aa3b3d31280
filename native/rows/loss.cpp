#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "runtime/exponential.h"
#include "runtime/vector.h"

namespace cre {
namespace {

constexpr int kGroupRows = 16;  // most rows of one item
constexpr int kTileBlocks = 8;  // block columns of a partial sum: two levels of sums keep the error of float sums at about 1e-6
constexpr float kLowest = -1e30f;
constexpr float kLog2E = 1.44269504f;

// Rows of one work item of two passes. The first pass keeps them in the second-level cache for the second, as contiguous rows, because the
// cache lines of a few rows of a block row would map to a few sets of that cache and evict each other.
int groupRows(const Matrix& logits) {
  constexpr size_t kCached = 5 << 18;  // of 2 MB, which also hold the streamed data
  const size_t rowBytes = logits.bytes() / std::max(1, paddedTo32(logits.rows));
  int rows = kGroupRows;
  while (rows > 1 && rows * rowBytes > kCached) rows /= 2;
  return rows;
}

// Σ e^x lane by lane, relative to a value not far below the largest one seen so far; `plain` is Σ x (only with label smoothing).
struct SoftmaxSums {
  static constexpr float kRoom = 8;  // above `reference` before it moves
  Floats reference = broadcast(kLowest);
  Floats total = zeros();
  Floats plain = zeros();

  // Adds `count` pairs of vectors; pairAt(i, a, b) gives pair i, with `outside` in lanes that do not exist.
  template <class PairAt>
  CRE_INLINE void add(int count, bool wantsPlain, PairAt pairAt) {
    constexpr float kOutside = -std::numeric_limits<float>::infinity();
    Floats largest = broadcast(kLowest), sum, secondSum;
    const auto addPowers = [&](bool wantsLargest) {
      sum = secondSum = zeros();
      for (int i = 0; i < count; i++) {
        Floats a, b;
        pairAt(i, a, b, kOutside);
        if (wantsLargest) largest = maximum(a, maximum(b, largest));
        sum = sum + powerOfTwo((a - reference) * broadcast(kLog2E));
        secondSum = secondSum + powerOfTwo((b - reference) * broadcast(kLog2E));
      }
    };
    addPowers(true);
    if (largestOf(largest - reference) > kRoom) {
      const Floats old = reference;
      reference = maximum(largest, old);
      total = total * exponential(old - reference);
      addPowers(false);
    }
    total = total + (sum + secondSum);
    if (!wantsPlain) return;
    Floats plainSum = zeros();
    for (int i = 0; i < count; i++) {
      Floats a, b;
      pairAt(i, a, b, 0.0f);
      plainSum = plainSum + (a + b);
    }
    plain = plain + plainSum;
  }

  double logSumExp() const {
    const float top = largestOf(reference);
    return top + std::log(static_cast<double>(sumOf(total * exponential(reference - broadcast(top)))));
  }
};

template <class T>
CRE_INLINE void copyRow(const T* from, T* to) {
  memcpy(to, from, kBlock * sizeof(T));
}

// `rows` points at the first of `count` rows in block column 0; unless `kept` is null they are copied there as contiguous rows.
template <class T>
void sumRows(const T* rows, int count, int columns, bool wantsPlain, T* kept, SoftmaxSums* sums) {
  const size_t padded = paddedTo32(columns);
  const int whole = columns / kBlock, rest = columns % kBlock;
  for (int b = 0; b < whole; b += kTileBlocks) {
    const int tile = std::min(kTileBlocks, whole - b);
    for (int r = 0; r < count; r++) {
      const T* row = rows + static_cast<size_t>(b) * kBlockElements + r * kBlock;
      for (int i = 0; i < tile; i++) {
        prefetchRow(row + (kTileBlocks + i) * kBlockElements);
        if (kept) copyRow(row + i * kBlockElements, kept + r * padded + (b + i) * kBlock);
      }
      sums[r].add(tile, wantsPlain, [row](int i, Floats& low, Floats& high, float) { loadUnordered(row + i * kBlockElements, low, high); });
    }
  }
  if (rest == 0) return;
  for (int r = 0; r < count; r++) {
    const T* row = rows + static_cast<size_t>(whole) * kBlockElements + r * kBlock;
    if (kept) copyRow(row, kept + r * padded + whole * kBlock);
    sums[r].add(1, wantsPlain, [row, rest](int, Floats& low, Floats& high, float outside) {
      low = keepLanes(load(row), 0, rest, broadcast(outside));
      high = keepLanes(load(row + kLanes), 0, rest - kLanes, broadcast(outside));
    });
  }
}

// Terms of a row's gradient weight · (softmax − smoothing / V), without the target's part; `shift` is logSumExp.
struct GradientRow {
  int row;
  Floats shift, factor, minus;

  CRE_INLINE Floats of(const Floats& logits) const { return multiplyAdd(powerOfTwo((logits - shift) * broadcast(kLog2E)), factor, minus); }
};

// `kept` holds the logits as sumRows left them.
template <class L, class D>
void writeGradients(const L* kept, int columns, const GradientRow* rows, int count, bool far, D* out) {
  const int whole = columns / kBlock, rest = columns % kBlock;
  const size_t padded = paddedTo32(columns);
  for (int b = 0; b < whole; b++) {
    for (int i = 0; i < count; i++) {
      const GradientRow& row = rows[i];
      const L* from = kept + row.row * padded + b * kBlock;
      D* to = out + static_cast<size_t>(b) * kBlockElements + row.row * kBlock;
      if (sizeof(L) == sizeof(D)) {
        Floats first, second;
        loadUnordered(from, first, second);
        storeUnordered(to, row.of(first), row.of(second), far);
      } else {
        store(to, row.of(load(from)), row.of(load(from + kLanes)), far);
      }
    }
  }
  for (int i = 0; i < count && rest > 0; i++) {
    const GradientRow& row = rows[i];
    const L* from = kept + row.row * padded + whole * kBlock;
    D* to = out + static_cast<size_t>(whole) * kBlockElements + row.row * kBlock;
    store(to, keepLanes(row.of(load(from)), 0, rest, zeros()), keepLanes(row.of(load(from + kLanes)), 0, rest - kLanes, zeros()), far);
  }
}

size_t columnOffset(int column) { return static_cast<size_t>(column / kBlock) * kBlockElements + column % kBlock; }

template <class D>
void zeroRow(D* row, int blocks, bool far) {
  for (int b = 0; b < blocks; b++) store(row + static_cast<size_t>(b) * kBlockElements, zeros(), zeros(), far);
}

// Column of the largest lane, the first column on ties.
int32_t winnerOf(const Floats& best, const Ints& where) {
  float values[kLanes];
  int32_t columns[kLanes];
  store(values, best);
  memcpy(columns, &where, sizeof columns);
  int winner = 0;
  for (int lane = 1; lane < kLanes; lane++) {
    const bool ties = values[lane] == values[winner] && columns[lane] < columns[winner];
    if (values[lane] > values[winner] || ties) winner = lane;
  }
  return columns[winner];
}

void zeroMatrix(Matrix& matrix) { memset(matrix.data, 0, matrix.bytes()); }

}  // namespace

void crossEntropy(Pool& pool, const Matrix& logits, const int32_t* targets, const float* weights, float labelSmoothing, Matrix& loss,
                  Matrix& dLogits) {
  const int rows = logits.rows, columns = logits.columns, blocks = logits.columnBlocks();
  const int step = groupRows(logits);
  const bool far = isFar(pool, dLogits);
  const size_t keptBytes = step * (logits.bytes() / std::max(1, paddedTo32(rows)));
  std::vector<double> losses(rows, 0.0);
  withElements(logits, [&](auto* from) {
    withElements(dLogits, [&](auto* to) {
      pool.parallelFor(paddedTo32(rows) / step, [&](int item, int thread) {
        const int first = item * step, count = std::clamp(rows - first, 0, step);
        const auto isUsed = [&](int r) { return r < count && weights[first + r] != 0; };
        bool any = false;
        for (int r = 0; r < count; r++) any = any || isUsed(r);
        SoftmaxSums sums[kGroupRows];
        auto* in = rowChunk(from, blocks, first, 0);
        auto* kept = static_cast<decltype(in)>(pool.scratch(thread, 0, keptBytes));
        if (any) sumRows(in, count, columns, labelSmoothing != 0, kept, sums);
        GradientRow used[kGroupRows];
        int usedCount = 0;
        double logSumExp[kGroupRows];
        auto* out = rowChunk(to, blocks, first, 0);
        for (int r = 0; r < step; r++) {
          if (!isUsed(r)) {
            zeroRow(out + r * kBlock, blocks, far);
            continue;
          }
          const float weight = weights[first + r];
          logSumExp[r] = sums[r].logSumExp();
          used[usedCount++] = {r, broadcast(static_cast<float>(logSumExp[r])), broadcast(weight),
                               broadcast(-weight * labelSmoothing / columns)};
        }
        writeGradients(kept, columns, used, usedCount, far, out);
        finishFarStores();
        for (int i = 0; i < usedCount; i++) {
          const int r = used[i].row;
          const float weight = weights[first + r];
          const size_t target = columnOffset(targets[first + r]) + r * kBlock;
          const double logit = toFloat(in[target]), below = logSumExp[r] - logit;
          const double aim = 1 - labelSmoothing + labelSmoothing / columns;
          storeOne(out + target, static_cast<float>(weight * (std::exp(-below) - aim)));
          const double smooth = labelSmoothing == 0 ? 0 : labelSmoothing * (logSumExp[r] - sumOf(sums[r].plain) / columns);
          losses[first + r] = weight * ((1 - labelSmoothing) * below + smooth);
        }
      });
    });
  });
  double sum = 0;
  for (double row : losses) sum += row;
  zeroMatrix(loss);
  loss.f32()[0] = static_cast<float>(sum);
}

void logProbabilities(Pool& pool, const Matrix& logits, const int32_t* rows, const int32_t* tokens, int count, Matrix& out) {
  const int blocks = logits.columnBlocks();
  std::vector<char> isUsed(paddedTo32(logits.rows) / kGroupRows, 0);
  for (int n = 0; n < count; n++) isUsed[rows[n] / kGroupRows] = 1;
  std::vector<int> groups;
  for (size_t group = 0; group < isUsed.size(); group++) {
    if (isUsed[group]) groups.push_back(static_cast<int>(group));
  }
  std::vector<double> logSumExp(paddedTo32(logits.rows));
  zeroMatrix(out);
  withElements(logits, [&](auto* from) {
    pool.parallelFor(static_cast<int>(groups.size()), [&](int item, int) {
      const int first = groups[item] * kGroupRows, present = std::min(kGroupRows, logits.rows - first);
      SoftmaxSums sums[kGroupRows];
      sumRows(rowChunk(from, blocks, first, 0), present, logits.columns, false, static_cast<decltype(from)>(nullptr), sums);
      for (int r = 0; r < present; r++) logSumExp[first + r] = sums[r].logSumExp();
    });
    for (int n = 0; n < count; n++) {
      const double logit = toFloat(rowChunk(from, blocks, rows[n], 0)[columnOffset(tokens[n])]);
      out.f32()[columnOffset(n)] = static_cast<float>(logit - logSumExp[rows[n]]);
    }
  });
}

void argmaxRows(Pool& pool, const Matrix& x, Matrix& out) {
  zeroMatrix(out);
  const int blocks = x.columnBlocks();
  withElements(x, [&](auto* from) {
    pool.parallelFor((x.rows + kGroupRows - 1) / kGroupRows, [&](int item, int) {
      const int first = item * kGroupRows, count = std::min(kGroupRows, x.rows - first);
      const auto* rows = rowChunk(from, blocks, first, 0);
      const Floats lowest = broadcast(-std::numeric_limits<float>::infinity());
      Floats best[kGroupRows];
      Ints where[kGroupRows];
      for (int r = 0; r < count; r++) {
        best[r] = lowest;
        where[r] = broadcast(0);
      }
      Ints column = laneNumbers();
      for (int c = 0; c < x.columns; c += kLanes) {
        for (int r = 0; r < count; r++) {
          if (c % kBlock == 0) prefetchRow(rows + columnOffset(c) + r * kBlock + kTileBlocks * kBlockElements);
          Floats value = load(rows + columnOffset(c) + r * kBlock);
          if (c + kLanes > x.columns) value = keepLanes(value, 0, x.columns - c, lowest);
          where[r] = whereGreater(value, best[r], column, where[r]);
          best[r] = maximum(value, best[r]);
        }
        column = column + broadcast(kLanes);
      }
      for (int r = 0; r < count; r++) rowChunk(out.f32(), 1, first + r, 0)[0] = static_cast<float>(winnerOf(best[r], where[r]));
    });
  });
}

}  // namespace cre
