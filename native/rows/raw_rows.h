// Rows of a weight as files keep them: how numbers on disk become packed or quantised weights without ever being a whole float matrix.
#pragma once
#include "runtime/kernels.h"

namespace cre {

enum class Element : int { f32 = 0, f16 = 1, bf16 = 2 };
inline size_t elementBytes(Element type) { return type == Element::f32 ? 4 : 2; }

// Whole rows of a matrix, row-major, little-endian, of any alignment.
struct RawRows {
  const void* data;
  Element type;
  int rows, columns;
  const double* lengths = nullptr;  // [rows]: what each row is divided by, or null

  size_t bytes() const { return static_cast<size_t>(rows) * columns * elementBytes(type); }
};

// ---- raw_rows.cpp
// out[i] = the number in column begin + i of a row, for i < count.
void readValues(const RawRows& chunk, int row, int begin, int count, float* out);
// The length of every row, as torch.nn.functional.normalize bounds it; run.lengths is not looked at.
void rowLengths(Pool&, const RawRows& chunk, double* lengths);
// A run into the master of a weight, from row `firstRow` on, a multiple of 32; zeros behind the last column and row.
void copyToMaster(Pool&, const RawRows& chunk, int firstRow, WeightView& w);

// ---- pack.cpp: a run into the forward copy of a weight, from row `firstRow` on, a multiple of 32; see packForward
void packRows(Pool&, const RawRows& chunk, int firstRow, bool bf16Precision, bool rounded, void* packed);

// ---- quantize.cpp: a run into an int8 weight of `rows` rows; nf4 takes all rows at once
void quantizeRows(Pool&, const RawRows& chunk, int firstRow, int rows, Storage, void* quantized);

}  // namespace cre
