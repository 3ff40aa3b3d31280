// Calls of products and tables. Results come first among the arguments; the others are those of native/binding/binding_products.cpp, without
// widths: this backend has float32 only.
#include "wasm/engine.h"

namespace cre {
namespace {

// (y, table, ids)
void embed(Call& call) {
  const uint32_t y = call.word();
  Weight* table = call.weight();
  const auto ids = call.array<int32_t>();
  call.memory().needForward(call.pool(), *table);
  cre::embed(call.pool(), table->view, false, ids.data, call.engine.make(y, static_cast<int>(ids.size), table->view.columns)->matrix);
}

// (table, ids, dy)
void embedBackward(Call& call) {
  Weight* table = call.weight();
  const auto ids = call.array<int32_t>();
  const Tensor* dy = call.tensor();
  call.memory().withMatrixGradient(call.pool(), *table,
                                   [&](WeightView& view) { cre::embedBackward(call.pool(), view, ids.data, dy->matrix); });
}

const float* biasOf(const Weight* bias) { return bias == nullptr ? nullptr : bias->view.master; }
const Matrix* matrixOf(const Tensor* x) { return x == nullptr ? nullptr : &x->matrix; }

// (y, x, w, bias or null, residual or null, scale, wide, then as RotaryArguments)
void matmul(Call& call) {
  const uint32_t handle = call.word();
  const Tensor* x = call.tensor();
  Weight* w = call.weight();
  const Weight* bias = call.weightOrNull();
  const Tensor* residual = call.tensorOrNull();
  MatmulEpilogue epilogue{call.number(), biasOf(bias), matrixOf(residual)};
  call.truth();
  const RotaryArguments rotation(call);
  const Rotary rotary = rotation.rotary();
  if (rotation.any()) epilogue.rotary = &rotary;
  call.memory().needForward(call.pool(), *w);
  matmulForward(call.pool(), x->matrix, w->view, epilogue, call.engine.make(handle, x->matrix.rows, w->view.rows)->matrix);
}

bool wantsCopy(const Weight& w, bool asked) { return !w.view.isQuantized() && (asked || w.trainable || w.view.isVector()); }

// (dx, dy, w, residual or null, scale, wide, whether a missing second packed copy is made)
void matmulBackwardInput(Call& call) {
  const uint32_t handle = call.word();
  const Tensor* dy = call.tensor();
  Weight* w = call.weight();
  const Tensor* residual = call.tensorOrNull();
  const MatmulEpilogue epilogue{call.number(), nullptr, matrixOf(residual)};
  call.truth();
  if (wantsCopy(*w, call.truth())) call.memory().needBackward(call.pool(), *w);
  Tensor* dx = call.engine.make(handle, dy->matrix.rows, w->view.columns);
  cre::matmulBackwardInput(call.pool(), dy->matrix, w->view, epilogue, dx->matrix);
}

// The products (xs, ws, scales, second copies or null, bias or null) of a sum.
struct Sum {
  std::vector<ProductTerm> terms;
  bool backward;
  const Weight* bias;
  int rows, columns;

  explicit Sum(Call& call) {
    const auto xs = call.array<int32_t>(), ws = call.array<int32_t>();
    const auto scales = call.array<float>();
    const auto copies = call.array<int32_t>();
    backward = copies.size > 0;
    bias = call.weightOrNull();
    for (size_t i = 0; i < xs.size; i++) {
      Weight* w = call.engine.weight(ws.data[i]);
      if (!backward) call.memory().needForward(call.pool(), *w);
      else if (wantsCopy(*w, copies.data[i] != 0)) call.memory().needBackward(call.pool(), *w);
      terms.push_back({&call.engine.tensor(xs.data[i])->matrix, &w->view, scales.data[i]});
    }
    rows = terms[0].x->rows;
    columns = backward ? terms[0].w->columns : terms[0].w->rows;
  }
  void multiply(Call& call, MatmulEpilogue& epilogue, Matrix& y) const {
    epilogue.bias = biasOf(bias);
    cre::matmulSum(call.pool(), terms.data(), static_cast<int>(terms.size()), backward, epilogue, y);
  }
};

// (y, then as Sum, residual or null, wide, then as RotaryArguments)
void matmulSum(Call& call) {
  const uint32_t handle = call.word();
  const Sum sum(call);
  MatmulEpilogue epilogue;
  epilogue.residual = matrixOf(call.tensorOrNull());
  call.truth();
  const RotaryArguments rotation(call);
  const Rotary rotary = rotation.rotary();
  if (rotation.any()) epilogue.rotary = &rotary;
  sum.multiply(call, epilogue, call.engine.make(handle, sum.rows, sum.columns)->matrix);
}

// (first, second, then as Sum, gate, up or null)
void matmulSwiglu(Call& call) {
  const uint32_t first = call.word(), second = call.word();
  const Sum sum(call);
  MatmulEpilogue epilogue;
  epilogue.gate = matrixOf(call.tensor());
  epilogue.up = matrixOf(call.tensorOrNull());
  Tensor* y = call.engine.make(first, sum.rows, sum.columns);
  (sum.backward ? epilogue.dUp : epilogue.gated) = &call.engine.make(second, sum.rows, sum.columns)->matrix;
  sum.multiply(call, epilogue, y->matrix);
}

// (dy, x, w, scale)
void matmulBackwardWeight(Call& call) {
  const Tensor *dy = call.tensor(), *x = call.tensor();
  Weight* w = call.weight();
  const float scale = call.number();
  call.memory().withMatrixGradient(call.pool(), *w,
                                   [&](WeightView& view) { cre::matmulBackwardWeight(call.pool(), dy->matrix, x->matrix, scale, view); });
}

// (dx, dy, x, w, scale)
void matmulBackward(Call& call) {
  const uint32_t handle = call.word();
  const Tensor *dy = call.tensor(), *x = call.tensor();
  Weight* w = call.weight();
  const float scale = call.number();
  Tensor* dx = call.engine.make(handle, x->matrix.rows, x->matrix.columns);
  call.memory().needBackward(call.pool(), *w);
  call.memory().withMatrixGradient(
      call.pool(), *w, [&](WeightView& view) { cre::matmulBackward(call.pool(), dy->matrix, x->matrix, scale, view, dx->matrix); });
}

// (dy, b)
void biasBackward(Call& call) {
  const Tensor* dy = call.tensor();
  cre::biasBackward(call.pool(), dy->matrix, call.weight()->view);
}

// (y, x, rows)
void gatherRows(Call& call) {
  const uint32_t handle = call.word();
  const Tensor* x = call.tensor();
  const auto rows = call.array<int32_t>();
  Tensor* y = call.engine.make(handle, static_cast<int>(rows.size), x->matrix.columns);
  cre::gatherRows(call.pool(), x->matrix, rows.data, y->matrix);
}

// (dx, dy, rows, total rows)
void gatherRowsBackward(Call& call) {
  const uint32_t handle = call.word();
  const Tensor* dy = call.tensor();
  const auto rows = call.array<int32_t>();
  Tensor* dx = call.engine.make(handle, call.whole(), dy->matrix.columns);
  cre::gatherRowsBackward(call.pool(), dy->matrix, rows.data, dx->matrix);
}

// (source, destination, rows)
void copyRows(Call& call) {
  const Tensor* source = call.tensor();
  Tensor* destination = call.changedTensor();
  cre::copyRows(call.pool(), source->matrix, call.array<int32_t>().data, destination->matrix);
}

constexpr Operation kOperations[] = {
    {"embed", embed},
    {"embedBackward", embedBackward},
    {"matmul", matmul},
    {"matmulSum", matmulSum},
    {"matmulSwiglu", matmulSwiglu},
    {"matmulBackwardInput", matmulBackwardInput},
    {"matmulBackwardWeight", matmulBackwardWeight},
    {"matmulBackward", matmulBackward},
    {"biasBackward", biasBackward},
    {"gatherRows", gatherRows},
    {"gatherRowsBackward", gatherRowsBackward},
    {"copyRows", copyRows},
};

}  // namespace

const Operations kProductOperations = listOf(kOperations);

}  // namespace cre
