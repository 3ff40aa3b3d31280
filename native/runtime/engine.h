// Tensors and weights of one backend: shapes belong to the JavaScript thread, memory to the executor thread.
#pragma once
#include <vector>

#include "runtime/arena.h"
#include "runtime/kernels.h"
#include "rows/raw_rows.h"

namespace cre {

// The shape is fixed on the JavaScript thread when the tensor is made; `matrix.data` belongs to the executor thread.
struct Tensor {
  Matrix matrix;
  uint32_t handle = 0;
};

enum class Part : int { value = 0, gradient = 1, moment1 = 2, moment2 = 3 };

struct Weight {
  WeightView view;
  bool trainable = false;
  uint32_t handle = 0;
  int rowsGiven = 0;        // in chunks so far; counted on the JavaScript thread
  void* rawRows = nullptr;  // rows so far of a weight that is quantised as a whole
  size_t rawBytes = 0;
};

// Everything except the constructor runs on the executor thread.
class Memory {
 public:
  Memory(bool bf16Precision, bool poison) : bf16_(bf16Precision), poison_(poison) {}

  bool bf16Precision() const { return bf16_; }

  // Allocates output memory, uninitialised (or NaN in poison mode).
  void allocate(Matrix& matrix);
  // Allocates the narrow copy of a float matrix on levels whose products read bf16.
  void allocateNarrowCopy(Matrix& matrix);
  void release(Matrix& matrix);
  void zero(Pool& pool, Matrix& matrix);

  // `values` row-major [O,I], or null for zeros.
  void fill(Pool& pool, Weight& weight, const float* values);
  // Allocates a weight whose rows come in chunks; writeRows stores one chunk from row `firstRow` on, a multiple of 32, in order.
  void reserve(Pool& pool, Weight& weight);
  void writeRows(Pool& pool, Weight& weight, RawRows chunk, int firstRow, bool normalized);
  void write(Pool& pool, Weight& weight, Part part, const float* values);
  void read(Pool& pool, const Weight& weight, Part part, float* values);
  void release(Weight& weight);
  // Makes a packed copy for a product unless it exists.
  void needForward(Pool& pool, Weight& weight);
  void needBackward(Pool& pool, Weight& weight);
  // Packs the copies again from the master.
  void repack(Pool& pool, Weight& weight);

  void zeroGradient(Pool& pool, Weight& weight);
  // Calls body with a view whose gradient has matrix layout, and adds it to the gradient of a vector afterwards.
  template <class Body>
  void withMatrixGradient(Pool& pool, Weight& weight, Body&& body) {
    if (!weight.view.isVector()) return body(weight.view);
    WeightView view = weight.view;
    const size_t elements = static_cast<size_t>(blocksFor(view.columns)) * kBlockElements;
    view.gradient = static_cast<float*>(arena_.allocate(elements * sizeof(float)));
    zeroFloats(pool, view.gradient, elements);
    body(view);
    addFirstRow(view.gradient, weight.view);
    arena_.release(view.gradient, elements * sizeof(float));
  }

 private:
  void quantizeChunk(Pool& pool, Weight& weight, const RawRows& chunk, int firstRow);
  void releaseRaw(Weight& weight);
  static void zeroFloats(Pool& pool, float* data, size_t elements);
  static void addFirstRow(const float* blocks, WeightView& vector);
  float* partOf(const Weight& weight, Part part) const;
  void writePart(Pool& pool, const WeightView& view, float* destination, const float* values);
  void readPart(Pool& pool, const WeightView& view, const float* source, float* values);
  static size_t narrowBytes(const Matrix& matrix) { return matrix.elements() * sizeof(bf16); }
  void* allocatePack(const Weight& weight);
  void releasePack(const Weight& weight, void* packed);
  size_t packBytes(const WeightView& view) const {
    if (view.isQuantized()) return quantizedBytes(view.rows, view.columns, view.storage);
    return packedBytes(view.rows, view.columns, view.packedBf16);
  }

  Arena arena_;
  const bool bf16_;
  const bool poison_;
};

}  // namespace cre
