// The packed copies of weights. In units of 32 x 32 blocks:
//   forward   panel p (outputs 32p..) at p * inputBlocks, its block of inputs i at + i
//   backward  panel p (inputs 32p..) at p * outputBlocks, its block of outputs o at + o
// A float block is [depth][32 columns of the panel]. A bf16 block is two AMX tiles of 16 x 64 bytes: word c of row r of tile h is the
// pair of depths 2r, 2r + 1 of column 16h + c.
#include <cstring>

#include "matmul/blocks.h"
#include "runtime/kernels.h"
#include "rows/raw_rows.h"
#include "runtime/vector.h"

namespace cre {
namespace {

void roundBlock(float* block) {
  for (int i = 0; i < kBlockElements; i++) block[i] = toFloat(toBf16(block[i]));
}

// A 32 x 32 block w[outputs, inputs] of float into the packed copies; either may be null.
void packBlock(const float* block, bool bf16Precision, void* forward, void* backward) {
#ifdef __AVX512BF16__
  if (bf16Precision) {
    alignas(64) bf16 narrow[kBlockElements];
    narrowBlock(block, narrow);
    if (forward != nullptr) {
      for (int half = 0; half < 2; half++) {
        transposeWords(reinterpret_cast<const uint32_t*>(narrow) + half * 256, 16, static_cast<uint32_t*>(forward) + half * 256, 16);
      }
    }
    if (backward != nullptr) interleaveRows(narrow, static_cast<bf16*>(backward));
    return;
  }
#endif
  (void)bf16Precision;
  if (forward != nullptr) transposeBlock(block, static_cast<float*>(forward));
  if (backward != nullptr) memcpy(backward, block, kBlockElements * sizeof(float));
}

char* blockAt(void* packed, size_t index, bool bf16Precision) {
  return static_cast<char*>(packed) + index * kBlockElements * (bf16Precision ? 2 : 4);
}
const char* blockAt(const void* packed, size_t index, bool bf16Precision) {
  return static_cast<const char*>(packed) + index * kBlockElements * (bf16Precision ? 2 : 4);
}

}  // namespace

size_t packedBytes(int rows, int columns, bool bf16Precision) {
  return static_cast<size_t>(blocksFor(rows)) * blocksFor(columns) * kBlockElements * (bf16Precision ? 2 : 4);
}

void packForward(Pool& pool, const float* rowMajor, int rows, int columns, bool bf16Precision, bool rounded, void* packed) {
  packRows(pool, RawRows{rowMajor, Element::f32, rows, columns}, 0, bf16Precision, rounded, packed);
}

void packRows(Pool& pool, const RawRows& chunk, int firstRow, bool bf16Precision, bool rounded, void* packed) {
  const int columnBlocks = blocksFor(chunk.columns), firstBlock = firstRow / kBlock;
  pool.parallelFor(blocksFor(chunk.rows), [&](int rowBlock, int) {
    alignas(64) float block[kBlockElements];
    const int height = chunk.rows - rowBlock * kBlock < kBlock ? chunk.rows - rowBlock * kBlock : kBlock;
    for (int columnBlock = 0; columnBlock < columnBlocks; columnBlock++) {
      const int column = columnBlock * kBlock, width = chunk.columns - column < kBlock ? chunk.columns - column : kBlock;
      if (height < kBlock || width < kBlock) memset(block, 0, sizeof block);
      for (int r = 0; r < height; r++) readValues(chunk, rowBlock * kBlock + r, column, width, block + r * kBlock);
      if (rounded && !bf16Precision) roundBlock(block);
      const size_t index = static_cast<size_t>(firstBlock + rowBlock) * columnBlocks + columnBlock;
      packBlock(block, bf16Precision, blockAt(packed, index, bf16Precision), nullptr);
    }
  });
}

void packBackward(Pool& pool, const void* forward, int rows, int columns, bool bf16Precision, void* backward) {
  const int rowBlocks = blocksFor(rows), columnBlocks = blocksFor(columns);
  pool.parallelFor(rowBlocks, [&](int rowBlock, int) {
    for (int columnBlock = 0; columnBlock < columnBlocks; columnBlock++) {
      const char* from = blockAt(forward, static_cast<size_t>(rowBlock) * columnBlocks + columnBlock, bf16Precision);
      char* to = blockAt(backward, static_cast<size_t>(columnBlock) * rowBlocks + rowBlock, bf16Precision);
#ifdef __AVX512BF16__
      if (bf16Precision) {
        alignas(64) uint32_t rowsOfBlock[kBlockElements / 2];
        for (int half = 0; half < 2; half++) {
          transposeWords(reinterpret_cast<const uint32_t*>(from) + half * 256, 16, rowsOfBlock + half * 256, 16);
        }
        interleaveRows(reinterpret_cast<const bf16*>(rowsOfBlock), reinterpret_cast<bf16*>(to));
        continue;
      }
#endif
      transposeBlock(reinterpret_cast<const float*>(from), reinterpret_cast<float*>(to));
    }
  });
}

void packFromMaster(Pool& pool, const float* master, int rows, int columns, bool bf16Precision, bool rounded, void* forward,
                    void* backward) {
  const int rowBlocks = blocksFor(rows), columnBlocks = blocksFor(columns);
  pool.parallelFor(rowBlocks, [&](int rowBlock, int) {
    alignas(64) float copy[kBlockElements];
    for (int columnBlock = 0; columnBlock < columnBlocks; columnBlock++) {
      const size_t index = static_cast<size_t>(rowBlock) * columnBlocks + columnBlock;
      const float* block = master + index * kBlockElements;
      if (rounded && !bf16Precision) {
        memcpy(copy, block, sizeof copy);
        roundBlock(copy);
        block = copy;
      }
      const size_t transposed = static_cast<size_t>(columnBlock) * rowBlocks + rowBlock;
      packBlock(block, bf16Precision, forward == nullptr ? nullptr : blockAt(forward, index, bf16Precision),
                backward == nullptr ? nullptr : blockAt(backward, transposed, bf16Precision));
    }
  });
}

void unpackForward(Pool& pool, const void* packed, int rows, int columns, bool bf16Precision, float* rowMajor) {
  pool.parallelFor(blocksFor(rows), [&](int rowBlock, int thread) {
    auto* row = static_cast<float*>(pool.scratch(thread, 1, paddedTo32(columns) * sizeof(float)));
    for (int r = rowBlock * kBlock; r < rows && r < (rowBlock + 1) * kBlock; r++) {
      readForwardRow(packed, rows, columns, bf16Precision, r, row);
      memcpy(rowMajor + static_cast<size_t>(r) * columns, row, columns * sizeof(float));
    }
  });
}

void readForwardRow(const void* packed, int, int columns, bool bf16Precision, int row, float* out) {
  const int columnBlocks = blocksFor(columns);
  for (int columnBlock = 0; columnBlock < columnBlocks; columnBlock++) {
    const char* block = blockAt(packed, static_cast<size_t>(row / kBlock) * columnBlocks + columnBlock, bf16Precision);
    float* values = out + columnBlock * kBlock;
    if (bf16Precision) {
      // Columns 2p and 2p + 1 are the halves of one word.
      const auto* words = reinterpret_cast<const uint32_t*>(block) + row % kBlock / 16 * 256 + row % 16;
#if defined(__AVX512F__)
      const __m512i steps = _mm512_set_epi32(240, 224, 208, 192, 176, 160, 144, 128, 112, 96, 80, 64, 48, 32, 16, 0);
      const __m512i pairs = _mm512_i32gather_epi32(steps, words, sizeof *words);
      bf16 narrow[kBlock];
      memcpy(narrow, &pairs, sizeof narrow);
      store(values, load(narrow), load(narrow + kLanes));
      continue;
#endif
      for (int pair = 0; pair < kBlock / 2; pair++) {
        const uint32_t halves[2] = {words[pair * 16] << 16, words[pair * 16] & 0xffff0000u};
        memcpy(values + 2 * pair, halves, sizeof halves);
      }
      continue;
    }
    for (int c = 0; c < kBlock; c++) values[c] = reinterpret_cast<const float*>(block)[c * kBlock + row % kBlock];
  }
}

// A row has one word in each line of a bf16 tile, and one number in every second line of a float block.
void prefetchForwardRow(const void* packed, int columns, bool bf16Precision, int row) {
  const int columnBlocks = blocksFor(columns);
  const size_t first = static_cast<size_t>(row / kBlock) * columnBlocks;
  const int half = row % kBlock / 16, lines = bf16Precision ? 16 : kBlock, step = bf16Precision ? 64 : 128;
  for (int columnBlock = 0; columnBlock < columnBlocks; columnBlock++) {
    const char* from = blockAt(packed, first + columnBlock, bf16Precision) + half * (bf16Precision ? 1024 : 64);
    for (int line = 0; line < lines; line++) __builtin_prefetch(from + line * step);
  }
}

}  // namespace cre
