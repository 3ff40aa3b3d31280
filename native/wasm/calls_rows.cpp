// Calls of norms, rotations, attention, elements and columns; arguments as in native/binding/binding_rows.cpp and binding_columns.cpp, after
// the results.
#include "wasm/engine.h"

namespace cre {
namespace {

Matrix& makeLike(Call& call, uint32_t handle, const Matrix& x) { return call.engine.make(handle, x.rows, x.columns)->matrix; }

// (y, x, g, epsilon)
void rmsNorm(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& x = call.tensor()->matrix;
  const WeightView& g = call.weight()->view;
  const float epsilon = call.number();
  Matrix& y = makeLike(call, handle, x);
  if (g.columns == x.columns) cre::rmsNorm(call.pool(), x, g.master, epsilon, y);
  else cre::rmsNormHeads(call.pool(), x, g.master, g.columns, epsilon, y);
}

// (dx, x, g, dy, epsilon, residual or null)
void rmsNormBackward(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& x = call.tensor()->matrix;
  const WeightView& g = call.weight()->view;
  const Matrix& dy = call.tensor()->matrix;
  const float epsilon = call.number();
  const Tensor* residual = call.tensorOrNull();
  const Matrix* added = residual == nullptr ? nullptr : &residual->matrix;
  Matrix& dx = makeLike(call, handle, x);
  if (g.columns == x.columns) cre::rmsNormBackward(call.pool(), x, g.master, dy, epsilon, added, dx, g.gradient);
  else cre::rmsNormHeadsBackward(call.pool(), x, g.master, g.columns, dy, epsilon, added, dx, g.gradient);
}

// (y, x, backward, then as RotaryArguments)
void rotary(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& x = call.tensor()->matrix;
  const bool backward = call.truth();
  const RotaryArguments rotation(call);
  cre::rotary(call.pool(), x, rotation.rotary(), backward, makeLike(call, handle, x));
}

// (heads, key/value heads, head width, scale, slopes or null, segments, spans, rotary frequencies or null, interleaved). A segment is seven
// numbers in the order of AttentionSegment, a span three in the order of KeySpan.
AttentionPlan planOf(Call& call) {
  AttentionPlan plan;
  plan.heads = call.whole();
  plan.keyValueHeads = call.whole();
  plan.headWidth = call.whole();
  plan.scale = call.number();
  plan.slopes = call.array<float>().orNull();
  static_assert(sizeof(AttentionSegment) == 7 * sizeof(int32_t) && sizeof(KeySpan) == 3 * sizeof(int32_t));
  const auto segments = call.array<int32_t>();
  plan.segmentCount = static_cast<int>(segments.size / 7);
  plan.segments = reinterpret_cast<const AttentionSegment*>(segments.data);
  plan.spans = reinterpret_cast<const KeySpan*>(call.array<int32_t>().data);
  const auto frequencies = call.array<float>();
  plan.rotary = {frequencies.data, static_cast<int>(frequencies.size), call.truth()};
  return plan;
}

// (output, logSumExp, q, k, v, then as planOf)
void attention(Call& call) {
  const uint32_t outputHandle = call.word(), sumHandle = call.word();
  const Matrix &q = call.tensor()->matrix, &k = call.tensor()->matrix, &v = call.tensor()->matrix;
  const AttentionPlan plan = planOf(call);
  Matrix& output = makeLike(call, outputHandle, q);
  cre::attention(call.pool(), q, k, v, plan, output, call.engine.make(sumHandle, q.rows, plan.heads)->matrix);
}

// (dq, dk, dv, q, k, v, output, logSumExp, dOutput, then as planOf)
void attentionBackward(Call& call) {
  const uint32_t dqHandle = call.word(), dkHandle = call.word(), dvHandle = call.word();
  const Matrix &q = call.tensor()->matrix, &k = call.tensor()->matrix, &v = call.tensor()->matrix;
  const Matrix &output = call.tensor()->matrix, &logSumExp = call.tensor()->matrix, &dOutput = call.tensor()->matrix;
  const AttentionPlan plan = planOf(call);
  Matrix &dq = makeLike(call, dqHandle, q), &dk = makeLike(call, dkHandle, k), &dv = makeLike(call, dvHandle, v);
  cre::attentionBackward(call.pool(), q, k, v, output, logSumExp, dOutput, plan, dq, dk, dv);
}

// (h, gate, up)
void swiglu(Call& call) {
  const uint32_t handle = call.word();
  const Matrix &gate = call.tensor()->matrix, &up = call.tensor()->matrix;
  cre::swiglu(call.pool(), gate, up, makeLike(call, handle, gate));
}

// (dGate, dUp, gate, up, dh)
void swigluBackward(Call& call) {
  const uint32_t gateHandle = call.word(), upHandle = call.word();
  const Matrix &gate = call.tensor()->matrix, &up = call.tensor()->matrix, &dh = call.tensor()->matrix;
  Matrix &dGate = makeLike(call, gateHandle, gate), &dUp = makeLike(call, upHandle, gate);
  cre::swigluBackward(call.pool(), gate, up, dh, dGate, dUp);
}

// (y, a, b, scale)
void add(Call& call) {
  const uint32_t handle = call.word();
  const Matrix &a = call.tensor()->matrix, &b = call.tensor()->matrix;
  const float scale = call.number();
  cre::add(call.pool(), a, b, scale, makeLike(call, handle, a));
}

// (y, x, probability, seed, numbers or null)
void dropout(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& x = call.tensor()->matrix;
  const double probability = call.exact();
  const uint32_t seed = call.word();
  const auto numbers = call.array<int32_t>();
  cre::dropout(call.pool(), x, probability, seed, numbers.orNull(), makeLike(call, handle, x));
}

// (y, x, g, divisors, bias or null)
void scaleColumns(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& x = call.tensor()->matrix;
  const WeightView& g = call.weight()->view;
  const Matrix& divisors = call.tensor()->matrix;
  const Weight* bias = call.weightOrNull();
  cre::scaleColumns(call.pool(), x, g.master, divisors, bias == nullptr ? nullptr : bias->view.master, makeLike(call, handle, x));
}

// (dx, x, g, divisors, dy)
void scaleColumnsBackward(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& x = call.tensor()->matrix;
  const WeightView& g = call.weight()->view;
  const Matrix &divisors = call.tensor()->matrix, &dy = call.tensor()->matrix;
  cre::scaleColumnsBackward(call.pool(), x, g.master, divisors, dy, makeLike(call, handle, x), g.gradient);
}

// (norms, x)
void rowNorms(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& x = call.tensor()->matrix;
  cre::rowNorms(call.pool(), x, call.engine.make(handle, 1, x.rows)->matrix);
}

// (y, x)
void tanh(Call& call) {
  const uint32_t handle = call.word();
  const Matrix& x = call.tensor()->matrix;
  cre::tanh(call.pool(), x, makeLike(call, handle, x));
}

// (dx, y, dy)
void tanhBackward(Call& call) {
  const uint32_t handle = call.word();
  const Matrix &y = call.tensor()->matrix, &dy = call.tensor()->matrix;
  cre::tanhBackward(call.pool(), y, dy, makeLike(call, handle, y));
}

constexpr Operation kOperations[] = {
    {"rmsNorm", rmsNorm},
    {"rmsNormBackward", rmsNormBackward},
    {"rotary", rotary},
    {"attention", attention},
    {"attentionBackward", attentionBackward},
    {"swiglu", swiglu},
    {"swigluBackward", swigluBackward},
    {"add", add},
    {"dropout", dropout},
    {"scaleColumns", scaleColumns},
    {"scaleColumnsBackward", scaleColumnsBackward},
    {"rowNorms", rowNorms},
    {"tanh", tanh},
    {"tanhBackward", tanhBackward},
};

}  // namespace

const Operations kRowOperations = listOf(kOperations);

}  // namespace cre
