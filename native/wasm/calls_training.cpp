// Calls of losses, choices and the optimizer; arguments as in native/binding/binding_training.cpp, after the results.
#include <cmath>

#include "wasm/engine.h"

namespace cre {
namespace {

// (loss, dLogits, logits, targets, weights, label smoothing)
void crossEntropy(Call& call) {
  const uint32_t lossHandle = call.word(), gradientHandle = call.word();
  const Matrix& logits = call.tensor()->matrix;
  const auto targets = call.array<int32_t>();
  const auto weights = call.array<float>();
  const float smoothing = call.number();
  Matrix& loss = call.engine.make(lossHandle, 1, 1)->matrix;
  Matrix& dLogits = call.engine.make(gradientHandle, logits.rows, logits.columns)->matrix;
  cre::crossEntropy(call.pool(), logits, targets.data, weights.data, smoothing, loss, dLogits);
}

// (out, logits, rows, tokens)
void logProbabilities(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& logits = call.tensor()->matrix;
  const auto rows = call.array<int32_t>(), tokens = call.array<int32_t>();
  const int count = static_cast<int>(rows.size);
  cre::logProbabilities(call.pool(), logits, rows.data, tokens.data, count, call.engine.make(handle, 1, count)->matrix);
}

// (out, x)
void argmax(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& x = call.tensor()->matrix;
  argmaxRows(call.pool(), x, call.engine.make(handle, x.rows, 1)->matrix);
}

// (weights)
void zeroGradients(Call& call) {
  const auto weights = call.array<int32_t>();
  for (size_t i = 0; i < weights.size; i++) call.memory().zeroGradient(call.pool(), *call.engine.weight(weights.data[i]));
}

// (norm, weights)
void gradientNorm(Call& call) {
  Tensor* norm = call.engine.make(call.word(), 1, 1);
  const auto weights = call.array<int32_t>();
  double squares = 0;
  for (size_t i = 0; i < weights.size; i++) squares += gradientSquares(call.pool(), call.engine.weight(weights.data[i])->view);
  call.memory().zero(call.pool(), norm->matrix);
  norm->matrix.f32()[0] = static_cast<float>(std::sqrt(squares));
}

// (weights, learning rate, beta1, beta2, epsilon, weight decay, gradient scale, step)
void adamW(Call& call) {
  const auto weights = call.array<int32_t>();
  const double* given = call.array<double>().data;
  const AdamW settings{given[0], given[1], given[2], given[3], given[4], given[5], static_cast<int>(given[6])};
  for (size_t i = 0; i < weights.size; i++) {
    Weight* weight = call.engine.weight(weights.data[i]);
    cre::adamW(call.pool(), weight->view, settings);
    call.memory().repack(call.pool(), *weight);
  }
}

constexpr Operation kOperations[] = {
    {"crossEntropy", crossEntropy},   {"logProbabilities", logProbabilities}, {"argmax", argmax},
    {"zeroGradients", zeroGradients}, {"gradientNorm", gradientNorm},         {"adamW", adamW},
};

}  // namespace

const Operations kTrainingOperations = listOf(kOperations);

}  // namespace cre
