#include "binding/binding.h"

namespace cre {

void Binding::addColumnOperations(Methods& methods) {
  methods.push_back(InstanceMethod("scaleColumns", &Binding::scaleColumns));
  methods.push_back(InstanceMethod("scaleColumnsBackward", &Binding::scaleColumnsBackward));
  methods.push_back(InstanceMethod("rowNorms", &Binding::rowNorms));
  methods.push_back(InstanceMethod("tanh", &Binding::tanh));
  methods.push_back(InstanceMethod("tanhBackward", &Binding::tanhBackward));
}

namespace {

void requireColumns(const Napi::CallbackInfo& info, const Tensor* x, const Weight* g, const Tensor* divisors) {
  require(info, g->view.isVector() && g->view.columns == x->matrix.columns, "g of one number for each column");
  require(info, isShape(divisors, 1, x->matrix.columns) && isWide(divisors), "wide divisors of one number for each column");
}

}  // namespace

// (x, g, divisors, bias or null)
Napi::Value Binding::scaleColumns(const Napi::CallbackInfo& info) {
  const Tensor *x = tensor(info[0]), *divisors = tensor(info[2]);
  const Weight *g = weight(info[1]), *bias = info[3].IsNull() ? nullptr : weight(info[3]);
  requireColumns(info, x, g, divisors);
  require(info, bias == nullptr || (bias->view.isVector() && bias->view.columns == x->matrix.columns), "a bias of one number for each column");
  Tensor* y = make(x->matrix.rows, x->matrix.columns, false);
  produce({y}, [=](Pool& pool) {
    const float* added = bias == nullptr ? nullptr : bias->view.master;
    cre::scaleColumns(pool, x->matrix, g->view.master, divisors->matrix, added, y->matrix);
  });
  return handleOf(y);
}

// (x, g, divisors, dy) → dx; adds to the gradient of a trainable g
Napi::Value Binding::scaleColumnsBackward(const Napi::CallbackInfo& info) {
  const Tensor *x = tensor(info[0]), *divisors = tensor(info[2]), *dy = tensor(info[3]);
  const Weight* g = weight(info[1]);
  requireColumns(info, x, g, divisors);
  require(info, sameShape(x, dy), "dy of the shape of x");
  Tensor* dx = make(x->matrix.rows, x->matrix.columns, false);
  produce({dx}, [=](Pool& pool) {
    cre::scaleColumnsBackward(pool, x->matrix, g->view.master, divisors->matrix, dy->matrix, dx->matrix, g->view.gradient);
  });
  return handleOf(dx);
}

// (x) → [1, rows of x]
Napi::Value Binding::rowNorms(const Napi::CallbackInfo& info) {
  const Tensor* x = tensor(info[0]);
  Tensor* out = make(1, x->matrix.rows, true);
  produce({out}, [x, out](Pool& pool) { cre::rowNorms(pool, x->matrix, out->matrix); });
  return handleOf(out);
}

// (x)
Napi::Value Binding::tanh(const Napi::CallbackInfo& info) {
  const Tensor* x = tensor(info[0]);
  Tensor* y = make(x->matrix.rows, x->matrix.columns, false);
  produce({y}, [x, y](Pool& pool) { cre::tanh(pool, x->matrix, y->matrix); });
  return handleOf(y);
}

// (y, dy) → dx
Napi::Value Binding::tanhBackward(const Napi::CallbackInfo& info) {
  const Tensor *y = tensor(info[0]), *dy = tensor(info[1]);
  require(info, sameShape(y, dy), "dy of the shape of y");
  Tensor* dx = make(y->matrix.rows, y->matrix.columns, false);
  produce({dx}, [y, dy, dx](Pool& pool) { cre::tanhBackward(pool, y->matrix, dy->matrix, dx->matrix); });
  return handleOf(dx);
}

}  // namespace cre
