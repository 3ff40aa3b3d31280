// AdamW (Loshchilov & Hutter 2019) over master values and moments, and the norm of gradients.
#include <cmath>
#include <vector>

#include "runtime/kernels.h"
#include "runtime/vector.h"

namespace cre {
namespace {

constexpr size_t kChunk = 4 * kBlockElements;  // fixed, so that sums do not depend on the number of threads

template <class Body>
void forChunks(Pool& pool, size_t elements, Body&& body) {
  pool.parallelFor(static_cast<int>((elements + kChunk - 1) / kChunk), [&](int chunk, int) {
    const size_t begin = chunk * kChunk;
    body(chunk, begin, begin + kChunk < elements ? begin + kChunk : elements);
  });
}

// Calls body(i) for the vectors i .. i + 15 of [begin, end), whole blocks of w's layout, except those that are all padding: adapters of low
// rank are mostly padding.
template <class Body>
CRE_INLINE void forVectors(const WeightView& w, size_t begin, size_t end, Body&& body) {
  if (w.isVector()) {
    for (size_t i = begin; i < end; i += kLanes) body(i);
    return;
  }
  const size_t columnBlocks = blocksFor(w.columns);
  for (size_t block = begin / kBlockElements; block < end / kBlockElements; block++) {
    const int rows = w.rows - static_cast<int>(block / columnBlocks) * kBlock;
    const int columns = w.columns - static_cast<int>(block % columnBlocks) * kBlock;
    const size_t first = block * kBlockElements, last = first + (rows < kBlock ? rows : kBlock) * kBlock;
    for (size_t i = first; i < last; i += kBlock) {
      body(i);
      if (columns > kLanes) body(i + kLanes);
    }
  }
}

}  // namespace

void adamW(Pool& pool, WeightView& w, const AdamW& s) {
  const Floats beta1 = broadcast(static_cast<float>(s.beta1)), beta2 = broadcast(static_cast<float>(s.beta2));
  const Floats rest1 = broadcast(static_cast<float>(1 - s.beta1)), rest2 = broadcast(static_cast<float>(1 - s.beta2));
  // update = m / correction1 / (√(v / correction2) + ε), with the corrections folded into the constants.
  const double correction1 = 1 - std::pow(s.beta1, s.step), correction2 = std::sqrt(1 - std::pow(s.beta2, s.step));
  const Floats rate = broadcast(static_cast<float>(s.learningRate * correction2 / correction1));
  const Floats epsilon = broadcast(static_cast<float>(s.epsilon * correction2));
  const Floats decay = broadcast(static_cast<float>(s.learningRate * s.weightDecay));
  const Floats gradientScale = broadcast(static_cast<float>(s.gradientScale));
  const Floats smallest = broadcast(1e-37f);
  forChunks(pool, w.masterElements(), [&](int, size_t begin, size_t end) {
    forVectors(w, begin, end, [&](size_t i) {
      const Floats g = load(w.gradient + i) * gradientScale;
      const Floats m = multiplyAdd(beta1, load(w.moment1 + i), rest1 * g);
      const Floats v = multiplyAdd(beta2, load(w.moment2 + i), rest2 * g * g);
      const Floats value = load(w.master + i);
      store(w.moment1 + i, m);
      store(w.moment2 + i, v);
      // Without the maximum, padding (0 / 0) would become NaN when ε is 0.
      const Floats divisor = maximum(squareRoot(v) + epsilon, smallest);
      store(w.master + i, value - rate * m / divisor - decay * value);
    });
  });
}

double gradientSquares(Pool& pool, const WeightView& w) {
  const size_t elements = w.masterElements();
  std::vector<double> sums((elements + kChunk - 1) / kChunk);
  forChunks(pool, elements, [&](int chunk, size_t begin, size_t end) {
    double sum = 0;
    // Float sums of 1,024 squares, added up in double.
    for (size_t i = begin; i < end; i += kBlockElements) {
      Floats squares = zeros();
      forVectors(w, i, i + kBlockElements < end ? i + kBlockElements : end, [&](size_t j) {
        const Floats g = load(w.gradient + j);
        squares = multiplyAdd(g, g, squares);
      });
      sum += sumOf(squares);
    }
    sums[chunk] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace cre
