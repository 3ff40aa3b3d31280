#include "rows/rotary.h"

#include <algorithm>

namespace cre {
namespace {

// sin and cos of any angle up to 10⁹, absolute error below 1e-9: a remainder in three parts of π/2, then Taylor sums on |r| <= π/4.
// Branch-free, so that the loop over a position's angles becomes vectors.
inline void sinCos(double angle, float& sine, float& cosine) {
  const double magic = 6755399441055744.0;  // 1.5 · 2⁵²: adding it rounds to an integer, kept in the low bits
  const double shifted = angle * 0.63661977236758134 + magic;
  int64_t quarter;
  memcpy(&quarter, &shifted, sizeof quarter);
  const double n = shifted - magic;
  double r = angle - n * 1.570796251296997;  // 24 bits, 26 bits, the rest: n times the first two is exact
  r -= n * 7.549789948768648e-08;
  r -= n * 6.123233995736766e-17;
  const double r2 = r * r;
  const double s = r + r * r2 * (-1.0 / 6 + r2 * (1.0 / 120 + r2 * (-1.0 / 5040 + r2 * (1.0 / 362880 - r2 * (1.0 / 39916800)))));
  const double c =
      1 + r2 * (-0.5 + r2 * (1.0 / 24 + r2 * (-1.0 / 720 + r2 * (1.0 / 40320 - r2 * (1.0 / 3628800 - r2 * (1.0 / 479001600))))));
  const bool swap = (quarter & 1) != 0;
  const double sineSize = swap ? c : s, cosineSize = swap ? s : c;
  sine = static_cast<float>((quarter & 2) != 0 ? -sineSize : sineSize);
  cosine = static_cast<float>(((quarter + 1) & 2) != 0 ? -cosineSize : cosineSize);
}

// Cosines and ±sines of a position's angles; negative for the backward rotation.
void angles(int32_t position, const float* frequencies, int pairs, bool backward, float* __restrict__ sines, float* __restrict__ cosines) {
  const float sign = backward ? -1.0f : 1.0f;
  for (int i = 0; i < pairs; i++) {
    float sine;
    sinCos(static_cast<double>(position) * frequencies[i], sine, cosines[i]);
    sines[i] = sign * sine;
  }
}

constexpr int kPositionsPerItem = 32;

}  // namespace

DistinctPositions::DistinctPositions(const int32_t* positions, int count) : slots(count) {
  if (count == 0) return;
  const auto [least, most] = std::minmax_element(positions, positions + count);
  const int64_t range = static_cast<int64_t>(*most) - *least + 1;
  if (range <= 4 * static_cast<int64_t>(count) + 1024) {
    std::vector<int32_t> slotOf(range, -1);
    for (int t = 0; t < count; t++) {
      int32_t& slot = slotOf[positions[t] - static_cast<int64_t>(*least)];
      if (slot < 0) {
        slot = static_cast<int32_t>(values.size());
        values.push_back(positions[t]);
      }
      slots[t] = slot;
    }
  } else {
    values.assign(positions, positions + count);
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    for (int t = 0; t < count; t++) {
      slots[t] = static_cast<int32_t>(std::lower_bound(values.begin(), values.end(), positions[t]) - values.begin());
    }
  }
}

void fillRotaryTables(Pool& pool, const DistinctPositions& distinct, const float* frequencies, int pairs, bool backward, float* tables) {
  const int count = static_cast<int>(distinct.values.size());
  pool.parallelFor((count + kPositionsPerItem - 1) / kPositionsPerItem, [&](int item, int) {
    for (int i = item * kPositionsPerItem; i < std::min(count, (item + 1) * kPositionsPerItem); i++) {
      float* table = tables + static_cast<size_t>(i) * 2 * pairs;
      angles(distinct.values[i], frequencies, pairs, backward, table + pairs, table);
    }
  });
}

namespace {

// A rotation is y[c] = x[c] · own[c] + x[c + distance] · ahead[c] + x[c − distance] · behind[c], with factors that depend only on the
// position and on c mod headWidth. One of ahead and behind is zero; both are zero for columns that are not rotated. Tables are periodic, 16
// entries longer than a head.
struct RotationPlan {
  int headWidth, pairs, distance;
  bool interleaved, backward;
  size_t stride() const { return (static_cast<size_t>(headWidth) + kLanes) * 3; }
  int length() const { return headWidth + kLanes; }

  void fill(int32_t position, const float* frequencies, float* table, float* sines, float* cosines) const {
    angles(position, frequencies, pairs, backward, sines, cosines);
    float *own = table, *ahead = own + length(), *behind = ahead + length();
    for (int c = 0; c < headWidth; c++) {
      own[c] = 1;
      ahead[c] = behind[c] = 0;
    }
    for (int i = 0; i < pairs; i++) {
      const int first = interleaved ? 2 * i : i, second = first + distance;
      own[first] = own[second] = cosines[i];
      ahead[first] = -sines[i];
      behind[second] = sines[i];
    }
    for (float* factors : {own, ahead, behind}) {
      for (int c = headWidth; c < length(); c++) factors[c] = factors[c - headWidth];
    }
  }
};

template <class In, class Out>
void rotateRow(const In* x, int columns, const RotationPlan& plan, const float* table, float* row, bool far, Out* y) {
  const int blocks = blocksFor(columns);
  for (int b = 0; b < blocks; b++) {
    const In* chunk = x + static_cast<size_t>(b) * kBlockElements;
    prefetchRow(chunk + kBlock);
    store(row + b * kBlock, load(chunk));
    store(row + b * kBlock + kLanes, load(chunk + kLanes));
  }
  const float *own = table, *ahead = own + plan.length(), *behind = ahead + plan.length();
  int within = 0;  // column mod headWidth
  for (int b = 0; b < blocks; b++) {
    Floats out[2];
    for (int half = 0; half < 2; half++) {
      const float* from = row + b * kBlock + half * kLanes;
      out[half] = load(from) * load(own + within);
      out[half] = multiplyAdd(load(from + plan.distance), load(ahead + within), out[half]);
      out[half] = multiplyAdd(load(from - plan.distance), load(behind + within), out[half]);
      within += kLanes;
      while (within >= plan.headWidth) within -= plan.headWidth;
    }
    store(y + static_cast<size_t>(b) * kBlockElements, out[0], out[1], far);
  }
}

// For heads and halves of pairs that begin at multiples of 32 columns: block pair by block pair, `count` rows of one block row. The table of
// a token holds the cosines, then the sines.
template <class In, class Out>
void rotateAlignedRows(const In* x, int columns, const RotationPlan& plan, const float* tables, const int32_t* slots, int count, bool far,
                       Out* y) {
  const int pairBlocks = plan.pairs / kBlock, headBlocks = plan.headWidth / kBlock;
  for (int head = 0; head < columns / kBlock; head += headBlocks) {
    for (int i = 0; i < pairBlocks; i++) {
      const In* from = x + static_cast<size_t>(head + i) * kBlockElements;
      Out* to = y + static_cast<size_t>(head + i) * kBlockElements;
      const size_t distance = static_cast<size_t>(pairBlocks) * kBlockElements;
      for (int r = 0; r < count; r++) {
        const In* row = from + r * kBlock;
        // The blocks after this pair: further blocks of the halves, else the next head.
        const size_t next = pairBlocks == 1 ? 2 : 1;
        prefetchRow(row + next * kBlockElements);
        prefetchRow(row + next * kBlockElements + distance);
        const float* cosines = tables + static_cast<size_t>(slots[r]) * 2 * plan.pairs + i * kBlock;
        const float* sines = cosines + plan.pairs;
        Floats first[2], second[2];
        for (int half = 0; half < 2; half++) {
          first[half] = load(row + half * kLanes);
          second[half] = load(row + distance + half * kLanes);
          rotatePairs(first[half], second[half], load(cosines + half * kLanes), load(sines + half * kLanes));
        }
        store(to + r * kBlock, first[0], first[1], far);
        store(to + distance + r * kBlock, second[0], second[1], far);
      }
    }
    for (int b = head + 2 * pairBlocks; b < head + headBlocks; b++) {
      for (int r = 0; r < count; r++) {
        const size_t at = static_cast<size_t>(b) * kBlockElements + r * kBlock;
        store(y + at, load(x + at), load(x + at + kLanes), far);
      }
    }
  }
}

}  // namespace

void rotary(Pool& pool, const Matrix& x, const Rotary& by, bool backward, Matrix& y) {
  const float* frequencies = by.rotation.frequencies;
  const int headWidth = by.headWidth, pairs = by.rotation.pairs;
  const bool interleaved = by.rotation.interleaved;
  const bool aligned = by.rotation.isAligned(headWidth);
  const RotationPlan plan{headWidth, pairs, interleaved ? 1 : pairs, interleaved, backward};
  const size_t stride = aligned ? 2 * static_cast<size_t>(pairs) : plan.stride();
  const DistinctPositions distinct(by.positions, x.rows);
  const int count = static_cast<int>(distinct.values.size());
  float* tables = static_cast<float*>(pool.sharedScratch(0, (count * stride + 1) * sizeof(float)));
  if (aligned) {
    fillRotaryTables(pool, distinct, frequencies, pairs, backward, tables);
  } else {
    pool.parallelFor((count + kPositionsPerItem - 1) / kPositionsPerItem, [&](int item, int) {
      std::vector<float> sines(pairs), cosines(pairs);
      for (int i = item * kPositionsPerItem; i < std::min(count, (item + 1) * kPositionsPerItem); i++) {
        plan.fill(distinct.values[i], frequencies, tables + i * stride, sines.data(), cosines.data());
      }
    });
  }

  const int columns = by.heads * headWidth, blocks = x.columnBlocks();
  constexpr int kRowsPerItem = 16;
  const bool far = isFar(pool, y);
  const size_t margin = paddedTo32(plan.distance + 1);
  const size_t rowFloats = 2 * margin + static_cast<size_t>(blocks) * kBlock;
  const int written = writtenRows(x.rows);
  pool.parallelFor((written + kRowsPerItem - 1) / kRowsPerItem, [&](int item, int thread) {
    const int first = item * kRowsPerItem, present = std::clamp(x.rows - first, 0, kRowsPerItem);
    withElements(y, [&](auto* to) {
      withElements(x, [&](auto* from) {
        if (aligned) {
          rotateAlignedRows(rowChunk(from, blocks, first, 0), columns, plan, tables, distinct.slots.data() + first, present, far,
                            rowChunk(to, blocks, first, 0));
          return;
        }
        float* row = static_cast<float*>(pool.scratch(thread, 0, rowFloats * sizeof(float)));
        memset(row, 0, rowFloats * sizeof(float));
        for (int r = first; r < first + present; r++) {
          const float* table = tables + distinct.slots[r] * stride;
          rotateRow(rowChunk(from, blocks, r, 0), columns, plan, table, row + margin, far, rowChunk(to, blocks, r, 0));
        }
      });
      for (int r = first + present; r < std::min(first + kRowsPerItem, written); r++) {
        for (int b = 0; b < blocks; b++) store(rowChunk(to, blocks, r, b), zeros(), zeros(), far);
      }
    });
    finishFarStores();
  });
}

}  // namespace cre
