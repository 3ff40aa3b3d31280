#include "attention_driver.h"
#include "blocks.h"

// Attention on AMX tiles: all products of bf16 blocks with float sums. Every packed block is 32 x 32 elements, two tiles: a left factor is
// row-major (rows 0..15, 16..31), a right factor has pairs of rows interleaved (columns 0..15, 16..31).

namespace cre::attend {

#ifdef __AMX_BF16__
namespace {

template <int kTile>
CRE_INLINE void loadTile(const void* from, size_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
CRE_INLINE void storeTile(void* to, size_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
CRE_INLINE void zeroTile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kSum, int kLeft, int kRight>
CRE_INLINE void multiplyTiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kLeft), "i"(kRight));
}

// Tiles 0..3 are the quarters of a 32 x 32 block of float sums.
CRE_INLINE void zeroSums() {
  zeroTile<0>();
  zeroTile<1>();
  zeroTile<2>();
  zeroTile<3>();
}
CRE_INLINE void loadSums(const float* sums, size_t stride) {
  loadTile<0>(sums, stride * 4);
  loadTile<1>(sums + 16, stride * 4);
  loadTile<2>(sums + 16 * stride, stride * 4);
  loadTile<3>(sums + 16 * stride + 16, stride * 4);
}
CRE_INLINE void storeSums(float* sums, size_t stride) {
  storeTile<0>(sums, stride * 4);
  storeTile<1>(sums + 16, stride * 4);
  storeTile<2>(sums + 16 * stride, stride * 4);
  storeTile<3>(sums + 16 * stride + 16, stride * 4);
}
// sums += left · right, one block each.
CRE_INLINE void multiplyBlocks(const bf16* left, const bf16* right) {
  loadTile<6>(right, 64);
  loadTile<4>(left, 64);
  multiplyTiles<0, 4, 6>();
  loadTile<7>(right + 512, 64);
  multiplyTiles<1, 4, 7>();
  loadTile<5>(left + 512, 64);
  multiplyTiles<2, 5, 6>();
  multiplyTiles<3, 5, 7>();
}
CRE_INLINE void addProduct(const bf16* left, const bf16* right, float* sums, size_t stride) {
  loadSums(sums, stride);
  multiplyBlocks(left, right);
  storeSums(sums, stride);
}

// A right factor from a row-major block whose rows are its columns.
CRE_INLINE void packAcross(const bf16* rows, bf16* out) {
  const auto* in = reinterpret_cast<const uint32_t*>(rows);
  transposeWords(in, kLanes, reinterpret_cast<uint32_t*>(out), kLanes);
  transposeWords(in + 16 * kLanes, kLanes, reinterpret_cast<uint32_t*>(out) + 16 * kLanes, kLanes);
}

// The 32 columns from `column` on of 32 rows.
CRE_INLINE void gatherBlock(const Matrix& matrix, const int32_t* rows, int column, bf16* out) {
  const int blocks = matrix.columnBlocks();
  for (int r = 0; r < kBlock; r++, out += kBlock) {
    if (rows[r] < 0) _mm512_store_si512(out, _mm512_setzero_si512());
    else _mm512_store_si512(out, _mm512_load_si512(rowChunk(matrix.b16(), blocks, rows[r], column / kBlock)));
  }
}

class TileForward {
 public:
  static void measure(Carver& carver, int headWidth, int keyBlocks) { TileForward(carver, headWidth, keyBlocks); }
  TileForward(Carver& carver, int headWidth, int keyBlocks) : width_(headWidth), parts_(headWidth / kBlock) {
    keys_ = carver.take<bf16>(static_cast<size_t>(keyBlocks) * parts_ * kBlockElements);
    values_ = carver.take<bf16>(static_cast<size_t>(keyBlocks) * parts_ * kBlockElements);
    queries_ = carver.take<bf16>(parts_ * kBlockElements);
    gathered_ = carver.take<bf16>(kBlockElements);
    probabilities_ = carver.take<bf16>(kChunkBlocks * kBlockElements);
  }

  void packKeys(int block, const Matrix& k, const Matrix& v, const int32_t* rows, int column) {
    for (int part = 0; part < parts_; part++) {
      gatherBlock(k, rows, column + part * kBlock, gathered_);
      packAcross(gathered_, at(keys_, block, part));
      gatherBlock(v, rows, column + part * kBlock, gathered_);
      interleaveRows(gathered_, at(values_, block, part));
    }
  }
  void packQueries(const Matrix& q, const int32_t* rows, int column) {
    for (int part = 0; part < parts_; part++) gatherBlock(q, rows, column + part * kBlock, at(queries_, 0, part));
  }
  void scores(int block, int, float* out) {
    zeroSums();
    for (int part = 0; part < parts_; part++) multiplyBlocks(at(queries_, 0, part), at(keys_, block, part));
    storeSums(out, kBlock);
  }
  void keep(int slot, int row, const Floats& low, const Floats& high) {
    store(probabilities_ + slot * kBlockElements + row * kBlock, low, high);
  }
  void addOutput(const int* blocks, int count, int rows, float* sums) {
    for (int j = 0; j < count && rows < kBlock; j++) {
      bf16* missing = probabilities_ + j * kBlockElements + rows * kBlock;
      memset(missing, 0, (kBlock - rows) * kBlock * sizeof(bf16));
    }
    for (int part = 0; part < parts_; part++) {
      float* columns = sums + part * kBlock;
      loadSums(columns, width_);
      for (int j = 0; j < count; j++) multiplyBlocks(probabilities_ + j * kBlockElements, at(values_, blocks[j], part));
      storeSums(columns, width_);
    }
  }

 private:
  bf16* at(bf16* packed, int block, int part) const { return packed + (static_cast<size_t>(block) * parts_ + part) * kBlockElements; }

  int width_, parts_;
  bf16 *keys_, *values_;  // right factors kᵀ and v
  bf16 *queries_, *gathered_, *probabilities_;
};

class TileBackward {
 public:
  static void measure(Carver& carver, int headWidth, int keyBlocks) { TileBackward(carver, headWidth, keyBlocks); }
  TileBackward(Carver& carver, int headWidth, int keyBlocks) : width_(headWidth), parts_(headWidth / kBlock) {
    const size_t head = static_cast<size_t>(parts_) * kBlockElements;
    for (bf16** piece : {&keys_, &values_, &keysAcross_}) *piece = carver.take<bf16>(keyBlocks * head);
    for (float** piece : {&dKeys_, &dValues_}) *piece = carver.take<float>(keyBlocks * head);
    for (bf16** piece : {&queries_, &queriesAcross_, &dOutputs_, &dOutputsAcross_}) *piece = carver.take<bf16>(head);
    for (bf16** piece : {&gathered_, &probabilities_, &gradients_, &gradientsRight_}) *piece = carver.take<bf16>(kBlockElements);
    for (float** piece : {&dQueriesAcross_, &dQueries_}) *piece = carver.take<float>(head);
  }

  void startRun(int keyBlocks) {
    const size_t bytes = static_cast<size_t>(keyBlocks) * parts_ * kBlockElements * sizeof(float);
    memset(dKeys_, 0, bytes);
    memset(dValues_, 0, bytes);
  }
  void packKeys(int block, const Matrix& k, const Matrix& v, const int32_t* rows, int column) {
    for (int part = 0; part < parts_; part++) {
      gatherBlock(k, rows, column + part * kBlock, at(keys_, block, part));
      transposeBlock(at(keys_, block, part), at(keysAcross_, block, part));
      gatherBlock(v, rows, column + part * kBlock, at(values_, block, part));
    }
  }
  void packQueries(const Matrix& q, const Matrix& dOutput, const int32_t* rows, int column) {
    for (int part = 0; part < parts_; part++) {
      gatherBlock(q, rows, column + part * kBlock, gathered_);
      interleaveRows(gathered_, at(queries_, 0, part));
      packAcross(gathered_, at(queriesAcross_, 0, part));
      gatherBlock(dOutput, rows, column + part * kBlock, gathered_);
      interleaveRows(gathered_, at(dOutputs_, 0, part));
      packAcross(gathered_, at(dOutputsAcross_, 0, part));
    }
    memset(dQueriesAcross_, 0, static_cast<size_t>(parts_) * kBlockElements * sizeof(float));
  }
  void scores(int block, float* scores, float* products) {
    zeroSums();
    for (int part = 0; part < parts_; part++) multiplyBlocks(at(keys_, block, part), at(queriesAcross_, 0, part));
    storeSums(scores, kBlock);
    zeroSums();
    for (int part = 0; part < parts_; part++) multiplyBlocks(at(values_, block, part), at(dOutputsAcross_, 0, part));
    storeSums(products, kBlock);
  }
  void keep(int key, const Floats (&probability)[2][2], const Floats (&gradient)[2][2]) {
    for (int odd = 0; odd < 2; odd++) {
      store(probabilities_ + (key + odd) * kBlock, probability[odd][0], probability[odd][1]);
      store(gradients_ + (key + odd) * kBlock, gradient[odd][0], gradient[odd][1]);
    }
  }
  void accumulate(int block) {
    interleaveRows(gradients_, gradientsRight_);
    for (int part = 0; part < parts_; part++) {
      const size_t column = static_cast<size_t>(block) * kBlock * width_ + part * kBlock;
      addProduct(probabilities_, at(dOutputs_, 0, part), dValues_ + column, width_);
      addProduct(gradients_, at(queries_, 0, part), dKeys_ + column, width_);
      addProduct(at(keysAcross_, block, part), gradientsRight_, dQueriesAcross_ + part * kBlockElements, kBlock);
    }
  }
  const float* queryGradient() {
    for (int part = 0; part < parts_; part++) {
      const auto* in = reinterpret_cast<const uint32_t*>(dQueriesAcross_ + part * kBlockElements);
      auto* out = reinterpret_cast<uint32_t*>(dQueries_ + part * kBlock);
      for (int row = 0; row < kBlock; row += kLanes) {
        for (int column = 0; column < kBlock; column += kLanes) {
          transposeWords(in + row * kBlock + column, kBlock, out + static_cast<size_t>(column) * width_ + row, width_);
        }
      }
    }
    return dQueries_;
  }
  const float* keyGradient(int block) const { return dKeys_ + static_cast<size_t>(block) * kBlock * width_; }
  const float* valueGradient(int block) const { return dValues_ + static_cast<size_t>(block) * kBlock * width_; }

 private:
  template <class T>
  T* at(T* packed, int block, int part) const {
    return packed + (static_cast<size_t>(block) * parts_ + part) * kBlockElements;
  }

  int width_, parts_;
  bf16 *keys_, *values_, *keysAcross_;  // left factors k, v, kᵀ
  float *dKeys_, *dValues_;             // [32][width], block by block
  bf16 *queries_, *dOutputs_;           // right factors q, dOutput
  bf16 *queriesAcross_, *dOutputsAcross_;  // right factors qᵀ, dOutputᵀ
  bf16 *gathered_, *probabilities_, *gradients_, *gradientsRight_;  // [32 keys][32 queries], left factors; gradients also as right factor
  float *dQueriesAcross_, *dQueries_;   // [width][32], [32][width]
};

}  // namespace

bool tilesFit(const Matrix& q, const Matrix& k, const Matrix& v, int headWidth) {
  return q.isBf16 && k.isBf16 && v.isBf16 && headWidth % kBlock == 0;
}
void forwardTiles(Pool& pool, int thread, const Forward& forward, const RunPart& part) {
  forwardPart<TileForward>(pool, thread, forward, part);
}
void backwardTiles(Pool& pool, int thread, const Backward& backward, const std::vector<Run>& runs,
                   const std::vector<int32_t>& slotOfRow, const GroupPart& part) {
  backwardGroup<TileBackward>(pool, thread, backward, runs, slotOfRow, part);
}

#else

bool tilesFit(const Matrix&, const Matrix&, const Matrix&, int) { return false; }
void forwardTiles(Pool&, int, const Forward&, const RunPart&) {}
void backwardTiles(Pool&, int, const Backward&, const std::vector<Run>&, const std::vector<int32_t>&, const GroupPart&) {}

#endif

}  // namespace cre::attend
