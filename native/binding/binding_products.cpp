#include "binding/binding.h"

namespace cre {

void Binding::addProducts(Methods& methods) {
  methods.push_back(InstanceMethod("embed", &Binding::embed));
  methods.push_back(InstanceMethod("embedBackward", &Binding::embedBackward));
  methods.push_back(InstanceMethod("matmul", &Binding::matmul));
  methods.push_back(InstanceMethod("matmulSum", &Binding::matmulSum));
  methods.push_back(InstanceMethod("matmulSwiglu", &Binding::matmulSwiglu));
  methods.push_back(InstanceMethod("matmulBackwardInput", &Binding::matmulBackwardInput));
  methods.push_back(InstanceMethod("matmulBackwardWeight", &Binding::matmulBackwardWeight));
  methods.push_back(InstanceMethod("matmulBackward", &Binding::matmulBackward));
  methods.push_back(InstanceMethod("biasBackward", &Binding::biasBackward));
  methods.push_back(InstanceMethod("gatherRows", &Binding::gatherRows));
  methods.push_back(InstanceMethod("gatherRowsBackward", &Binding::gatherRowsBackward));
  methods.push_back(InstanceMethod("copyRows", &Binding::copyRows));
}

// (table, ids)
Napi::Value Binding::embed(const Napi::CallbackInfo& info) {
  Weight* table = weight(info[0]);
  std::vector<int32_t> rows = ids(info[1], table->view.rows);
  require(info, !rows.empty(), "at least one id");
  Tensor* y = make(static_cast<int>(rows.size()), table->view.columns, true);
  produce({y}, [this, table, rows = std::move(rows), y](Pool& pool) {
    memory_.needForward(pool, *table);
    cre::embed(pool, table->view, memory_.bf16Precision(), rows.data(), y->matrix);
  });
  return handleOf(y);
}

// (table, ids, dy)
void Binding::embedBackward(const Napi::CallbackInfo& info) {
  Weight* table = trainable(info[0]);
  std::vector<int32_t> rows = ids(info[1], table->view.rows);
  const Tensor* dy = tensor(info[2]);
  require(info, dy->matrix.rows == static_cast<int>(rows.size()) && dy->matrix.columns == table->view.columns,
          "dy with one row for each id");
  issue([this, table, rows = std::move(rows), dy](Pool& pool) {
    memory_.withMatrixGradient(pool, *table, [&](WeightView& view) { cre::embedBackward(pool, view, rows.data(), dy->matrix); });
  });
}

// Rotation of a result: (positions, heads, head width, frequencies, interleaved) from argument `first` on; positions null: none.
Binding::RotaryInput Binding::rotaryInputOf(const Napi::CallbackInfo& info, int first, int rows, int columns) const {
  RotaryInput rotation;
  if (info[first].IsNull() || info[first].IsUndefined()) return rotation;
  rotation.positions = integers(info[first]);
  rotation.heads = wholeNumber(info[first + 1], 1, 1 << 20);
  rotation.headWidth = wholeNumber(info[first + 2], 1, 1 << 20);
  rotation.frequencies = floats(info[first + 3]);
  rotation.interleaved = truth(info[first + 4]);
  require(info, rotation.positions.size() == static_cast<size_t>(rows), "one position for each row");
  require(info, static_cast<int64_t>(rotation.heads) * rotation.headWidth == columns, "heads x head width columns");
  require(info, 2 * rotation.frequencies.size() <= static_cast<size_t>(rotation.headWidth), "a rotated width within a head");
  return rotation;
}

// (x, w, bias or null, residual or null, scale, wide, then as rotaryInputOf)
Napi::Value Binding::matmul(const Napi::CallbackInfo& info) {
  const Tensor* x = tensor(info[0]);
  Weight* w = weight(info[1]);
  const Weight* bias = info[2].IsNull() ? nullptr : weight(info[2]);
  const Tensor* residual = tensorOrNull(info[3]);
  const float scale = number(info[4]);
  require(info, x->matrix.columns == w->view.columns, "x with the columns of w");
  require(info, bias == nullptr || (bias->view.isVector() && bias->view.columns == w->view.rows), "a bias of one number for each output");
  require(info, residual == nullptr || isShape(residual, x->matrix.rows, w->view.rows), "a residual of the result's shape");
  RotaryInput rotation = rotaryInputOf(info, 6, x->matrix.rows, w->view.rows);
  require(info, !rotation.any() || residual == nullptr, "no residual when the result is rotated");
  Tensor* y = make(x->matrix.rows, w->view.rows, truth(info[5]));
  produce({y}, [this, x, w, bias, residual, scale, rotation = std::move(rotation), y](Pool& pool) {
    memory_.needForward(pool, *w);
    MatmulEpilogue epilogue{scale, bias == nullptr ? nullptr : bias->view.master, residual == nullptr ? nullptr : &residual->matrix};
    const Rotary rotary = rotation.rotary();
    if (rotation.any()) epilogue.rotary = &rotary;
    matmulForward(pool, x->matrix, w->view, epilogue, y->matrix);
  });
  return handleOf(y);
}

// (dy, w, residual or null, scale, wide, whether a missing second packed copy is made)
Napi::Value Binding::matmulBackwardInput(const Napi::CallbackInfo& info) {
  const Tensor* dy = tensor(info[0]);
  Weight* w = weight(info[1]);
  const Tensor* residual = tensorOrNull(info[2]);
  const float scale = number(info[3]);
  require(info, dy->matrix.columns == w->view.rows, "dy with a column for each row of w");
  require(info, !w->view.hasByteProducts(), "a weight that is not kept as w8a8, which has products forward only");
  require(info, residual == nullptr || isShape(residual, dy->matrix.rows, w->view.columns), "a residual of the result's shape");
  const bool secondCopy = !w->view.isQuantized() && (truth(info[5]) || w->trainable || w->view.isVector());
  Tensor* dx = make(dy->matrix.rows, w->view.columns, truth(info[4]));
  produce({dx}, [this, dy, w, residual, scale, secondCopy, dx](Pool& pool) {
    if (secondCopy) memory_.needBackward(pool, *w);
    const MatmulEpilogue epilogue{scale, nullptr, residual == nullptr ? nullptr : &residual->matrix};
    cre::matmulBackwardInput(pool, dy->matrix, w->view, epilogue, dx->matrix);
  });
  return handleOf(dx);
}

// The products (xs, ws, scales, second copies or null, bias or null) of a sum.
Binding::Sum Binding::sumOf(const Napi::CallbackInfo& info) const {
  Sum sum;
  const std::vector<int32_t> xHandles = integers(info[0]), wHandles = integers(info[1]);
  sum.scales = floats(info[2]);
  sum.backward = !info[3].IsNull();
  const size_t count = xHandles.size();
  sum.copies = sum.backward ? integers(info[3]) : std::vector<int32_t>(count);
  sum.bias = info[4].IsNull() ? nullptr : weight(info[4]);
  require(info, count > 0 && wHandles.size() == count && sum.scales.size() == count && sum.copies.size() == count,
          "as many tensors, weights and scales");
  for (size_t i = 0; i < count; i++) {
    sum.xs.push_back(tensor(Napi::Number::New(info.Env(), xHandles[i])));
    sum.ws.push_back(weight(Napi::Number::New(info.Env(), wHandles[i])));
    const WeightView &view = sum.ws[i]->view, &first = sum.ws[0]->view;
    require(info, sum.xs[i]->matrix.columns == (sum.backward ? view.rows : view.columns), "tensors that fit their weights");
    require(info, sum.xs[i]->matrix.rows == sum.xs[0]->matrix.rows, "tensors of as many rows");
    require(info, !(sum.backward && view.hasByteProducts()), "weights that are not kept as w8a8, which has products forward only");
    require(info, sum.backward ? view.columns == first.columns : view.rows == first.rows, "products of one shape");
  }
  sum.rows = sum.xs[0]->matrix.rows;
  sum.columns = sum.backward ? sum.ws[0]->view.columns : sum.ws[0]->view.rows;
  require(info, sum.bias == nullptr || (sum.bias->view.isVector() && sum.bias->view.columns == sum.columns),
          "a bias of one number for each output");
  return sum;
}

void Binding::multiply(Pool& pool, const Sum& sum, MatmulEpilogue epilogue, Matrix& y) {
  std::vector<ProductTerm> terms;
  for (size_t i = 0; i < sum.xs.size(); i++) {
    Weight* w = sum.ws[i];
    if (!sum.backward) memory_.needForward(pool, *w);
    else if (!w->view.isQuantized() && (sum.copies[i] != 0 || w->trainable || w->view.isVector())) memory_.needBackward(pool, *w);
    terms.push_back({&sum.xs[i]->matrix, &w->view, sum.scales[i]});
  }
  epilogue.bias = sum.bias == nullptr ? nullptr : sum.bias->view.master;
  cre::matmulSum(pool, terms.data(), static_cast<int>(terms.size()), sum.backward, epilogue, y);
}

// (xs, ws, scales, second copies or null, bias or null, residual or null, wide, then as rotaryInputOf) → the sum of scale · x · wᵀ. With second
// copies the sum of scale · x · w; they say for each weight whether a missing second packed copy is made.
Napi::Value Binding::matmulSum(const Napi::CallbackInfo& info) {
  Sum sum = sumOf(info);
  const Tensor* residual = tensorOrNull(info[5]);
  require(info, residual == nullptr || isShape(residual, sum.rows, sum.columns), "a residual of the result's shape");
  RotaryInput rotation = rotaryInputOf(info, 7, sum.rows, sum.columns);
  require(info, !rotation.any() || (!sum.backward && residual == nullptr), "a forward sum without residual when it is rotated");
  Tensor* y = make(sum.rows, sum.columns, truth(info[6]));
  produce({y}, [this, sum = std::move(sum), residual, rotation = std::move(rotation), y](Pool& pool) {
    MatmulEpilogue epilogue;
    const Rotary rotary = rotation.rotary();
    if (rotation.any()) epilogue.rotary = &rotary;
    epilogue.residual = residual == nullptr ? nullptr : &residual->matrix;
    multiply(pool, sum, epilogue, y->matrix);
  });
  return handleOf(y);
}

// (xs, ws, scales, second copies or null, bias or null, gate, up or null) → [y, silu(gate) · y] of the sum y; backward, where the sum is the
// gradient of silu(gate) · up: [gradient of gate, gradient of up]
Napi::Value Binding::matmulSwiglu(const Napi::CallbackInfo& info) {
  Sum sum = sumOf(info);
  const Tensor *gate = tensor(info[5]), *up = tensorOrNull(info[6]);
  require(info, isShape(gate, sum.rows, sum.columns), "a gate of the result's shape");
  require(info, (up != nullptr) == sum.backward, "up backward only");
  require(info, up == nullptr || isShape(up, sum.rows, sum.columns), "up of the result's shape");
  Tensor* first = make(sum.rows, sum.columns, false);
  Tensor* second = make(sum.rows, sum.columns, false);
  produce({first, second}, [this, sum = std::move(sum), gate, up, first, second](Pool& pool) {
    MatmulEpilogue epilogue;
    epilogue.gate = &gate->matrix;
    epilogue.up = up == nullptr ? nullptr : &up->matrix;
    (sum.backward ? epilogue.dUp : epilogue.gated) = &second->matrix;
    multiply(pool, sum, epilogue, first->matrix);
  });
  return handlesOf({first, second});
}

// (dy, x, w, scale) of a product with a trainable weight.
Binding::Factors Binding::factorsOf(const Napi::CallbackInfo& info) const {
  const Factors factors{tensor(info[0]), tensor(info[1]), trainable(info[2]), static_cast<float>(number(info[3]))};
  const WeightView& w = factors.w->view;
  require(info, factors.dy->matrix.rows == factors.x->matrix.rows, "dy and x with as many rows");
  require(info, factors.dy->matrix.columns == w.rows && factors.x->matrix.columns == w.columns, "dy and x that fit w");
  return factors;
}

// As factorsOf.
void Binding::matmulBackwardWeight(const Napi::CallbackInfo& info) {
  const auto [dy, x, w, scale] = factorsOf(info);
  issue([this, dy = dy, x = x, w = w, scale = scale](Pool& pool) {
    memory_.withMatrixGradient(pool, *w, [&](WeightView& view) { cre::matmulBackwardWeight(pool, dy->matrix, x->matrix, scale, view); });
  });
}

// As factorsOf: matmulBackwardWeight, and returns the wide scale · dy · w.
Napi::Value Binding::matmulBackward(const Napi::CallbackInfo& info) {
  const auto [dy, x, w, scale] = factorsOf(info);
  Tensor* dx = make(x->matrix.rows, x->matrix.columns, true);
  produce({dx}, [this, dy = dy, x = x, w = w, scale = scale, dx](Pool& pool) {
    memory_.needBackward(pool, *w);
    memory_.withMatrixGradient(pool, *w,
                               [&](WeightView& view) { cre::matmulBackward(pool, dy->matrix, x->matrix, scale, view, dx->matrix); });
  });
  return handleOf(dx);
}

// (dy, b)
void Binding::biasBackward(const Napi::CallbackInfo& info) {
  const Tensor* dy = tensor(info[0]);
  Weight* b = trainable(info[1]);
  require(info, b->view.isVector() && b->view.columns == dy->matrix.columns, "a bias of one number for each column");
  issue([dy, b](Pool& pool) { cre::biasBackward(pool, dy->matrix, b->view); });
}

// (x, rows)
Napi::Value Binding::gatherRows(const Napi::CallbackInfo& info) {
  const Tensor* x = tensor(info[0]);
  std::vector<int32_t> rows = ids(info[1], x->matrix.rows);
  require(info, !rows.empty(), "at least one row");
  Tensor* y = make(static_cast<int>(rows.size()), x->matrix.columns, isWide(x));
  produce({y}, [x, rows = std::move(rows), y](Pool& pool) { cre::gatherRows(pool, x->matrix, rows.data(), y->matrix); });
  return handleOf(y);
}

// (dy, rows, total rows)
Napi::Value Binding::gatherRowsBackward(const Napi::CallbackInfo& info) {
  const Tensor* dy = tensor(info[0]);
  const int total = wholeNumber(info[2], 1, INT32_MAX);
  std::vector<int32_t> rows = ids(info[1], total);
  require(info, dy->matrix.rows == static_cast<int>(rows.size()), "one row number for each row of dy");
  require(info, static_cast<int64_t>(total) * dy->matrix.columns <= INT32_MAX, "fewer than 2^31 elements");
  Tensor* dx = make(total, dy->matrix.columns, isWide(dy));
  produce({dx}, [dy, rows = std::move(rows), dx](Pool& pool) { cre::gatherRowsBackward(pool, dy->matrix, rows.data(), dx->matrix); });
  return handleOf(dx);
}

// (source, destination, rows)
void Binding::copyRows(const Napi::CallbackInfo& info) {
  const Tensor* source = tensor(info[0]);
  Tensor* destination = tensor(info[1]);
  std::vector<int32_t> rows = ids(info[2], destination->matrix.rows);
  require(info, source->matrix.rows == static_cast<int>(rows.size()), "one row number for each row of source");
  require(info, source->matrix.columns == destination->matrix.columns, "source and destination of the same width");
  issue(
      [source, destination, rows = std::move(rows)](Pool& pool) { cre::copyRows(pool, source->matrix, rows.data(), destination->matrix); });
}

}  // namespace cre
