#include "attention/attention_driver.h"
#include "matmul/blocks.h"
#include "runtime/neon.h"

// Attention in float: heads are copied to float scratch (any width, any first column) and multiplied with vector instructions.

namespace cre::attend {
namespace {

// The accumulators of one step fill the registers of the level: 16, 8, 4 · 4 or 4 · 2.
#if defined(CRE_NEON)
constexpr int kStepRows = 4;
#else
constexpr int kStepRows = kParts == 1 ? 8 : kParts == 2 ? 4 : 2;
#endif
constexpr int kStepVectors = kParts == 1 ? 2 : 1;

template <int kVectors>
CRE_INLINE void productStep(const float* a, int rowStride, int stepStride, const float* b, int ldb, int steps, bool adds, float* c,
                            int ldc) {
  Floats sum[kStepRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kStepRows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) sum[r][v] = adds ? load(c + r * ldc + v * kLanes) : zeros();
  }
#if defined(CRE_NEON)
  addProducts(a, rowStride, stepStride, b, ldb, steps, sum);
#else
  for (int k = 0; k < steps; k++, a += stepStride, b += ldb) {
    Floats column[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) column[v] = load(b + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kStepRows; r++) {
      const Floats value = broadcast(a[r * rowStride]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; v++) sum[r][v] = multiplyAdd(value, column[v], sum[r][v]);
    }
  }
#endif
#pragma GCC unroll 8
  for (int r = 0; r < kStepRows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) store(c + r * ldc + v * kLanes, sum[r][v]);
  }
}

// c[rows, columns] (+)= a · b with a(r, k) = a[r · rowStride + k · stepStride]; rows are rounded up to kStepRows, columns are whole
// vectors.
void product(const float* a, int rowStride, int stepStride, const float* b, int ldb, int rows, int columns, int steps, bool adds, float* c,
             int ldc) {
  int column = 0;
  for (; column + kStepVectors * kLanes <= columns; column += kStepVectors * kLanes) {
    for (int r = 0; r < rows; r += kStepRows) {
      productStep<kStepVectors>(a + r * rowStride, rowStride, stepStride, b + column, ldb, steps, adds, c + r * ldc + column, ldc);
    }
  }
  for (; column < columns; column += kLanes) {
    for (int r = 0; r < rows; r += kStepRows) {
      productStep<1>(a + r * rowStride, rowStride, stepStride, b + column, ldb, steps, adds, c + r * ldc + column, ldc);
    }
  }
}

// out[width][32] = rows[32][width]ᵀ
void transpose(const float* rows, int width, float* out) {
  for (int c = 0; c < width; c += kLanes) {
    for (int r = 0; r < kBlock; r += kLanes) {
      transposeWords(reinterpret_cast<const uint32_t*>(rows) + r * width + c, width, reinterpret_cast<uint32_t*>(out) + c * kBlock + r,
                     kBlock);
    }
  }
}

class FloatForward {
 public:
  static void measure(Carver& carver, int headWidth, int keyBlocks) { FloatForward(carver, headWidth, keyBlocks, false); }
  FloatForward(Carver& carver, int headWidth, int keyBlocks, bool exists = true) : headWidth_(headWidth), width_(headStride(headWidth)) {
    const size_t block = static_cast<size_t>(kBlock) * width_;
    keys_ = carver.take<float>(keyBlocks * block);
    values_ = carver.take<float>(keyBlocks * block);
    queries_ = carver.take<float>(block);
    gathered_ = carver.take<float>(block);
    probabilities_ = carver.take<float>(kChunkBlocks * kBlockElements);
    if (!exists || width_ == headWidth_) return;
    memset(values_, 0, keyBlocks * block * sizeof(float));  // columns from headWidth on stay zero
    for (float* piece : {queries_, gathered_}) memset(piece, 0, block * sizeof(float));
  }

  void packKeys(int block, const Matrix& k, const Matrix& v, const int32_t* rows, int column) {
    gatherHead(k, rows, column, headWidth_, gathered_, width_);
    transpose(gathered_, width_, at(keys_, block));
    gatherHead(v, rows, column, headWidth_, at(values_, block), width_);
  }
  void packQueries(const Matrix& q, const int32_t* rows, int column) { gatherHead(q, rows, column, headWidth_, queries_, width_); }
  void scores(int block, int rows, float* out) {
    product(queries_, width_, 1, at(keys_, block), kBlock, rows, kBlock, headWidth_, false, out, kBlock);
  }
  void keep(int slot, int row, const Floats& low, const Floats& high) {
    store(probabilities_ + slot * kBlockElements + row * kBlock, low, high);
  }
  void addOutput(const int* blocks, int count, int rows, float* sums) {
    for (int j = 0; j < count; j++) {
      product(probabilities_ + j * kBlockElements, kBlock, 1, at(values_, blocks[j]), width_, rows, width_, kBlock, true, sums, width_);
    }
  }

 private:
  float* at(float* blocks, int block) const { return blocks + static_cast<size_t>(block) * kBlock * width_; }

  int headWidth_, width_;
  float *keys_, *values_;  // keys [width][32], values [32][width], block by block
  float *queries_, *gathered_, *probabilities_;
};

class FloatBackward {
 public:
  static void measure(Carver& carver, int headWidth, int keyBlocks) { FloatBackward(carver, headWidth, keyBlocks, false); }
  FloatBackward(Carver& carver, int headWidth, int keyBlocks, bool exists = true) : headWidth_(headWidth), width_(headStride(headWidth)) {
    const size_t block = static_cast<size_t>(kBlock) * width_, all = keyBlocks * block;
    for (float** piece : {&keys_, &values_, &dKeys_, &dValues_}) *piece = carver.take<float>(all);
    for (float** piece : {&queries_, &dOutputs_, &queriesAcross_, &dOutputsAcross_, &dQueries_}) *piece = carver.take<float>(block);
    probabilities_ = carver.take<float>(kBlockElements);
    gradients_ = carver.take<float>(kBlockElements);
    if (!exists || width_ == headWidth_) return;
    for (float* piece : {keys_, values_}) memset(piece, 0, all * sizeof(float));
    for (float* piece : {queries_, dOutputs_}) memset(piece, 0, block * sizeof(float));
  }

  void startSegment(int keyBlocks) {
    for (float* piece : {dKeys_, dValues_}) memset(piece, 0, static_cast<size_t>(keyBlocks) * kBlock * width_ * sizeof(float));
  }
  void packKeys(int block, const Matrix& k, const Matrix& v, const int32_t* rows, int column) {
    gatherHead(k, rows, column, headWidth_, at(keys_, block), width_);
    gatherHead(v, rows, column, headWidth_, at(values_, block), width_);
  }
  void packQueries(const Matrix& q, const Matrix& dOutput, const int32_t* rows, int column) {
    gatherHead(q, rows, column, headWidth_, queries_, width_);
    gatherHead(dOutput, rows, column, headWidth_, dOutputs_, width_);
    transpose(queries_, width_, queriesAcross_);
    transpose(dOutputs_, width_, dOutputsAcross_);
    memset(dQueries_, 0, static_cast<size_t>(kBlock) * width_ * sizeof(float));
  }
  void scores(int block, float* scores, float* products) {
    product(at(keys_, block), width_, 1, queriesAcross_, kBlock, kBlock, kBlock, headWidth_, false, scores, kBlock);
    product(at(values_, block), width_, 1, dOutputsAcross_, kBlock, kBlock, kBlock, headWidth_, false, products, kBlock);
  }
  void keep(int key, const Floats (&probability)[2][2], const Floats (&gradient)[2][2]) {
    for (int odd = 0; odd < 2; odd++) {
      store(probabilities_ + (key + odd) * kBlock, probability[odd][0], probability[odd][1]);
      store(gradients_ + (key + odd) * kBlock, gradient[odd][0], gradient[odd][1]);
    }
  }
  void accumulate(int block) {
    product(probabilities_, kBlock, 1, dOutputs_, width_, kBlock, width_, kBlock, true, at(dValues_, block), width_);
    product(gradients_, kBlock, 1, queries_, width_, kBlock, width_, kBlock, true, at(dKeys_, block), width_);
    product(gradients_, 1, kBlock, at(keys_, block), width_, kBlock, width_, kBlock, true, dQueries_, width_);
  }
  const float* queryGradient() { return dQueries_; }
  const float* keyGradient(int block) const { return at(dKeys_, block); }
  const float* valueGradient(int block) const { return at(dValues_, block); }

 private:
  float* at(float* blocks, int block) const { return blocks + static_cast<size_t>(block) * kBlock * width_; }

  int headWidth_, width_;
  float *keys_, *values_, *dKeys_, *dValues_;  // [32][width], block by block
  float *queries_, *dOutputs_, *dQueries_;     // [32][width]
  float *queriesAcross_, *dOutputsAcross_;     // [width][32]
  float *probabilities_, *gradients_;          // [32 keys][32 queries]
};

}  // namespace

void forwardFloat(Pool& pool, int thread, const Forward& forward, const SegmentPart& part) {
  forwardPart<FloatForward>(pool, thread, forward, part);
}

void backwardFloat(Pool& pool, int thread, const Backward& backward, const std::vector<JoinedSegment>& joinedSegments,
                   const std::vector<int32_t>& slotOfRow, const GroupPart& part) {
  backwardGroup<FloatBackward>(pool, thread, backward, joinedSegments, slotOfRow, part);
}

}  // namespace cre::attend
