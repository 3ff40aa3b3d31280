#include "runtime/engine.h"

#include <algorithm>
#include <cstring>

namespace cre {
namespace {

constexpr size_t kFillChunk = size_t{1} << 20;

void fillBytes(Pool& pool, void* data, int byte, size_t bytes) {
  const int chunks = static_cast<int>((bytes + kFillChunk - 1) / kFillChunk);
  pool.parallelFor(chunks, [&](int chunk, int) {
    const size_t start = chunk * kFillChunk;
    std::memset(static_cast<char*>(data) + start, byte, std::min(kFillChunk, bytes - start));
  });
}

}  // namespace

void Memory::allocate(Matrix& matrix) {
  matrix.data = arena_.allocate(matrix.bytes());
  // All bits set is a NaN in float and in bf16.
  if (poison_) std::memset(matrix.data, 0xff, matrix.bytes());
}

void Memory::allocateNarrowCopy(Matrix& matrix) {
  if (!bf16_ || matrix.isBf16) return;
  matrix.narrowCopy = static_cast<bf16*>(arena_.allocate(narrowBytes(matrix)));
  if (poison_) std::memset(matrix.narrowCopy, 0xff, narrowBytes(matrix));
}

void Memory::release(Matrix& matrix) {
  arena_.release(matrix.data, matrix.bytes());
  matrix.data = nullptr;
  if (matrix.narrowCopy != nullptr) arena_.release(matrix.narrowCopy, narrowBytes(matrix));
  matrix.narrowCopy = nullptr;
}

void Memory::zero(Pool& pool, Matrix& matrix) { fillBytes(pool, matrix.data, 0, matrix.bytes()); }

void Memory::zeroFloats(Pool& pool, float* data, size_t elements) { fillBytes(pool, data, 0, elements * sizeof(float)); }

void Memory::zeroGradient(Pool& pool, Weight& weight) { zeroFloats(pool, weight.view.gradient, weight.view.masterElements()); }

void Memory::addFirstRow(const float* blocks, WeightView& vector) {
  for (int c = 0; c < vector.columns; c++) {
    vector.gradient[c] += blocks[static_cast<size_t>(c / kBlock) * kBlockElements + c % kBlock];
  }
}

float* Memory::partOf(const Weight& weight, Part part) const {
  switch (part) {
    case Part::gradient:
      return weight.view.gradient;
    case Part::moment1:
      return weight.view.moment1;
    case Part::moment2:
      return weight.view.moment2;
    default:
      return weight.view.master;
  }
}

void Memory::reserve(Pool& pool, Weight& weight) {
  WeightView& view = weight.view;
  const size_t masterElements = view.masterElements();
  // In bfloat16 precision the packed copy has lost bits, so a frozen float32 matrix also keeps its float values.
  const bool keepsMaster = view.isVector() || weight.trainable || (view.packedBf16 && view.storage == Storage::float32);
  const auto part = [&] {
    auto* data = static_cast<float*>(arena_.allocate(masterElements * sizeof(float)));
    zeroFloats(pool, data, masterElements);
    return data;
  };
  if (keepsMaster) view.master = part();
  if (weight.trainable) {
    view.gradient = part();
    view.moment1 = part();
    view.moment2 = part();
  }
  if (!view.isVector()) view.forward = allocatePack(weight);
}

void* Memory::allocatePack(const Weight& weight) {
  const size_t bytes = packBytes(weight.view);
  return weight.trainable ? arena_.allocate(bytes) : arena_.allocateLasting(bytes);
}

void Memory::releasePack(const Weight& weight, void* packed) {
  const size_t bytes = packBytes(weight.view);
  if (weight.trainable) arena_.release(packed, bytes);
  else arena_.releaseLasting(packed, bytes);
}

void Memory::fill(Pool& pool, Weight& weight, const float* values) {
  reserve(pool, weight);
  const WeightView& view = weight.view;
  if (values != nullptr) write(pool, weight, Part::value, values);
  else if (view.forward != nullptr) fillBytes(pool, view.forward, 0, packBytes(view));
}

void Memory::writeRows(Pool& pool, Weight& weight, RawRows chunk, int firstRow, bool normalized) {
  WeightView& view = weight.view;
  std::vector<double> lengths;
  if (normalized) {
    lengths.resize(chunk.rows);
    rowLengths(pool, chunk, lengths.data());
    chunk.lengths = lengths.data();
  }
  if (view.master != nullptr) {
    copyToMaster(pool, chunk, firstRow, view);
    if (firstRow + chunk.rows == view.rows) repack(pool, weight);
  } else if (view.isQuantized()) {
    quantizeChunk(pool, weight, chunk, firstRow);
  } else {
    packRows(pool, chunk, firstRow, view.packedBf16, view.storage == Storage::bfloat16, view.forward);
  }
}

// Scales of nf4 are relative to the mean of the whole matrix, so raw rows are collected until the last one has arrived.
void Memory::quantizeChunk(Pool& pool, Weight& weight, const RawRows& chunk, int firstRow) {
  WeightView& view = weight.view;
  if (view.storage != Storage::nf4 || chunk.rows == view.rows) {
    return quantizeRows(pool, chunk, firstRow, view.rows, view.storage, view.forward);
  }
  RawRows whole = chunk;
  whole.rows = view.rows;
  if (weight.rawRows == nullptr) {
    weight.rawBytes = whole.bytes();
    weight.rawRows = systemAllocate(weight.rawBytes);  // not from the arena, which would keep a size that no tensor needs again
  }
  whole.data = weight.rawRows;
  const size_t rowBytes = whole.bytes() / whole.rows;
  std::memcpy(static_cast<char*>(weight.rawRows) + firstRow * rowBytes, chunk.data, chunk.bytes());
  if (firstRow + chunk.rows < view.rows) return;
  std::vector<double> lengths;
  if (chunk.lengths != nullptr) {
    lengths.resize(whole.rows);
    rowLengths(pool, whole, lengths.data());
    whole.lengths = lengths.data();
  }
  quantizeRows(pool, whole, 0, view.rows, view.storage, view.forward);
  releaseRaw(weight);
}

void Memory::releaseRaw(Weight& weight) {
  systemRelease(weight.rawRows, weight.rawBytes);
  weight.rawRows = nullptr;
}

void Memory::write(Pool& pool, Weight& weight, Part part, const float* values) {
  WeightView& view = weight.view;
  float* destination = partOf(weight, part);
  if (destination != nullptr) writePart(pool, view, destination, values);
  if (part != Part::value) return;
  if (view.master != nullptr) return repack(pool, weight);
  if (view.isQuantized()) return quantize(pool, values, view.rows, view.columns, view.storage, view.forward);
  packForward(pool, values, view.rows, view.columns, view.packedBf16, view.storage == Storage::bfloat16, view.forward);
  if (view.backward != nullptr) {
    releasePack(weight, view.backward);
    view.backward = nullptr;
    needBackward(pool, weight);
  }
}

void Memory::read(Pool& pool, const Weight& weight, Part part, float* values) {
  const WeightView& view = weight.view;
  const float* source = partOf(weight, part);
  if (source != nullptr) return readPart(pool, view, source, values);
  if (view.isQuantized()) return unpackQuantized(pool, view, values);
  unpackForward(pool, view.forward, view.rows, view.columns, view.packedBf16, values);
}

void Memory::writePart(Pool& pool, const WeightView& view, float* destination, const float* values) {
  if (view.isVector()) {
    std::memcpy(destination, values, view.columns * sizeof(float));
    return;
  }
  Matrix matrix{destination, view.rows, view.columns, false};
  fromRowMajor(pool, values, matrix);
}

void Memory::readPart(Pool& pool, const WeightView& view, const float* source, float* values) {
  if (view.isVector()) {
    std::memcpy(values, source, view.columns * sizeof(float));
    return;
  }
  const Matrix matrix{const_cast<float*>(source), view.rows, view.columns, false};
  toRowMajor(pool, matrix, values);
}

void Memory::release(Weight& weight) {
  WeightView& view = weight.view;
  for (float** part : {&view.master, &view.gradient, &view.moment1, &view.moment2}) {
    arena_.release(*part, view.masterElements() * sizeof(float));
    *part = nullptr;
  }
  for (void** copy : {&view.forward, &view.backward}) {
    releasePack(weight, *copy);
    *copy = nullptr;
  }
  releaseRaw(weight);
}

void Memory::needForward(Pool& pool, Weight& weight) {
  if (weight.view.forward != nullptr) return;
  weight.view.forward = allocatePack(weight);
  repack(pool, weight);
}

void Memory::needBackward(Pool& pool, Weight& weight) {
  WeightView& view = weight.view;
  if (view.backward != nullptr) return;
  view.backward = allocatePack(weight);
  if (view.isVector()) return repack(pool, weight);
  packBackward(pool, view.forward, view.rows, view.columns, view.packedBf16, view.backward);
}

void Memory::repack(Pool& pool, Weight& weight) {
  WeightView& view = weight.view;
  if (view.forward == nullptr && view.backward == nullptr) return;
  if (!view.isVector()) {
    const bool rounded = view.storage == Storage::bfloat16;
    packFromMaster(pool, view.master, view.rows, view.columns, view.packedBf16, rounded, view.forward, view.backward);
    return;
  }
  // A vector's master is one plain row. Vectors are never rounded to their storage: norms and biases read the master.
  void* forward = view.forward != nullptr ? view.forward : pool.sharedScratch(7, packBytes(view));
  packForward(pool, view.master, 1, view.columns, view.packedBf16, false, forward);
  if (view.backward != nullptr) packBackward(pool, forward, 1, view.columns, view.packedBf16, view.backward);
}

}  // namespace cre
