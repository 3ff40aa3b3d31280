#include <cmath>

#include "binding/binding.h"
#include "matmul/muon.h"

namespace cre {

void Binding::addTraining(Methods& methods) {
  methods.push_back(InstanceMethod("crossEntropy", &Binding::crossEntropy));
  methods.push_back(InstanceMethod("logProbabilities", &Binding::logProbabilities));
  methods.push_back(InstanceMethod("argmax", &Binding::argmax));
  methods.push_back(InstanceMethod("zeroGradients", &Binding::zeroGradients));
  methods.push_back(InstanceMethod("gradientNorm", &Binding::gradientNorm));
  methods.push_back(InstanceMethod("adamW", &Binding::adamW));
  methods.push_back(InstanceMethod("muon", &Binding::muon));
}

// (logits, targets, weights, label smoothing) → [loss, dLogits]
Napi::Value Binding::crossEntropy(const Napi::CallbackInfo& info) {
  const Tensor* logits = tensor(info[0]);
  std::vector<int32_t> targets = ids(info[1], logits->matrix.columns);
  std::vector<float> weights = floats(info[2]);
  const float smoothing = number(info[3]);
  const auto rows = static_cast<size_t>(logits->matrix.rows);
  require(info, targets.size() == rows && weights.size() == rows, "one target and one weight for each row");
  Tensor* loss = make(1, 1, true);
  Tensor* dLogits = make(logits->matrix.rows, logits->matrix.columns, false);
  produce({loss, dLogits}, [=, targets = std::move(targets), weights = std::move(weights)](Pool& pool) {
    cre::crossEntropy(pool, logits->matrix, targets.data(), weights.data(), smoothing, loss->matrix, dLogits->matrix);
  });
  return handlesOf({loss, dLogits});
}

// (logits, rows, tokens)
Napi::Value Binding::logProbabilities(const Napi::CallbackInfo& info) {
  const Tensor* logits = tensor(info[0]);
  std::vector<int32_t> rows = ids(info[1], logits->matrix.rows), tokens = ids(info[2], logits->matrix.columns);
  require(info, rows.size() == tokens.size() && !rows.empty(), "one row number for each token, at least one");
  Tensor* out = make(1, static_cast<int>(rows.size()), true);
  produce({out}, [logits, out, rows = std::move(rows), tokens = std::move(tokens)](Pool& pool) {
    cre::logProbabilities(pool, logits->matrix, rows.data(), tokens.data(), static_cast<int>(rows.size()), out->matrix);
  });
  return handleOf(out);
}

// (x)
Napi::Value Binding::argmax(const Napi::CallbackInfo& info) {
  const Tensor* x = tensor(info[0]);
  Tensor* out = make(x->matrix.rows, 1, true);
  produce({out}, [x, out](Pool& pool) { argmaxRows(pool, x->matrix, out->matrix); });
  return handleOf(out);
}

// (weights)
void Binding::zeroGradients(const Napi::CallbackInfo& info) {
  issue([this, weights = trainables(info[0])](Pool& pool) {
    for (Weight* weight : weights) memory_.zeroGradient(pool, *weight);
  });
}

// (weights)
Napi::Value Binding::gradientNorm(const Napi::CallbackInfo& info) {
  std::vector<Weight*> weights = trainables(info[0]);
  Tensor* norm = make(1, 1, true);
  produce({norm}, [this, norm, weights = std::move(weights)](Pool& pool) {
    double squares = 0;
    for (const Weight* weight : weights) squares += gradientSquares(pool, weight->view);
    memory_.zero(pool, norm->matrix);
    norm->matrix.f32()[0] = static_cast<float>(std::sqrt(squares));
  });
  return handleOf(norm);
}

// (weights, Float64Array of learning rate, beta1, beta2, epsilon, weight decay, gradient scale, step)
void Binding::adamW(const Napi::CallbackInfo& info) {
  require(info, info[1].IsTypedArray() && info[1].As<Napi::TypedArray>().TypedArrayType() == napi_float64_array, "a Float64Array");
  const auto given = info[1].As<Napi::Float64Array>();
  require(info, given.ElementLength() == 7, "seven settings");
  const AdamW settings{given[0], given[1], given[2], given[3], given[4], given[5], static_cast<int>(given[6])};
  issue([this, weights = trainables(info[0]), settings](Pool& pool) {
    for (Weight* weight : weights) {
      cre::adamW(pool, weight->view, settings);
      memory_.repack(pool, *weight);
    }
  });
}

// (weights, learning rate, momentum, weight decay)
void Binding::muon(const Napi::CallbackInfo& info) {
  for (int i = 1; i <= 3; i++) require(info, info[i].IsNumber(), "three numbers");
  const auto setting = [&](int i) { return info[i].As<Napi::Number>().DoubleValue(); };
  const Muon settings{setting(1), setting(2), setting(3)};
  issue([this, weights = trainables(info[0]), settings](Pool& pool) {
    for (Weight* weight : weights) {
      cre::muon(pool, weight->view, settings);
      memory_.repack(pool, *weight);
    }
  });
}

}  // namespace cre
