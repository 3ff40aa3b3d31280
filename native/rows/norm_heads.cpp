#include <algorithm>
#include <cmath>

#include "runtime/vector.h"

// RMSNorm of every head of a row on its own. A head may begin inside a block, so each row is copied to a contiguous buffer first.

namespace cre {
namespace {

constexpr int kMostChunks = 64;

template <class X>
void flatten(const X* row, int blocks, float* flat) {
  for (int b = 0; b < blocks; b++) {
    const X* from = row + static_cast<size_t>(b) * kBlockElements;
    for (int half = 0; half < kBlock; half += kLanes) store(flat + b * kBlock + half, load(from + half));
  }
}

template <class Y>
void unflatten(const float* flat, int blocks, Y* row) {
  for (int b = 0; b < blocks; b++) {
    store(row + static_cast<size_t>(b) * kBlockElements, load(flat + b * kBlock), load(flat + b * kBlock + kLanes));
  }
}

float dot(const float* a, const float* b, int width) {
  Floats sums = zeros();
  int i = 0;
  for (; i + kLanes <= width; i += kLanes) sums = multiplyAdd(load(a + i), load(b + i), sums);
  float sum = sumOf(sums);
  for (; i < width; i++) sum += a[i] * b[i];
  return sum;
}

float inverseRms(const float* x, int width, float epsilon) { return 1 / std::sqrt(dot(x, x, width) / width + epsilon); }

// As in norm.cpp: dx = inverse · dy · g − x · inverse³ · mean(x · dy · g); dy · x · inverse is added to gSums.
void headBackward(const float* x, const float* g, float* dy, float epsilon, int width, float* gSums) {
  const float inverse = inverseRms(x, width, epsilon);
  if (gSums) {
    for (int i = 0; i < width; i++) gSums[i] += dy[i] * inverse * x[i];
  }
  for (int i = 0; i < width; i++) dy[i] *= g[i];
  const float factor = inverse * inverse * inverse * dot(x, dy, width) / width;
  for (int i = 0; i < width; i++) dy[i] = dy[i] * inverse - x[i] * factor;
}

}  // namespace

void rmsNormHeads(Pool& pool, const Matrix& x, const float* g, int headWidth, float epsilon, Matrix& y) {
  const int blocks = x.columnBlocks();
  pool.parallelFor(x.rowBlocks(), [&](int rowBlock, int thread) {
    float* flat = static_cast<float*>(pool.scratch(thread, 0, static_cast<size_t>(blocks) * kBlock * sizeof(float)));
    for (int row = rowBlock * kBlock; row < std::min((rowBlock + 1) * kBlock, writtenRows(x.rows)); row++) {
      if (row < x.rows) {
        withElements(x, [&](auto* from) { flatten(rowChunk(from, blocks, row, 0), blocks, flat); });
        for (float* head = flat; head < flat + x.columns; head += headWidth) {
          const float inverse = inverseRms(head, headWidth, epsilon);
          for (int i = 0; i < headWidth; i++) head[i] = head[i] * inverse * g[i];
        }
      } else {
        std::fill_n(flat, static_cast<size_t>(blocks) * kBlock, 0.0f);
      }
      withElements(y, [&](auto* to) { unflatten(flat, blocks, rowChunk(to, blocks, row, 0)); });
    }
  });
}

void rmsNormHeadsBackward(Pool& pool, const Matrix& x, const float* g, int headWidth, const Matrix& dy, float epsilon,
                          const Matrix* residual, Matrix& dx, float* gGradient) {
  const int blocks = x.columnBlocks(), rowBlocks = x.rowBlocks();
  const size_t padded = static_cast<size_t>(blocks) * kBlock;
  // Rows are summed in order within a chunk, then the chunks; only the shape decides the chunks.
  const int blocksPerChunk = (rowBlocks + kMostChunks - 1) / kMostChunks, chunks = (rowBlocks + blocksPerChunk - 1) / blocksPerChunk;
  float* partial = gGradient ? static_cast<float*>(pool.sharedScratch(0, chunks * headWidth * sizeof(float))) : nullptr;

  pool.parallelFor(chunks, [&](int chunk, int thread) {
    float* gSums = partial ? partial + static_cast<size_t>(chunk) * headWidth : nullptr;
    if (gSums) std::fill_n(gSums, headWidth, 0.0f);
    float* flatX = static_cast<float*>(pool.scratch(thread, 0, padded * sizeof(float)));
    float* flatDy = static_cast<float*>(pool.scratch(thread, 1, padded * sizeof(float)));
    float* flatResidual = static_cast<float*>(pool.scratch(thread, 2, padded * sizeof(float)));
    const int end = std::min(rowBlocks, (chunk + 1) * blocksPerChunk) * kBlock;
    for (int row = chunk * blocksPerChunk * kBlock; row < end; row++) {
      float* out = rowChunk(dx.f32(), blocks, row, 0);
      if (row >= x.rows) {
        for (int b = 0; b < blocks; b++) std::fill_n(out + static_cast<size_t>(b) * kBlockElements, kBlock, 0.0f);
        continue;
      }
      withElements(x, [&](auto* from) { flatten(rowChunk(from, blocks, row, 0), blocks, flatX); });
      withElements(dy, [&](auto* from) { flatten(rowChunk(from, blocks, row, 0), blocks, flatDy); });
      for (int head = 0; head < x.columns; head += headWidth) headBackward(flatX + head, g, flatDy + head, epsilon, headWidth, gSums);
      if (residual) {
        withElements(*residual, [&](auto* from) { flatten(rowChunk(from, blocks, row, 0), blocks, flatResidual); });
        for (int c = 0; c < x.columns; c++) flatDy[c] += flatResidual[c];
      }
      unflatten(flatDy, blocks, out);
    }
  });
  if (!gGradient) return;
  for (int chunk = 0; chunk < chunks; chunk++) {
    for (int i = 0; i < headWidth; i++) gGradient[i] += partial[static_cast<size_t>(chunk) * headWidth + i];
  }
}

}  // namespace cre
