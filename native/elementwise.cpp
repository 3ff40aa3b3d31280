#include <algorithm>
#include <cmath>
#include <vector>

#include "exponential.h"
#include "vector.h"

// Padding needs no care in most of these: zeros give zeros.

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

// Index of each token's position among the distinct ones.
struct DistinctPositions {
  std::vector<int32_t> values;
  std::vector<int32_t> slots;

  DistinctPositions(const int32_t* positions, int count) : slots(count) {
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
};

// cosines and ±sines of a position's angles; negative for the backward turn.
void angles(int32_t position, const float* frequencies, int pairs, bool backward, float* __restrict__ sines, float* __restrict__ cosines) {
  const float sign = backward ? -1.0f : 1.0f;
  for (int i = 0; i < pairs; i++) {
    float sine;
    sinCos(static_cast<double>(position) * frequencies[i], sine, cosines[i]);
    sines[i] = sign * sine;
  }
}

// A turn is y[c] = x[c] · own[c] + x[c + distance] · ahead[c] + x[c − distance] · behind[c] with factors that depend on the position and
// on c mod headWidth only: one of ahead and behind is zero, both are where nothing turns. Tables are periodic, 16 entries longer than a
// head.
struct Turn {
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
void turnRow(const In* x, int columns, const Turn& turn, const float* table, float* row, bool far, Out* y) {
  const int blocks = blocksFor(columns);
  for (int b = 0; b < blocks; b++) {
    const In* chunk = x + static_cast<size_t>(b) * kBlockElements;
    prefetchRow(chunk + kBlock);
    store(row + b * kBlock, load(chunk));
    store(row + b * kBlock + kLanes, load(chunk + kLanes));
  }
  const float *own = table, *ahead = own + turn.length(), *behind = ahead + turn.length();
  int within = 0;  // column mod headWidth
  for (int b = 0; b < blocks; b++) {
    Floats out[2];
    for (int half = 0; half < 2; half++) {
      const float* from = row + b * kBlock + half * kLanes;
      out[half] = load(from) * load(own + within);
      out[half] = multiplyAdd(load(from + turn.distance), load(ahead + within), out[half]);
      out[half] = multiplyAdd(load(from - turn.distance), load(behind + within), out[half]);
      within += kLanes;
      while (within >= turn.headWidth) within -= turn.headWidth;
    }
    store(y + static_cast<size_t>(b) * kBlockElements, out[0], out[1], far);
  }
}

// Heads and pairs that begin at multiples of 32 columns, in halves: block pair by block pair, `count` rows of one block row. A token's
// table holds the cosines, then the sines.
template <class In, class Out>
void turnAlignedRows(const In* x, int columns, const Turn& turn, const float* tables, const int32_t* slots, int count, bool far, Out* y) {
  const int pairBlocks = turn.pairs / kBlock, headBlocks = turn.headWidth / kBlock;
  for (int head = 0; head < columns / kBlock; head += headBlocks) {
    for (int i = 0; i < pairBlocks; i++) {
      const In* from = x + static_cast<size_t>(head + i) * kBlockElements;
      Out* to = y + static_cast<size_t>(head + i) * kBlockElements;
      const size_t distance = static_cast<size_t>(pairBlocks) * kBlockElements;
      for (int r = 0; r < count; r++) {
        const In* row = from + r * kBlock;
        // What comes after this pair: further blocks of the halves, else the next head.
        const size_t next = pairBlocks == 1 ? 2 : 1;
        prefetchRow(row + next * kBlockElements);
        prefetchRow(row + next * kBlockElements + distance);
        const float* cosines = tables + static_cast<size_t>(slots[r]) * 2 * turn.pairs + i * kBlock;
        const float* sines = cosines + turn.pairs;
        Floats first[2], second[2];
        for (int half = 0; half < 2; half++) {
          const Floats a = load(row + half * kLanes), b = load(row + distance + half * kLanes);
          const Floats c = load(cosines + half * kLanes), s = load(sines + half * kLanes);
          first[half] = a * c - b * s;
          second[half] = a * s + b * c;
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

void rotary(Pool& pool, const Matrix& x, const int32_t* positions, int heads, int headWidth, const float* frequencies, int pairs,
            bool interleaved, bool backward, Matrix& y) {
  const bool aligned = !interleaved && pairs % kBlock == 0 && headWidth % kBlock == 0;
  const Turn turn{headWidth, pairs, interleaved ? 1 : pairs, interleaved, backward};
  const size_t stride = aligned ? 2 * static_cast<size_t>(pairs) : turn.stride();
  const DistinctPositions distinct(positions, x.rows);
  const int count = static_cast<int>(distinct.values.size());
  float* tables = static_cast<float*>(pool.sharedScratch(0, (count * stride + 1) * sizeof(float)));
  constexpr int kPositionsPerItem = 32;
  pool.parallelFor((count + kPositionsPerItem - 1) / kPositionsPerItem, [&](int item, int) {
    std::vector<float> sines(pairs), cosines(pairs);
    for (int i = item * kPositionsPerItem; i < std::min(count, (item + 1) * kPositionsPerItem); i++) {
      float* table = tables + i * stride;
      if (aligned) angles(distinct.values[i], frequencies, pairs, backward, table + pairs, table);
      else turn.fill(distinct.values[i], frequencies, table, sines.data(), cosines.data());
    }
  });

  const int columns = heads * headWidth, blocks = x.columnBlocks();
  constexpr int kRowsPerItem = 16;
  const bool far = isFar(pool, y);
  const size_t margin = paddedTo32(turn.distance + 1);
  const size_t rowFloats = 2 * margin + static_cast<size_t>(blocks) * kBlock;
  const int written = writtenRows(x.rows);
  pool.parallelFor((written + kRowsPerItem - 1) / kRowsPerItem, [&](int item, int thread) {
    const int first = item * kRowsPerItem, present = std::clamp(x.rows - first, 0, kRowsPerItem);
    withElements(y, [&](auto* to) {
      withElements(x, [&](auto* from) {
        if (aligned) {
          turnAlignedRows(rowChunk(from, blocks, first, 0), columns, turn, tables, distinct.slots.data() + first, present, far,
                          rowChunk(to, blocks, first, 0));
          return;
        }
        float* row = static_cast<float*>(pool.scratch(thread, 0, rowFloats * sizeof(float)));
        memset(row, 0, rowFloats * sizeof(float));
        for (int r = first; r < first + present; r++) {
          const float* table = tables + distinct.slots[r] * stride;
          turnRow(rowChunk(from, blocks, r, 0), columns, turn, table, row + margin, far, rowChunk(to, blocks, r, 0));
        }
      });
      for (int r = first + present; r < std::min(first + kRowsPerItem, written); r++) {
        for (int b = 0; b < blocks; b++) store(rowChunk(to, blocks, r, b), zeros(), zeros(), far);
      }
    });
    finishFarStores();
  });
}

// As exact as the numbers that are stored.
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

void dropout(Pool& pool, const Matrix& x, double probability, uint32_t seed, Matrix& y) {
  constexpr uint32_t kRowFactor = 0x9e3779b1u, kColumnFactor = 0x85ebca77u;
  const double bound = std::floor(probability * 4294967296.0);
  const Words threshold = broadcast(static_cast<uint32_t>(std::min(bound, 4294967295.0)));
  const Floats factor = broadcast(static_cast<float>(1 / (1 - probability)));
  Words lanes;
  const Ints numbers = laneNumbers();
  memcpy(&lanes, &numbers, sizeof lanes);
  lanes = lanes * broadcast(kColumnFactor);
  const size_t blocks = x.columnBlocks();
  const bool far = isFar(pool, y);
  withElements(y, [&](auto* to) {
    auto* from = static_cast<decltype(to)>(x.data);
    forPieces(pool, y.elements(), [&](size_t begin, size_t end) {
      for (size_t start = begin; start < end; start += kBlockElements) {
        const size_t block = start / kBlockElements;
        const uint32_t firstRow = static_cast<uint32_t>(block / blocks * kBlock), column = static_cast<uint32_t>(block % blocks * kBlock);
        Words columnHash[2];
        for (int half = 0; half < 2; half++) {
          columnHash[half] = broadcast((column + half * kLanes) * kColumnFactor);
          CRE_PARTS columnHash[half].part[i] = columnHash[half].part[i] + lanes.part[i];
        }
        for (uint32_t r = 0; r < kBlock; r++) {
          const size_t at = start + r * kBlock;
          prefetchRow(from + at + 2 * kBlockElements);
          const Words rowHash = broadcast(seed ^ (firstRow + r) * kRowFactor);
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
          else for (int c = 0; c < width; c++) out[c] = toFloat(chunk[c]);
        }
      }
    });
  });
}

}  // namespace cre
