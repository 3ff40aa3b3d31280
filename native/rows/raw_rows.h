// Rows of a weight in the format of files: they become packed or quantised weights chunk by chunk, never a whole float matrix.
#pragma once
#include "runtime/kernels.h"

namespace cre {

enum class Element : int { f32 = 0, f16 = 1, bf16 = 2 };
inline size_t elementBytes(Element type) { return type == Element::f32 ? 4 : 2; }

// A chunk of whole rows of a matrix: row-major, little-endian, any alignment.
struct RawRows {
  const void* data;
  Element type;
  int rows, columns;
  const double* lengths = nullptr;  // [rows]: divisor of each row, or null

  size_t bytes() const { return static_cast<size_t>(rows) * columns * elementBytes(type); }
};

// ---- raw_rows.cpp
// out[i] = the number in column begin + i of a row, for i < count.
void readValues(const RawRows& chunk, int row, int begin, int count, float* out);
// The length of every row, as torch.nn.functional.normalize bounds it; chunk.lengths is ignored.
void rowLengths(Pool&, const RawRows& chunk, double* lengths);
// Copies a chunk to the master of a weight, from row `firstRow` on, a multiple of 32; zeros after the last column and row.
void copyToMaster(Pool&, const RawRows& chunk, int firstRow, WeightView& w);

// ---- pack.cpp: packs a chunk into the forward copy of a weight, from row `firstRow` on, a multiple of 32; see packForward
void packRows(Pool&, const RawRows& chunk, int firstRow, bool bf16Precision, bool rounded, void* packed);

// ---- quantize.cpp: quantises a chunk of an int8 weight of `rows` rows; nf4 needs all rows at once
void quantizeRows(Pool&, const RawRows& chunk, int firstRow, int rows, Storage, void* quantized);

}  // namespace cre
