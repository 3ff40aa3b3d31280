// Products of the backward pass of a low-rank adapter with its wide matrices, in bf16. The wide matrices are read once, row block by
// row block, in place, because reading them is nearly all the work.
#include "matmul/blocks.h"
#include "matmul/matmul_bf16.h"

#ifdef __AVX512BF16__

namespace cre {
namespace {

constexpr int kThin = 16;        // columns, the number of rows of a tile
constexpr int kMostChunks = 16;  // of tokens, whose sums are added in order; does not depend on the number of threads

// sums[thin columns][wide columns] = thinᵀ · wide over a chunk of row blocks, and rows of product = wide · right in the same pass.
struct ThinPass {
  const Matrix& wide;  // bf16 [T,N]
  const Matrix& thin;  // [T,R]
  const bf16* right;   // a panel of N rows of depth and up to 16 columns, or null
  Matrix* product;     // float [T,R], or null
  float scale;         // of the product

  static size_t sumElements(const Matrix& wide) { return static_cast<size_t>(wide.columnBlocks()) * kThin * kBlock; }

  void chunk(int firstRow, int endRow, float* sums) const {
    alignas(64) bf16 arranged[2][kBlockElements], across[kBlockElements];
    alignas(64) float rows[kBlock * kThin];
    const int columnBlocks = wide.columnBlocks();
    for (int row = firstRow; row < endRow; row++) {
      const bf16* blocks = wide.b16() + static_cast<size_t>(row) * columnBlocks * kBlockElements;
      leftFactor(row, across);
      beginProduct(across, rows);
      interleaveRows(blocks, arranged[0]);
      for (int column = 0; column < columnBlocks; column++) {
        const bf16* block = blocks + static_cast<size_t>(column) * kBlockElements;
        const bf16* now = arranged[column & 1];
        float* sum = sums + static_cast<size_t>(column) * kThin * kBlock;
        // Prepares the next block while the tiles work on this one: a tile cannot load at once what a vector has just stored.
        if (column + 1 < columnBlocks) interleaveRows(block + kBlockElements, arranged[(column + 1) & 1]);
        for (int line = 0; line < kBlock; line++) __builtin_prefetch(block + kAheadBlocks * kBlockElements + line * kBlock, 0, 2);
        addGradient(across, now, row > firstRow, sum);
        if (right != nullptr) addProduct(block, right + static_cast<size_t>(column) * kBlockElements, rows);
      }
      if (right == nullptr) continue;
      endProduct(rows);
      finishProduct(row, rows);
    }
  }

 private:
  static constexpr int kAheadBlocks = 8;

#ifdef __AMX_BF16__
  // Tile 4 keeps the left factor of the gradient, tiles 2 and 3 the sums of the product.
  CRE_INLINE static void beginProduct(const bf16* across, float*) {
    memoryBarrier();
    loadTile<4>(across, kTileStride);
    zeroTile<2>();
    zeroTile<3>();
  }
  CRE_INLINE static void addGradient(const bf16*, const bf16* arranged, bool accumulate, float* sum) {
    memoryBarrier();
    if (accumulate) {
      loadTile<0>(sum, kSumStride);
      loadTile<1>(sum + 16, kSumStride);
    } else {
      zeroTile<0>();
      zeroTile<1>();
    }
    loadTile<6>(arranged, kTileStride);
    multiplyTiles<0, 4, 6>();
    loadTile<7>(arranged + kTileElements, kTileStride);
    multiplyTiles<1, 4, 7>();
    storeTile<0>(sum);
    storeTile<1>(sum + 16);
  }
  CRE_INLINE static void addProduct(const bf16* block, const bf16* panel, float*) {
    loadTile<6>(panel, kTileStride);
    loadTile<5>(block, kTileStride);
    multiplyTiles<2, 5, 6>();
    loadTile<7>(block + kTileElements, kTileStride);
    multiplyTiles<3, 7, 6>();
  }
  CRE_INLINE static void endProduct(float* rows) {
    storeRows<2>(rows);
    storeRows<3>(rows + kThin * kThin);
    memoryBarrier();
  }
  template <int kTile>
  static void storeRows(float* to) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(static_cast<long>(kThin * sizeof(float))), "i"(kTile) : "memory");
  }
#else
  CRE_INLINE static void beginProduct(const bf16*, float* rows) { memset(rows, 0, kBlock * kThin * sizeof(float)); }
  CRE_INLINE static void addGradient(const bf16* across, const bf16* arranged, bool accumulate, float* sum) {
    const DepthBlocks factors{across, 0, arranged, 0, 1};
    for (int row = 0; row < kThin; row += 8) addRows<8, 2>(&factors, 1, row, accumulate ? sum : nullptr, sum);
  }
  CRE_INLINE static void addProduct(const bf16* block, const bf16* panel, float* rows) {
    const DepthBlocks factors{block, 0, panel, 0, 1};
    for (int row = 0; row < kBlock; row += 16) addRows<16, 1, kThin>(&factors, 1, row, rows, rows);
  }
  CRE_INLINE static void endProduct(float*) {}
#endif

  // The thin columns of 32 tokens as rows, in the first half of `across`.
  void leftFactor(int row, bf16* across) const {
    const size_t at = static_cast<size_t>(row) * thin.columnBlocks() * kBlockElements;
    if (thin.isBf16) return transposeBlock(thin.b16() + at, across);
    alignas(64) bf16 narrow[kBlockElements];
    narrowBlock(thin.f32() + at, narrow);
    transposeBlock(narrow, across);
  }

  void finishProduct(int row, const float* rows) const {
    float* to = product->f32() + static_cast<size_t>(row) * kBlockElements;
    const int filled = std::min(kBlock, product->rows - row * kBlock);
    for (int r = 0; r < kBlock; r++, to += kBlock) {
      store(to, r < filled ? load(rows + r * kThin) * broadcast(scale) : zeros());
      store(to + kLanes, zeros());
    }
  }
};

// gradient[N,R] += scale · the sums of all chunks, which are transposed.
void addSums(Pool& pool, const float* sums, int chunks, size_t elements, float scale, Matrix& gradient) {
  pool.parallelFor(gradient.rowBlocks(), [&](int block, int) {
    alignas(64) float total[kThin * kBlock], transposed[kBlock * kThin];
    for (int i = 0; i < kThin * kBlock; i += kLanes) {
      const float* from = sums + static_cast<size_t>(block) * kThin * kBlock + i;
      Floats sum = load(from);
      for (int chunk = 1; chunk < chunks; chunk++) sum = sum + load(from + chunk * elements);
      store(total + i, sum * broadcast(scale));
    }
    float* to = gradient.f32() + static_cast<size_t>(block) * kBlockElements;
    for (int half = 0; half < 2; half++) {
      transposeWords(reinterpret_cast<const uint32_t*>(total) + half * 16, kBlock,
                     reinterpret_cast<uint32_t*>(transposed) + half * 16 * kThin, kThin);
    }
    for (int row = 0; row < kBlock; row++) store(to + row * kBlock, load(to + row * kBlock) + load(transposed + row * kThin));
  });
}

void thinGradient(Pool& pool, const ThinPass& pass, float scale, Matrix& gradient) {
  const int rowBlocks = pass.wide.rowBlocks(), chunks = std::min(kMostChunks, rowBlocks);
  const size_t elements = ThinPass::sumElements(pass.wide);
  auto* sums = static_cast<float*>(pool.sharedScratch(0, chunks * elements * sizeof(float)));
  pool.parallelFor(
      chunks, [&](int chunk, int) { pass.chunk(rowBlocks * chunk / chunks, rowBlocks * (chunk + 1) / chunks, sums + chunk * elements); });
  addSums(pool, sums, chunks, elements, scale, gradient);
}

}  // namespace

bool isThinGradient(const Matrix& dy, const Matrix& x) { return x.columns <= kThin && dy.isBf16; }

void thinGradientBf16(Pool& pool, const Matrix& dy, const Matrix& x, float scale, Matrix& gradient) {
  thinGradient(pool, {dy, x, nullptr, nullptr, 1}, scale, gradient);
}

void thinBackwardBf16(Pool& pool, const Matrix& dy, const Matrix& x, float scale, WeightView& w, Matrix& dx) {
  Matrix gradient{w.gradient, w.rows, w.columns, false};
  thinGradient(pool, {dy, x, static_cast<const bf16*>(w.backward), &dx, scale}, scale, gradient);
}

bool canBackTogether(const Matrix& dy, const Matrix& x, const WeightView& w, const Matrix& dx) {
  return w.packedBf16 && w.backward != nullptr && x.columns <= kThin && dy.isBf16 && !dx.isBf16 && dx.rows > 1;
}

}  // namespace cre

#endif
