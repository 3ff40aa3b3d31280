#include <algorithm>
#include <numeric>
#include <vector>

#include "runtime/vector.h"

namespace cre {
namespace {

// Calls body(columnBlock) for every block column: rows are added in order inside it, whichever thread does it.
template <class Body>
void forColumnBlocks(Pool& pool, const Matrix& matrix, Body&& body) {
  pool.parallelFor(matrix.columnBlocks(), [&](int block, int) { body(block); });
}

// The 32 columns of block column `block` in a row of a table's master.
const float* masterChunk(const WeightView& table, int row, int block) {
  return table.isVector() ? table.master + block * kBlock : rowChunk(table.master, blocksFor(table.columns), row, block);
}

template <class From, class To>
void copyChunk(const From* from, To* to) {
  store(to, load(from), load(from + kLanes));
}

// The value of a table in bfloat16 storage, as products read it.
template <class To>
void copyRounded(const float* from, To* to) {
  bf16 rounded[kBlock];
  copyChunk(from, rounded);
  copyChunk(rounded, to);
}

}  // namespace

void embed(Pool& pool, const WeightView& table, bool bf16Precision, const int32_t* ids, Matrix& y) {
  const int blocks = y.columnBlocks(), written = writtenRows(y.rows);
  const bool rounded = table.storage == Storage::bfloat16 && !table.isVector();
  const bool far = isFar(pool, y);
  // Rows of a packed table share their cache lines with their neighbours: tokens are read in the order of their ids, and the many cache lines
  // of the next row are prefetched while the current one is assembled. Without a packed table tokens are read in their own order.
  std::vector<int32_t> order(written);
  std::iota(order.begin(), order.end(), 0);
  if (!table.master) std::stable_sort(order.begin(), order.begin() + y.rows, [&](int a, int b) { return ids[a] < ids[b]; });
  constexpr int kRowsPerItem = 32;
  pool.parallelFor((written + kRowsPerItem - 1) / kRowsPerItem, [&](int item, int thread) {
    float* row = static_cast<float*>(pool.scratch(thread, 0, blocks * kBlock * sizeof(float)));
    int present = -1;  // id of the row in `row`
    withElements(y, [&](auto* to) {
      for (int i = item * kRowsPerItem; i < std::min(written, (item + 1) * kRowsPerItem); i++) {
        const int t = order[i];
        if (t < y.rows && !table.master && ids[t] != present) {
          present = ids[t];
          int next = i + 1;
          while (next < y.rows && ids[order[next]] == present) next++;
          if (next < y.rows && !table.isQuantized()) prefetchForwardRow(table.forward, table.columns, bf16Precision, ids[order[next]]);
          if (table.isQuantized()) readQuantizedRow(table, present, row);
          else readForwardRow(table.forward, table.rows, table.columns, bf16Precision, present, row);
        }
        for (int b = 0; b < blocks; b++) {
          auto* out = rowChunk(to, blocks, t, b);
          if (t >= y.rows) store(out, zeros(), zeros(), far);
          else if (!table.master) store(out, load(row + b * kBlock), load(row + b * kBlock + kLanes), far);
          else if (!rounded) copyChunk(masterChunk(table, ids[t], b), out);
          else copyRounded(masterChunk(table, ids[t], b), out);
        }
      }
    });
    finishFarStores();
  });
}

// The gradient has matrix layout, even for a table of one row (Memory::withMatrixGradient).
void embedBackward(Pool& pool, WeightView& table, const int32_t* ids, const Matrix& dy) {
  const int blocks = dy.columnBlocks();
  withElements(dy, [&](auto* from) {
    forColumnBlocks(pool, dy, [&](int b) {
      for (int t = 0; t < dy.rows; t++) {
        const auto* chunk = rowChunk(from, blocks, t, b);
        float* sum = rowChunk(table.gradient, blocks, ids[t], b);
        store(sum, load(sum) + load(chunk), load(sum + kLanes) + load(chunk + kLanes));
      }
    });
  });
}

void gatherRows(Pool& pool, const Matrix& x, const int32_t* rows, Matrix& y) {
  const int blocks = y.columnBlocks();
  constexpr int kRowsPerItem = 8;
  withElements(x, [&](auto* from) {
    withElements(y, [&](auto* to) {
      pool.parallelFor(paddedTo32(y.rows) / kRowsPerItem, [&](int item, int) {
        for (int b = 0; b < blocks; b++) {
          for (int i = item * kRowsPerItem; i < (item + 1) * kRowsPerItem; i++) {
            if (i < y.rows) copyChunk(rowChunk(from, blocks, rows[i], b), rowChunk(to, blocks, i, b));
            else store(rowChunk(to, blocks, i, b), zeros(), zeros());
          }
        }
      });
    });
  });
}

void gatherRowsBackward(Pool& pool, const Matrix& dy, const int32_t* rows, Matrix& dx) {
  // Rows of dy by destination, in order: order[first[row]] .. order[first[row + 1] − 1].
  const int padded = paddedTo32(dx.rows);
  std::vector<int32_t> first(padded + 1, 0), order(dy.rows);
  for (int i = 0; i < dy.rows; i++) first[rows[i] + 1]++;
  for (int row = 0; row < padded; row++) first[row + 1] += first[row];
  std::vector<int32_t> next(first.begin(), first.end() - 1);
  for (int i = 0; i < dy.rows; i++) order[next[rows[i]]++] = i;

  const int blocks = dx.columnBlocks();
  constexpr int kRowsPerItem = 8;
  withElements(dy, [&](auto* from) {
    withElements(dx, [&](auto* to) {
      pool.parallelFor(padded / kRowsPerItem, [&](int item, int) {
        for (int b = 0; b < blocks; b++) {
          for (int row = item * kRowsPerItem; row < (item + 1) * kRowsPerItem; row++) {
            Floats low = zeros(), high = zeros();
            for (int j = first[row]; j < first[row + 1]; j++) {
              const auto* chunk = rowChunk(from, blocks, order[j], b);
              low = low + load(chunk);
              high = high + load(chunk + kLanes);
            }
            store(rowChunk(to, blocks, row, b), low, high);
          }
        }
      });
    });
  });
}

void copyRows(Pool& pool, const Matrix& source, const int32_t* rows, Matrix& destination) {
  const int blocks = source.columnBlocks();
  withElements(source, [&](auto* from) {
    withElements(destination, [&](auto* to) {
      // If destination rows repeat, the last one wins.
      forColumnBlocks(pool, source, [&](int b) {
        for (int i = 0; i < source.rows; i++) copyChunk(rowChunk(from, blocks, i, b), rowChunk(to, blocks, rows[i], b));
      });
    });
  });
}

}  // namespace cre
