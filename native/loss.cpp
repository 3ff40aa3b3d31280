#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "vector.h"

namespace cre {
namespace {

constexpr int kGroupRows = 8;   // rows of one item: what its second pass reads again is still in the second-level cache
constexpr int kTileBlocks = 8;  // block columns summed before they are added up: two levels keep the float sums exact to about 1e-6
constexpr float kLowest = -1e30f;

// Σ e^x relative to the largest value seen so far, lane by lane; `plain` is Σ x (only with label smoothing).
struct SoftmaxSums {
  Floats peak = broadcast(kLowest);
  Floats total = zeros();
  Floats plain = zeros();

  // Adds `count` vectors, an even number; at(i) gives the i-th with −∞ in lanes that do not exist, plainAt(i) with 0 there.
  template <class At, class PlainAt>
  CRE_INLINE void add(int count, At at, bool wantsPlain, PlainAt plainAt) {
    Floats largest = peak, second = peak;
    for (int i = 0; i < count; i += 2) {
      largest = maximum(at(i), largest);
      second = maximum(at(i + 1), second);
    }
    largest = maximum(largest, second);
    Floats sum = zeros(), secondSum = zeros();
    for (int i = 0; i < count; i += 2) {
      sum = sum + exponential(at(i) - largest);
      secondSum = secondSum + exponential(at(i + 1) - largest);
    }
    total = multiplyAdd(total, exponential(peak - largest), sum + secondSum);
    peak = largest;
    if (!wantsPlain) return;
    Floats plainSum = zeros();
    for (int i = 0; i < count; i++) plainSum = plainSum + plainAt(i);
    plain = plain + plainSum;
  }

  double logSumExp() const {
    const float top = largestOf(peak);
    return top + std::log(static_cast<double>(sumOf(total * exponential(peak - broadcast(top)))));
  }
};

template <class T>
CRE_INLINE void prefetchRow(const T* chunk) {
  __builtin_prefetch(chunk);
  if (sizeof(T) == 4) __builtin_prefetch(chunk + kLanes);
}

// `rows` points at the first of `count` rows in block column 0.
template <class T>
void sumRows(const T* rows, int count, int columns, bool wantsPlain, SoftmaxSums* sums) {
  const int whole = columns / kBlock, rest = columns % kBlock;
  for (int b = 0; b < whole; b += kTileBlocks) {
    const int vectors = 2 * std::min(kTileBlocks, whole - b);
    for (int r = 0; r < count; r++) {
      const T* row = rows + static_cast<size_t>(b) * kBlockElements + r * kBlock;
      // The rows of a block column lie 2 or 4 KB from those of the next: too far for the processor to fetch them ahead by itself.
      for (int ahead = kTileBlocks; ahead < 2 * kTileBlocks; ahead++) prefetchRow(row + ahead * kBlockElements);
      const auto at = [row](int i) { return load(row + (i >> 1) * kBlockElements + (i & 1) * kLanes); };
      sums[r].add(vectors, at, wantsPlain, at);
    }
  }
  if (rest == 0) return;
  for (int r = 0; r < count; r++) {
    const T* row = rows + static_cast<size_t>(whole) * kBlockElements + r * kBlock;
    const auto masked = [=](float outside) {
      return [=](int i) { return keepLanes(load(row + i * kLanes), 0, rest - i * kLanes, broadcast(outside)); };
    };
    sums[r].add(2, masked(-std::numeric_limits<float>::infinity()), wantsPlain, masked(0.0f));
  }
}

// What a row's gradient weight · (softmax − smoothing / V), without the target's part, is made from.
struct GradientRow {
  int row;
  Floats shift, factor, minus;

  template <class T>
  CRE_INLINE Floats at(const T* logits) const {
    return multiplyAdd(exponential(load(logits) - shift), factor, minus);
  }
};

template <class L, class D>
void writeGradients(const L* logits, int columns, const GradientRow* rows, int count, D* out) {
  const int whole = columns / kBlock, rest = columns % kBlock;
  for (int b = 0; b < whole; b++) {
    for (int i = 0; i < count; i++) {
      const size_t offset = static_cast<size_t>(b) * kBlockElements + rows[i].row * kBlock;
      store(out + offset, rows[i].at(logits + offset), rows[i].at(logits + offset + kLanes));
    }
  }
  for (int i = 0; i < count && rest > 0; i++) {
    const size_t offset = static_cast<size_t>(whole) * kBlockElements + rows[i].row * kBlock;
    store(out + offset, keepLanes(rows[i].at(logits + offset), 0, rest, zeros()),
          keepLanes(rows[i].at(logits + offset + kLanes), 0, rest - kLanes, zeros()));
  }
}

size_t columnOffset(int column) { return static_cast<size_t>(column / kBlock) * kBlockElements + column % kBlock; }

template <class D>
void zeroRow(D* row, int blocks) {
  for (int b = 0; b < blocks; b++) store(row + static_cast<size_t>(b) * kBlockElements, zeros(), zeros());
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
  std::vector<double> losses(rows, 0.0);
  withElements(logits, [&](auto* from) {
    withElements(dLogits, [&](auto* to) {
      pool.parallelFor(paddedTo32(rows) / kGroupRows, [&](int item, int) {
        const int first = item * kGroupRows, count = std::clamp(rows - first, 0, kGroupRows);
        const auto isUsed = [&](int r) { return r < count && weights[first + r] != 0; };
        bool any = false;
        for (int r = 0; r < count; r++) any = any || isUsed(r);
        SoftmaxSums sums[kGroupRows];
        if (any) sumRows(rowChunk(from, blocks, first, 0), count, columns, labelSmoothing != 0, sums);
        GradientRow used[kGroupRows];
        int usedCount = 0;
        double logSumExp[kGroupRows];
        auto* out = rowChunk(to, blocks, first, 0);
        const auto* in = rowChunk(from, blocks, first, 0);
        for (int r = 0; r < kGroupRows; r++) {
          if (!isUsed(r)) {
            zeroRow(out + r * kBlock, blocks);
            continue;
          }
          const float weight = weights[first + r];
          logSumExp[r] = sums[r].logSumExp();
          used[usedCount++] = {r, broadcast(static_cast<float>(logSumExp[r])), broadcast(weight),
                               broadcast(-weight * labelSmoothing / columns)};
        }
        writeGradients(in, columns, used, usedCount, out);
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
      sumRows(rowChunk(from, blocks, first, 0), present, logits.columns, false, sums);
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
