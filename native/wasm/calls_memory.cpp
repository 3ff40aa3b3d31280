// Calls that make, read and free tensors and weights, and the measurements.
#include "rows/raw_rows.h"
#include "wasm/engine.h"

namespace cre {
namespace {

int elementsOf(const WeightView& view) { return view.rows * view.columns; }

// (tensor, values or null, rows, columns)
void tensor(Call& call) {
  const uint32_t handle = call.word();
  const auto values = call.array<float>();
  const int rows = call.whole(), columns = call.whole();
  Tensor* made = call.engine.make(handle, rows, columns);
  if (values.size == 0) call.memory().zero(call.pool(), made->matrix);
  else fromRowMajor(call.pool(), values.data, made->matrix);
}

// (tensor) → its values
void read(Call& call) {
  const Tensor* x = call.tensor();
  toRowMajor(call.pool(), x->matrix, call.engine.answerOf(static_cast<size_t>(x->matrix.rows) * x->matrix.columns));
}

// (tensor)
void freeTensor(Call& call) { call.engine.freeTensor(call.word()); }

// (weight, values or null, rows, columns, storage, trainable, whether its rows come in chunks)
void weight(Call& call) {
  Weight* made = call.engine.makeWeight(call.word());
  const auto values = call.array<float>();
  made->view.rows = call.whole();
  made->view.columns = call.whole();
  made->view.storage = static_cast<Storage>(call.whole());
  made->trainable = call.truth();
  if (call.truth()) call.memory().reserve(call.pool(), *made);
  else call.memory().fill(call.pool(), *made, values.orNull());
}

// (weight, bytes, element type, whether rows are divided by their length): the next rows
void writeRows(Call& call) {
  Weight* written = call.weight();
  const auto bytes = call.array<uint8_t>();
  const auto type = static_cast<Element>(call.whole());
  const int rows = static_cast<int>(bytes.size / (written->view.columns * elementBytes(type))), first = written->rowsGiven;
  written->rowsGiven += rows;
  call.memory().writeRows(call.pool(), *written, RawRows{bytes.data, type, rows, written->view.columns}, first, call.truth());
}

// (weight, values, part)
void writeWeight(Call& call) {
  Weight* written = call.weight();
  const auto values = call.array<float>();
  call.memory().write(call.pool(), *written, static_cast<Part>(call.whole()), values.data);
}

// (weight, part) → its values
void readWeight(Call& call) {
  const Weight* w = call.weight();
  const auto part = static_cast<Part>(call.whole());
  call.memory().read(call.pool(), *w, part, call.engine.answerOf(elementsOf(w->view)));
}

// (weight)
void freeWeight(Call& call) { call.engine.freeWeight(call.word()); }

void sync(Call&) {}

void close(Call&) { closeEngine(); }

// (seconds, whether memory is measured too) → operations on zeros, bytes read, operations on numbers; all in 10⁹ per second
void peak(Call& call) {
  const double seconds = call.exact();
  float* speeds = call.engine.answerOf(3);
  speeds[0] = static_cast<float>(peakFlops(call.pool(), seconds, false) / 1e9);
  speeds[1] = call.truth() ? static_cast<float>(readBandwidth(call.pool(), seconds) / 1e9) : 0;
  speeds[2] = static_cast<float>(peakFlops(call.pool(), seconds, true) / 1e9);
}

constexpr Operation kOperations[] = {
    {"tensor", tensor},
    {"read", read},
    {"free", freeTensor},
    {"weight", weight},
    {"writeRows", writeRows},
    {"writeWeight", writeWeight},
    {"readWeight", readWeight},
    {"freeWeight", freeWeight},
    {"sync", sync},
    {"close", close},
    {"peak", peak},
};

}  // namespace

const Operations kMemoryOperations = listOf(kOperations);

}  // namespace cre
