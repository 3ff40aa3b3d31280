// m ← m + (1 − μ)(g − m); u = g + μ(m − g); w ← w − rate · (0.2 · √(larger side) · orthogonal(u) + decay · w).
//
// orthogonal(u) is five Newton-Schulz steps X ← a·X + b·(XXᵀ)X + c·(XXᵀ)²X from X = u / |u|. X is kept as s · Y, so that each product has the
// form scale · product + residual:
//   P = (b/a)·s² · YYᵀ,   Q = (a·c/b²) · PPᵀ + P,   Y ← QY + Y,   s ← a·s
// Products read bf16 on levels that have it, as pretrain.py does on a GPU; sums and what is added to them are float.
#include "matmul/muon.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "matmul/blocks.h"
#include "runtime/vector.h"

namespace cre {
namespace {

constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
constexpr int kSteps = 5;
constexpr double kLeastNorm = 1e-7;
constexpr double kScale = 0.2;

// Y[m,n], m ≤ n: the update of a weight [m,n], or transposed that of a weight [n,m].
struct Update {
  Matrix y;
  bool isTransposed;

  float* blockOf(int rowBlock, int columnBlock) const {
    const size_t index = isTransposed ? static_cast<size_t>(columnBlock) * y.columnBlocks() + rowBlock
                                      : static_cast<size_t>(rowBlock) * y.columnBlocks() + columnBlock;
    return y.f32() + index * kBlockElements;
  }
};

// Writes u into the update and returns its norm, a sum in the order of the blocks whatever the number of threads.
double accumulate(Pool& pool, WeightView& w, double momentum, const Update& update) {
  const int rowBlocks = blocksFor(w.rows), columnBlocks = blocksFor(w.columns);
  const Floats keep = broadcast(static_cast<float>(momentum)), rest = broadcast(static_cast<float>(1 - momentum));
  std::vector<double> sums(rowBlocks);
  pool.parallelFor(rowBlocks, [&](int rowBlock, int) {
    alignas(64) float block[kBlockElements];
    double sum = 0;
    for (int columnBlock = 0; columnBlock < columnBlocks; columnBlock++) {
      const size_t at = (static_cast<size_t>(rowBlock) * columnBlocks + columnBlock) * kBlockElements;
      float* out = update.blockOf(rowBlock, columnBlock);
      float* own = update.isTransposed ? block : out;
      Floats squares = zeros();
      for (int i = 0; i < kBlockElements; i += kLanes) {
        const Floats g = load(w.gradient + at + i), before = load(w.moment1 + at + i);
        const Floats m = multiplyAdd(rest, g - before, before);
        const Floats u = multiplyAdd(keep, m - g, g);
        store(w.moment1 + at + i, m);
        store(own + i, u);
        squares = multiplyAdd(u, u, squares);
      }
      sum += sumOf(squares);
      if (update.isTransposed) transposeBlock(block, out);
    }
    sums[rowBlock] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

void apply(Pool& pool, WeightView& w, const Muon& settings, double scale, const Update& update) {
  const int rowBlocks = blocksFor(w.rows), columnBlocks = blocksFor(w.columns);
  const double rate = settings.learningRate * kScale * std::sqrt(std::max(w.rows, w.columns)) * scale;
  const Floats factor = broadcast(static_cast<float>(-rate));
  const Floats kept = broadcast(static_cast<float>(1 - settings.learningRate * settings.weightDecay));
  pool.parallelFor(rowBlocks, [&](int rowBlock, int) {
    alignas(64) float block[kBlockElements];
    for (int columnBlock = 0; columnBlock < columnBlocks; columnBlock++) {
      float* master = w.master + (static_cast<size_t>(rowBlock) * columnBlocks + columnBlock) * kBlockElements;
      const float* from = update.blockOf(rowBlock, columnBlock);
      if (update.isTransposed) transposeBlock(from, block);
      const float* own = update.isTransposed ? block : from;
      for (int i = 0; i < kBlockElements; i += kLanes) store(master + i, multiplyAdd(factor, load(own + i), kept * load(master + i)));
    }
  });
}

}  // namespace

void muon(Pool& pool, WeightView& w, const Muon& settings) {
  const bool isTransposed = w.rows > w.columns;
  const int m = std::min(w.rows, w.columns), n = std::max(w.rows, w.columns);
  Matrix y{nullptr, m, n, false}, p{nullptr, m, m, false}, q{nullptr, m, m, false};
  const size_t packed = packedBytes(m, n, w.packedBf16);
  // One piece of scratch in a slot that products leave free.
  auto* memory = static_cast<char*>(pool.sharedScratch(3, y.bytes() + 2 * p.bytes() + 2 * packed + packedBytes(m, m, w.packedBf16)));
  const auto take = [&](size_t bytes) {
    char* part = memory;
    memory += bytes;
    return part;
  };
  for (Matrix* matrix : {&y, &p, &q}) matrix->data = take(matrix->bytes());
  WeightView ofY, ofP;
  ofY.rows = ofP.rows = ofP.columns = m;
  ofY.columns = n;
  ofY.packedBf16 = ofP.packedBf16 = w.packedBf16;
  ofY.forward = take(packed);
  ofY.backward = take(packed);
  ofP.forward = take(packedBytes(m, m, w.packedBf16));

  const Update update{y, isTransposed};
  double scale = 1 / (accumulate(pool, w, settings.momentum, update) + kLeastNorm);
  for (int step = 0; step < kSteps; step++) {
    packFromMaster(pool, y.f32(), m, n, w.packedBf16, false, ofY.forward, ofY.backward);
    MatmulEpilogue first, second, third;
    first.scale = static_cast<float>(kB / kA * scale * scale);
    matmulForward(pool, y, ofY, first, p);
    packFromMaster(pool, p.f32(), m, m, w.packedBf16, false, ofP.forward, nullptr);
    second.scale = static_cast<float>(kA * kC / (kB * kB));
    second.residual = &p;
    matmulForward(pool, p, ofP, second, q);
    third.residual = &y;
    matmulBackwardInput(pool, q, ofY, third, y);
    scale *= kA;
  }
  apply(pool, w, settings, scale, update);
}

}  // namespace cre
