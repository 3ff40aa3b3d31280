// Products of bytes (w8a8.h) on every level. A work item is one panel of 32 outputs times some rows: their sums stay in scratch while the
// codes of a few groups of the panel stay in the first-level cache.
#include <algorithm>

#include "matmul/dot_w8a8.h"
#include "matmul/matmul.h"

namespace cre {
namespace {

constexpr int kItemRows = 256;   // a multiple of 32; with their sums half of a second-level cache of 512 KB
constexpr int kChunkGroups = 4;  // 16 KB of codes

// Activations of some rows, and the groups [firstGroup, endGroup) of one panel.
struct Part {
  const uint8_t* x;
  size_t xStride;
  const float* xScales;  // [row][group]
  const ByteLayout& layout;
  const char* codes;  // of the panel
  const float* scales;
  const int32_t* starts;
  int firstGroup, endGroup;
};

// sums[kCount, 32] += the products of kCount rows from `row` on; rows of sums are 32 apart.
template <class Dot, int kCount>
void addRows(const Part& part, int row, float* sums) {
  const uint8_t* const x = part.x + row * part.xStride;
  const float* const xScales = part.xScales + static_cast<size_t>(row) * part.layout.groups;
  for (int column = 0; column < kBlock; column += Dot::kVectors * Dot::kOutputs) {
    for (int group = part.firstGroup; group < part.endGroup; group++) {
      typename Dot::Ints c[kCount][Dot::kVectors];
      const int at = group * kBlock + column;
#pragma GCC unroll 8
      for (int r = 0; r < kCount; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < Dot::kVectors; v++) c[r][v] = Dot::load(part.starts + at + v * Dot::kOutputs);
      }
      const uint8_t* from = x + group * kByteGroup;
      const char* codes = part.codes + (static_cast<size_t>(group) * kByteGroup * kBlock + column * 4);
      // Not unrolled further: the loop then fits in the cache of decoded instructions.
#pragma GCC unroll 2
      for (int quad = part.layout.blocksOf(group) * kQuads; quad > 0; quad--, from += 4, codes += 4 * kBlock) {
#pragma GCC unroll 8
        for (int r = 0; r < kCount; r++) {
          int32_t bytes;
          memcpy(&bytes, from + r * part.xStride, sizeof bytes);
          const typename Dot::Ints both = Dot::broadcast(bytes);
#pragma GCC unroll 8
          for (int v = 0; v < Dot::kVectors; v++) c[r][v] = Dot::dot(c[r][v], both, Dot::load(codes + v * Dot::kOutputs * 4));
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < kCount; r++) {
        const float scale = xScales[static_cast<size_t>(r) * part.layout.groups + group];
#pragma GCC unroll 8
        for (int v = 0; v < Dot::kVectors; v++) {
          const int output = v * Dot::kOutputs;
          Dot::addScaled(c[r][v], part.scales + at + output, scale, sums + r * kBlock + column + output);
        }
      }
    }
  }
}

template <class Dot>
void addAllRows(const Part& part, int rows, float* sums) {
  int row = 0;
  for (; row + Dot::kRows <= rows; row += Dot::kRows) addRows<Dot, Dot::kRows>(part, row, sums + row * kBlock);
  if constexpr (Dot::kRows > 4) {
    for (; row + 4 <= rows; row += 4) addRows<Dot, 4>(part, row, sums + row * kBlock);
  }
  for (; row + 2 <= rows; row += 2) addRows<Dot, 2>(part, row, sums + row * kBlock);
  for (; row < rows; row++) addRows<Dot, 1>(part, row, sums + row * kBlock);
}

using AddAllRows = void (*)(const Part&, int rows, float* sums);

// One panel and rows of every remainder, with a short last group and the extreme codes, against a plain loop.
bool agrees(AddAllRows add) {
  constexpr int kRows = 15, kColumns = kByteGroup + 2 * kBlock, kGroups = 2;
  const ByteLayout layout(kBlock, kColumns);
  alignas(64) static uint8_t x[kRows * kGroups * kByteGroup];
  alignas(64) static char codes[kColumns * kBlock];
  alignas(64) static float scales[kGroups * kBlock], xScales[kRows * kGroups], sums[kRows * kBlock];
  alignas(64) static int32_t starts[kGroups * kBlock];
  uint32_t state = 1;
  const auto next = [&](int least, int count) {
    state = state * 1664525 + 1013904223;
    return least + static_cast<int>((state >> 16) % static_cast<uint32_t>(count));
  };
  // Rows 0 and 1 and outputs 0 and 1 have the largest codes of one sign. Scales are 1, so the sums stay whole numbers below 2^24.
  for (int i = 0; i < kRows * kGroups * kByteGroup; i++) {
    const int row = i / (kGroups * kByteGroup);
    x[i] = static_cast<uint8_t>(row == 0 ? 255 : row == 1 ? 1 : next(1, 255));
  }
  for (int i = 0; i < kColumns * kBlock; i++) {
    const int output = i / 4 % kBlock;
    codes[i] = static_cast<char>(output == 0 ? 64 : output == 1 ? -64 : next(-64, 129));
  }
  for (float& scale : scales) scale = 1;
  for (float& scale : xScales) scale = 1;
  for (float& sum : sums) sum = 0;
  const auto codeAt = [&](int column, int output) { return static_cast<int8_t>(codes[column / 4 * 4 * kBlock + output * 4 + column % 4]); };
  for (int i = 0; i < kGroups * kBlock; i++) starts[i] = 0;
  for (int column = 0; column < kColumns; column++) {
    for (int output = 0; output < kBlock; output++) starts[column / kByteGroup * kBlock + output] -= kCodeOffset * codeAt(column, output);
  }
  add(Part{x, kGroups * kByteGroup, xScales, layout, codes, scales, starts, 0, kGroups}, kRows, sums);
  for (int row = 0; row < kRows; row++) {
    for (int output = 0; output < kBlock; output++) {
      int32_t sum = 0;
      for (int column = 0; column < kColumns; column++) {
        sum += (x[row * kGroups * kByteGroup + column] - kCodeOffset) * codeAt(column, output);
      }
      if (sums[row * kBlock + output] != static_cast<float>(sum)) return false;
    }
  }
  return true;
}

struct Instructions {
  const char* name;
  AddAllRows add;
};

template <class Dot>
bool choose(Instructions& chosen) {
  if (!Dot::isPresent() || !agrees(addAllRows<Dot>)) return false;
  chosen = {Dot::kName, addAllRows<Dot>};
  return true;
}

Instructions chooseInstructions() {
  Instructions chosen{"", nullptr};
#if defined(__AVX512F__)
  choose<Vnni512>(chosen) || choose<Multiply512>(chosen);
#elif defined(__AVX2__)
#if defined(CRE_AVX_VNNI)
  if (choose<Vnni256>(chosen)) return chosen;
#endif
  choose<Multiply256>(chosen);
#else
  choose<PlainDot>(chosen);
#endif
  return chosen;
}

const Instructions& instructions() {
  static const Instructions chosen = chooseInstructions();
  return chosen;
}

}  // namespace

const char* byteInstructions() { return instructions().name; }

void multiplyBytes(Pool& pool, const Matrix& x, const WeightView& w, const MatmulEpilogue& epilogue, Matrix& y) {
  const ByteLayout layout(w.rows, w.columns);
  const size_t stride = static_cast<size_t>(layout.groups) * kByteGroup;
  const size_t scaleBytes = (static_cast<size_t>(x.rows) * layout.groups * sizeof(float) + 63) / 64 * 64;
  auto* xScales = static_cast<float*>(pool.sharedScratch(0, scaleBytes + x.rows * stride));
  auto* xCodes = reinterpret_cast<uint8_t*>(xScales) + scaleBytes;
  quantizeActivations(pool, x, xCodes, stride, xScales);
  Product product;
  product.epilogue = epilogue;
  product.y = &y;
  const AddAllRows add = instructions().add;
  const auto* data = static_cast<const char*>(w.forward);
  const int panels = blocksFor(w.rows), rowItems = (x.rows + kItemRows - 1) / kItemRows;
  withFinish(product, [&](const auto& finish) {
    // Items that follow each other share their rows, which stay in the second-level cache.
    pool.parallelFor(panels * rowItems, [&](int item, int thread) {
      const int panel = item % panels, firstRow = item / panels * kItemRows, rows = std::min(kItemRows, x.rows - firstRow);
      auto* sums = static_cast<float*>(pool.scratch(thread, 0, static_cast<size_t>(paddedTo32(rows)) * kBlock * sizeof(float)));
      memset(sums, 0, static_cast<size_t>(rows) * kBlock * sizeof(float));
      Part part{xCodes + firstRow * stride,
                stride,
                xScales + static_cast<size_t>(firstRow) * layout.groups,
                layout,
                data + layout.codes(panel, 0),
                reinterpret_cast<const float*>(data + layout.scalesAt) + layout.scales(panel, 0),
                reinterpret_cast<const int32_t*>(data + layout.startsAt) + layout.scales(panel, 0),
                0,
                0};
      for (int group = 0; group < layout.groups; group += kChunkGroups) {
        part.firstGroup = group;
        part.endGroup = std::min(group + kChunkGroups, layout.groups);
        add(part, rows, sums);
      }
      for (int row = 0; row < rows; row += kBlock) {
        finish(sums + static_cast<size_t>(row) * kBlock, (firstRow + row) / kBlock, panel, 0, kBlock);
      }
    });
  });
}

}  // namespace cre
