// Products of up to 64 rows with quantised weights. Blocks of dequantised rows, [outputs][inputs], are left factors without conversion, and
// x, transposed once, is the right factor. Blocks are made in chunks: the first 32 rows use each block when it is made, the others find it
// in the first-level cache.
#include "matmul/matmul_few_rows.h"

#include "matmul/matmul_bf16.h"
#include "matmul/quantized.h"

#ifdef __AVX512BF16__

namespace cre {
namespace {

constexpr int kChunkBlocks = 8;  // of depth: 16 KB in bf16

#ifdef __AMX_BF16__
CRE_INLINE void startSums(float* sums, bool accumulate) {
  startSum<0>(sums, accumulate);
  startSum<1>(sums, accumulate);
  startSum<2>(sums, accumulate);
  startSum<3>(sums, accumulate);
}
CRE_INLINE void storeSums(float* sums) {
  storeTile<0>(quarter<0>(sums));
  storeTile<1>(quarter<1>(sums));
  storeTile<2>(quarter<2>(sums));
  storeTile<3>(quarter<3>(sums));
}

// sums[outputs][rows of x] += one block; kTiles tiles of 16 rows of x.
template <int kTiles>
CRE_INLINE void addBlock(const bf16* weights, const bf16* x) {
  loadTile<6>(x, kTileStride);
  loadTile<4>(weights, kTileStride);
  multiplyTiles<0, 4, 6>();
  loadTile<5>(weights + kTileElements, kTileStride);
  multiplyTiles<2, 5, 6>();
  if constexpr (kTiles == 1) return;
  loadTile<7>(x + kTileElements, kTileStride);
  multiplyTiles<1, 4, 7>();
  multiplyTiles<3, 5, 7>();
}

// sums[outputs][rows of x] += `count` blocks, each after make(block); kTiles tiles of 16 rows of x.
template <int kTiles, class Make>
CRE_INLINE void addBlocks(const bf16* weights, const bf16* x, int count, bool accumulate, float* sums, Make&& make) {
  memoryBarrier();
  startSums(sums, accumulate);
  for (int i = 0; i < count; i++) {
    make(i);
    addBlock<kTiles>(weights + i * kBlockElements, x + i * kBlockElements);
  }
  storeSums(sums);
  memoryBarrier();
}
#else
CRE_INLINE void memoryBarrier() {}

// sums[outputs][rows of x] += `count` blocks, after make(block) for all of them; kTiles vectors of 16 rows of x.
template <int kTiles, class Make>
CRE_INLINE void addBlocks(const bf16* weights, const bf16* x, int count, bool accumulate, float* sums, Make&& make) {
  for (int i = 0; i < count; i++) make(i);
  const DepthBlocks factors{weights, kBlockElements, x, kBlockElements, count};
  constexpr int kRows = kTiles == 1 ? 16 : 8;
  for (int row = 0; row < kBlock; row += kRows) addRows<kRows, kTiles>(&factors, 1, row, accumulate ? sums : nullptr, sums);
}
#endif

// Dequantises `blocks` blocks of a group of 32 outputs to bf16.
template <Storage kStorage>
CRE_INLINE void makeGroup(const Quantized<kStorage>& quantized, int panel, int block, int blocks, bf16* out) {
  constexpr int kAheadBytes = 4096, kLinesOfFour = kStorage == Storage::int8 ? 4 : 2;  // lines of four rows of a group
  alignas(64) float scales[kBlock];
  const char* codes = quantized.codes(panel, block);
  quantized.scales(panel, block, scales);
  for (int r = 0; r < kBlock; r += 4) {
    for (int line = 0; line < kLinesOfFour; line++) __builtin_prefetch(codes + kAheadBytes + (r / 4 * kLinesOfFour + line) * 64, 0, 3);
    if (blocks == kGroupBlocks) quantized.template fourRows<kGroupBlocks>(codes, scales, r, out);
    else quantized.fourRows(codes, scales, r, out);
  }
  memoryBarrier();
}

// One panel; `transposed` holds x by row blocks, `made` the blocks of a chunk, `sums` three blocks. kTiles tiles in the last row block.
template <int kRowBlocks, int kTiles, Storage kStorage, class FinishRows>
void multiplyPanel(const Product& product, const Quantized<kStorage>& quantized, const bf16* transposed, int panel, bf16* made, float* sums,
                   const FinishRows& finish) {
  const int all = product.depthBlocks;
  for (int chunk = 0; chunk < all; chunk += kChunkBlocks) {
    const int count = std::min(kChunkBlocks, all - chunk);
    const bf16* x = transposed + static_cast<size_t>(chunk) * kBlockElements;
    const auto make = [&](int i) {
      if (i % kGroupBlocks == 0) makeGroup(quantized, panel, chunk + i, std::min(kGroupBlocks, count - i), made + i * kBlockElements);
    };
    addBlocks<kRowBlocks == 1 ? kTiles : 2>(made, x, count, chunk > 0, sums, make);
    if constexpr (kRowBlocks == 1) continue;
    x += static_cast<size_t>(all) * kBlockElements;
    addBlocks<kTiles>(made, x, count, chunk > 0, sums + kBlockElements, [](int) {});
  }
  for (int row = 0; row < kRowBlocks; row++) {
    transposeBlock(sums + row * kBlockElements, sums + 2 * kBlockElements);
    finish(sums + 2 * kBlockElements, row, panel, 0, kBlock);
  }
}

template <int kRowBlocks, int kTiles, Storage kStorage>
void multiply(Pool& pool, const Product& product) {
  const Quantized<kStorage> quantized(*product.source);
  auto* transposed =
      static_cast<bf16*>(pool.sharedScratch(1, kRowBlocks * static_cast<size_t>(product.depthBlocks) * kBlockElements * sizeof(bf16)));
  for (int row = 0; row < kRowBlocks; row++) {
    for (int block = 0; block < product.depthBlocks; block++) {
      const bf16* from = static_cast<const bf16*>(product.a) + row * product.aRowBlockStride + block * product.aDepthBlockStride;
      bf16* to = transposed + (static_cast<size_t>(row) * product.depthBlocks + block) * kBlockElements;
      for (int half = 0; half < (row + 1 < kRowBlocks ? 2 : kTiles); half++) {
        transposeWords(reinterpret_cast<const uint32_t*>(from) + half * 256, 16, reinterpret_cast<uint32_t*>(to) + half * 256, 16);
      }
    }
  }
  withFinish(product, [&](const auto& finish) {
    pool.parallelFor(product.y->columnBlocks(), [&](int panel, int thread) {
      auto* made = static_cast<bf16*>(pool.scratch(thread, 1, kChunkBlocks * kBlockElements * sizeof(bf16)));
      auto* sums = static_cast<float*>(pool.scratch(thread, 0, 3 * kBlockElements * sizeof(float)));
      multiplyPanel<kRowBlocks, kTiles>(product, quantized, transposed, panel, made, sums, finish);
    });
  });
}

template <int kRowBlocks>
void multiplyRowBlocks(Pool& pool, const Product& product) {
  const int rest = product.y->rows % kBlock;
  const bool full = rest == 0 || rest > kBlock / 2, isInt8 = product.source->storage == Storage::int8;
  if (isInt8 && full) multiply<kRowBlocks, 2, Storage::int8>(pool, product);
  else if (isInt8) multiply<kRowBlocks, 1, Storage::int8>(pool, product);
  else if (full) multiply<kRowBlocks, 2, Storage::nf4>(pool, product);
  else multiply<kRowBlocks, 1, Storage::nf4>(pool, product);
}

}  // namespace

#ifndef __AMX_BF16__
void multiplyOneRowBlock(Pool& pool, const Product& product) { multiplyRowBlocks<1>(pool, product); }
#endif

void multiplyTwoRowBlocks(Pool& pool, const Product& product) { multiplyRowBlocks<2>(pool, product); }

}  // namespace cre

#endif
