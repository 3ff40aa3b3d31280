// Products of bytes (w8a8.h) on every level. A work item is one panel of 32 outputs times some rows: their sums stay in scratch while the
// codes of a few groups of the panel stay in the first-level cache.
#include <algorithm>

#include "matmul/dot_w8a8.h"
#include "matmul/matmul.h"
#include "matmul/tiles_w8a8.h"
#include "runtime/tiles.h"

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
        for (int v = 0; v < Dot::kVectors; v++) c[r][v] = Dot::start(part.starts + at + v * Dot::kOutputs);
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

// A small product of whole numbers and what a plain loop makes of it: a panel, rows of every remainder, a short last group, the extreme codes.
struct Trial {
  static constexpr int kRows = 47, kPaddedRows = 2 * kBlock, kColumns = kByteGroup + 3 * kBlock, kGroups = 2;
  const ByteLayout layout{kBlock, kColumns};
  alignas(64) int8_t x[kRows][kGroups * kByteGroup] = {};
  alignas(64) char codes[kColumns * kBlock];
  alignas(64) float scales[kGroups * kBlock], xScales[kPaddedRows * kGroups];
  alignas(64) int32_t starts[kGroups * kBlock] = {};
  float expected[kRows][kBlock];

  // Rows 0 and 1 and outputs 0 and 1 have the largest codes of one sign. Scales are 1, so the sums stay whole numbers below 2^24.
  Trial() {
    uint32_t state = 1;
    const auto next = [&](int least, int count) {
      state = state * 1664525 + 1013904223;
      return least + static_cast<int>((state >> 16) % static_cast<uint32_t>(count));
    };
    for (int row = 0; row < kRows; row++) {
      for (int i = 0; i < kColumns; i++) x[row][i] = static_cast<int8_t>(row == 0 ? 127 : row == 1 ? -127 : next(-127, 255));
    }
    for (int i = 0; i < kColumns * kBlock; i++) {
      const int output = i / 4 % kBlock;
      codes[i] = static_cast<char>(output == 0 ? 64 : output == 1 ? -64 : next(-64, 129));
    }
    for (float& scale : scales) scale = 1;
    for (float& scale : xScales) scale = 1;
    for (int output = 0; output < kBlock; output++) {
      for (int column = 0; column < kColumns; column++) starts[column / kByteGroup * kBlock + output] -= kCodeOffset * codeAt(column, output);
      for (int row = 0; row < kRows; row++) {
        int32_t sum = 0;
        for (int column = 0; column < kColumns; column++) sum += x[row][column] * codeAt(column, output);
        expected[row][output] = static_cast<float>(sum);
      }
    }
  }
  int codeAt(int column, int output) const { return static_cast<int8_t>(codes[column / 4 * 4 * kBlock + output * 4 + column % 4]); }
  void fill(const ActivationCodes& to) const {
    for (int row = 0; row < kRows; row++) {
      for (int i = 0; i < kGroups * kByteGroup; i++) {
        const int code = x[row][i] + (to.inTiles ? 0 : kCodeOffset);
        to.at(row, i / kByteGroup)[i % kByteGroup / kStepInputs * to.stepStride() + i % kStepInputs] = static_cast<uint8_t>(code);
      }
    }
  }
  // Whether [row][32] sums are right.
  bool accepts(const float* sums) const { return memcmp(sums, expected, sizeof expected) == 0; }
};

bool agrees(AddAllRows add) {
  const Trial trial;
  alignas(64) static uint8_t memory[Trial::kRows * Trial::kGroups * kByteGroup];
  alignas(64) static float sums[Trial::kRows * kBlock];
  memset(sums, 0, sizeof sums);
  const ActivationCodes x{memory, nullptr, Trial::kGroups, false};
  trial.fill(x);
  add(Part{memory, x.rowBytes(), trial.xScales, trial.layout, trial.codes, trial.scales, trial.starts, 0, Trial::kGroups}, Trial::kRows, sums);
  return trial.accepts(sums);
}

#ifdef __AMX_INT8__
constexpr int kFewestTileRows = 9;  // below, half a tile or more would be padding
constexpr int kTileItemRows = 512;

bool tilesAgree() {
  const Trial trial;
  alignas(64) static uint8_t memory[Trial::kPaddedRows * Trial::kGroups * kByteGroup];
  alignas(64) static float y[Trial::kPaddedRows * kBlock];
  alignas(64) static ByteTileScratch scratch;
  memset(memory, 0, sizeof memory);
  trial.fill({memory, nullptr, Trial::kGroups, true});
  Matrix result{y, Trial::kRows, kBlock, false};
  Product product;
  product.y = &result;
  Ahead nothing;
  loadTiles();
  multiplyBytePanel({memory, trial.xScales, trial.layout, trial.codes, trial.scales, Trial::kRows, 0, 0}, nullptr, scratch, nothing,
                    Finish<float, void>(product));
  releaseTiles();
  return trial.accepts(y);
}

void multiplyBytesOnTiles(Pool& pool, const Matrix& x, const WeightView& w, const MatmulEpilogue& epilogue, Matrix& y) {
  const ByteLayout layout(w.rows, w.columns);
  const auto codes = ActivationCodes::in(pool.sharedScratch(0, ActivationCodes::bytes(x.rows, x.columns)), x.rows, x.columns, true);
  quantizeActivations(pool, x, codes);
  Product product;
  product.epilogue = epilogue;
  product.y = &y;
  const auto* data = static_cast<const char*>(w.forward);
  const int panels = blocksFor(w.rows), rowItems = (x.rows + kTileItemRows - 1) / kTileItemRows;
  const int itemRows = paddedTo32((x.rows + rowItems - 1) / rowItems);
  const size_t sumBytes = layout.groups <= kResidentGroups ? 0 : static_cast<size_t>(itemRows) * kBlock * sizeof(float);
  const size_t panelBytes = layout.codes(1, 0);
  withFinish(product, [&](const auto& finish) {
    pool.parallelFor(panels * rowItems, [&](int item, int thread) {
      const int panel = item % panels, firstRow = item / panels * itemRows, rows = std::min(itemRows, x.rows - firstRow);
      auto* scratch = static_cast<ByteTileScratch*>(pool.scratch(thread, 0, sizeof(ByteTileScratch) + sumBytes));
      auto* sums = reinterpret_cast<float*>(scratch + 1);
      const char* from = data + layout.codes(panel, 0);
      Ahead ahead;
      if (panel + 1 < panels) ahead = Ahead(from + panelBytes, 1, panelBytes, 0, blocksFor(rows) * layout.columnBlocks / 2);
      multiplyBytePanel({codes.at(firstRow, 0), codes.scales + static_cast<size_t>(firstRow) * codes.groups, layout, from,
                         reinterpret_cast<const float*>(data + layout.scalesAt) + layout.scales(panel, 0), rows, firstRow / kBlock, panel},
                        sums, *scratch, ahead, finish);
    });
  });
}
#endif

struct Instructions {
  const char* name;
  AddAllRows add;
  bool hasTiles;
};

template <class Dot>
bool choose(Instructions& chosen) {
  if (!Dot::isPresent() || !agrees(addAllRows<Dot>)) return false;
  chosen = {Dot::kName, addAllRows<Dot>, false};
  return true;
}

Instructions chooseInstructions() {
  Instructions chosen{"", nullptr, false};
#if defined(__AVX512F__)
  choose<Vnni512>(chosen) || choose<Multiply512>(chosen);
#ifdef __AMX_INT8__
  if (chosen.add != nullptr && tilesAgree()) chosen = {"AMX int8", chosen.add, true};
#endif
#elif defined(__AVX2__)
#if defined(CRE_AVX_VNNI)
  if (choose<Vnni256>(chosen)) return chosen;
#endif
  choose<Multiply256>(chosen);
#else
#if defined(CRE_NEON)
  if (choose<DotNeon>(chosen)) return chosen;
#endif
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
#ifdef __AMX_INT8__
  if (instructions().hasTiles && x.rows >= kFewestTileRows) return multiplyBytesOnTiles(pool, x, w, epilogue, y);
#endif
  const ByteLayout layout(w.rows, w.columns);
  const auto codes = ActivationCodes::in(pool.sharedScratch(0, ActivationCodes::bytes(x.rows, x.columns)), x.rows, x.columns, false);
  quantizeActivations(pool, x, codes);
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
      Part part{codes.at(firstRow, 0),
                codes.rowBytes(),
                codes.scales + static_cast<size_t>(firstRow) * codes.groups,
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
        float* const block = sums + static_cast<size_t>(row) * kBlock;
        const int rowBlock = (firstRow + row) / kBlock;
        if (epilogue.thin != nullptr) addThinTerms(*epilogue.thin, rowBlock, panel, std::min(kBlock, rows - row), block);
        finish(block, rowBlock, panel, 0, kBlock);
      }
    });
  });
}

}  // namespace cre
