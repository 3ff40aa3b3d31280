#include "binding/binding.h"

namespace cre {

void Binding::addRowOperations(Methods& methods) {
  methods.push_back(InstanceMethod("rmsNorm", &Binding::rmsNorm));
  methods.push_back(InstanceMethod("rmsNormBackward", &Binding::rmsNormBackward));
  methods.push_back(InstanceMethod("rotary", &Binding::rotary));
  methods.push_back(InstanceMethod("attention", &Binding::attention));
  methods.push_back(InstanceMethod("attentionBackward", &Binding::attentionBackward));
  methods.push_back(InstanceMethod("swiglu", &Binding::swiglu));
  methods.push_back(InstanceMethod("swigluBackward", &Binding::swigluBackward));
  methods.push_back(InstanceMethod("add", &Binding::add));
  methods.push_back(InstanceMethod("dropout", &Binding::dropout));
}

// (x, g, epsilon)
Napi::Value Binding::rmsNorm(const Napi::CallbackInfo& info) {
  const Tensor* x = tensor(info[0]);
  const Weight* g = weight(info[1]);
  const float epsilon = number(info[2]);
  require(info, g->view.isVector() && x->matrix.columns % g->view.columns == 0, "g of one number for each column of x or of a head of it");
  Tensor* y = make(x->matrix.rows, x->matrix.columns, false);
  produce({y}, [x, g, epsilon, y](Pool& pool) {
    const int width = g->view.columns;
    if (width == x->matrix.columns) cre::rmsNorm(pool, x->matrix, g->view.master, epsilon, y->matrix);
    else cre::rmsNormHeads(pool, x->matrix, g->view.master, width, epsilon, y->matrix);
  });
  return handleOf(y);
}

// (x, g, dy, epsilon, residual or null)
Napi::Value Binding::rmsNormBackward(const Napi::CallbackInfo& info) {
  const Tensor* x = tensor(info[0]);
  const Weight* g = weight(info[1]);
  const Tensor* dy = tensor(info[2]);
  const float epsilon = number(info[3]);
  const Tensor* residual = tensorOrNull(info[4]);
  require(info, g->view.isVector() && x->matrix.columns % g->view.columns == 0, "g of one number for each column of x or of a head of it");
  require(info, sameShape(x, dy) && (residual == nullptr || sameShape(x, residual)), "dy and residual of the shape of x");
  Tensor* dx = make(x->matrix.rows, x->matrix.columns, true);
  produce({dx}, [this, x, g, dy, epsilon, residual, dx](Pool& pool) {
    const int width = g->view.columns;
    const Matrix* added = residual == nullptr ? nullptr : &residual->matrix;
    if (width == x->matrix.columns) {
      memory_.allocateNarrowCopy(dx->matrix);  // dx is usually the gradient of a product
      cre::rmsNormBackward(pool, x->matrix, g->view.master, dy->matrix, epsilon, added, dx->matrix, g->view.gradient);
    } else {
      cre::rmsNormHeadsBackward(pool, x->matrix, g->view.master, width, dy->matrix, epsilon, added, dx->matrix, g->view.gradient);
    }
  });
  return handleOf(dx);
}

// (x, backward, then as rotaryInputOf)
Napi::Value Binding::rotary(const Napi::CallbackInfo& info) {
  const Tensor* x = tensor(info[0]);
  const bool backward = truth(info[1]);
  RotaryInput rotation = rotaryInputOf(info, 2, x->matrix.rows, x->matrix.columns);
  require(info, rotation.any(), "positions");
  Tensor* y = make(x->matrix.rows, x->matrix.columns, false);
  produce({y}, [=, rotation = std::move(rotation)](Pool& pool) { cre::rotary(pool, x->matrix, rotation.rotary(), backward, y->matrix); });
  return handleOf(y);
}

namespace {

// Data of an attention job, checked against the shapes of q and k.
struct AttentionJob {
  std::vector<AttentionSegment> segments;
  std::vector<KeySpan> spans;
  std::vector<float> slopes, frequencies;
  int heads, keyValueHeads, headWidth;
  float scale;
  bool interleaved;

  AttentionPlan plan() const {
    return {static_cast<int>(segments.size()),
            segments.data(),
            spans.data(),
            heads,
            keyValueHeads,
            headWidth,
            scale,
            slopes.empty() ? nullptr : slopes.data(),
            {frequencies.data(), static_cast<int>(frequencies.size()), interleaved}};
  }
};

bool isRange(int start, int length, int rows) { return start >= 0 && length >= 0 && start <= rows && length <= rows - start; }

// (…, heads, key/value heads, head width, scale, slopes or null, segments, spans, rotary frequencies or null, interleaved) from argument
// `first` on. A segment is seven numbers: start, length, keyStart, position, bidirectional rows, first span, number of spans; a span is
// three: start, length, position.
AttentionJob attentionJob(const Napi::CallbackInfo& info, int first, const Matrix& q, const Matrix& k) {
  AttentionJob job;
  job.heads = wholeNumber(info[first], 1, 1 << 20);
  job.keyValueHeads = wholeNumber(info[first + 1], 1, 1 << 20);
  job.headWidth = wholeNumber(info[first + 2], 1, 1 << 20);
  job.scale = number(info[first + 3]);
  if (!info[first + 4].IsNull()) job.slopes = floats(info[first + 4]);
  require(info, job.heads % job.keyValueHeads == 0, "key/value heads that divide the heads");
  require(info, static_cast<int64_t>(job.heads) * job.headWidth == q.columns, "q with heads x head width columns");
  require(info, static_cast<int64_t>(job.keyValueHeads) * job.headWidth == k.columns, "k with key/value heads x head width columns");
  require(info, job.slopes.empty() || job.slopes.size() == static_cast<size_t>(job.heads), "one slope for each head");
  if (!info[first + 7].IsNull()) job.frequencies = floats(info[first + 7]);
  job.interleaved = truth(info[first + 8]);
  require(info, 2 * job.frequencies.size() <= static_cast<size_t>(job.headWidth), "a rotated width within a head");
  const std::vector<int32_t> segments = integers(info[first + 5]), spans = integers(info[first + 6]);
  require(info, segments.size() % 7 == 0 && spans.size() % 3 == 0, "segments of seven numbers and spans of three");
  for (size_t i = 0; i < spans.size(); i += 3) {
    job.spans.push_back({spans[i], spans[i + 1], spans[i + 2]});
    require(info, isRange(spans[i], spans[i + 1], k.rows), "context spans inside k");
  }
  for (size_t i = 0; i < segments.size(); i += 7) {
    const int32_t* s = &segments[i];
    job.segments.push_back({s[0], s[1], s[2], s[3], s[4], s[5], s[6]});
    require(info, isRange(s[0], s[1], q.rows) && isRange(s[2], s[1], k.rows), "segments inside q and k");
    require(info, s[4] >= 0 && s[4] <= s[1], "bidirectional rows within a segment");
    require(info, isRange(s[5], s[6], static_cast<int>(job.spans.size())), "spans of a segment inside the list of spans");
  }
  return job;
}

}  // namespace

// (q, k, v, then as attentionJob) → [output, logSumExp]
Napi::Value Binding::attention(const Napi::CallbackInfo& info) {
  const Tensor *q = tensor(info[0]), *k = tensor(info[1]), *v = tensor(info[2]);
  require(info, sameShape(k, v), "k and v of the same shape");
  AttentionJob job = attentionJob(info, 3, q->matrix, k->matrix);
  Tensor* output = make(q->matrix.rows, q->matrix.columns, false);
  Tensor* logSumExp = make(q->matrix.rows, job.heads, true);
  produce({output, logSumExp}, [=, job = std::move(job)](Pool& pool) {
    cre::attention(pool, q->matrix, k->matrix, v->matrix, job.plan(), output->matrix, logSumExp->matrix);
  });
  return handlesOf({output, logSumExp});
}

// (q, k, v, output, logSumExp, dOutput, then as attentionJob) → [dq, dk, dv]
Napi::Value Binding::attentionBackward(const Napi::CallbackInfo& info) {
  const Tensor *q = tensor(info[0]), *k = tensor(info[1]), *v = tensor(info[2]);
  const Tensor *output = tensor(info[3]), *logSumExp = tensor(info[4]), *dOutput = tensor(info[5]);
  require(info, sameShape(k, v), "k and v of the same shape");
  require(info, sameShape(q, output) && sameShape(q, dOutput), "output and dOutput of the shape of q");
  AttentionJob job = attentionJob(info, 6, q->matrix, k->matrix);
  require(info, logSumExp->matrix.rows == q->matrix.rows && logSumExp->matrix.columns == job.heads && isWide(logSumExp),
          "a wide logSumExp with one column for each head");
  Tensor* dq = make(q->matrix.rows, q->matrix.columns, false);
  Tensor* dk = make(k->matrix.rows, k->matrix.columns, false);
  Tensor* dv = make(v->matrix.rows, v->matrix.columns, false);
  produce({dq, dk, dv}, [=, job = std::move(job)](Pool& pool) {
    cre::attentionBackward(pool, q->matrix, k->matrix, v->matrix, output->matrix, logSumExp->matrix, dOutput->matrix, job.plan(),
                           dq->matrix, dk->matrix, dv->matrix);
  });
  return handlesOf({dq, dk, dv});
}

// (gate, up)
Napi::Value Binding::swiglu(const Napi::CallbackInfo& info) {
  const Tensor *gate = tensor(info[0]), *up = tensor(info[1]);
  require(info, sameShape(gate, up), "gate and up of the same shape");
  Tensor* h = make(gate->matrix.rows, gate->matrix.columns, false);
  produce({h}, [gate, up, h](Pool& pool) { cre::swiglu(pool, gate->matrix, up->matrix, h->matrix); });
  return handleOf(h);
}

// (gate, up, dh) → [dGate, dUp]
Napi::Value Binding::swigluBackward(const Napi::CallbackInfo& info) {
  const Tensor *gate = tensor(info[0]), *up = tensor(info[1]), *dh = tensor(info[2]);
  require(info, sameShape(gate, up) && sameShape(gate, dh), "gate, up and dh of the same shape");
  Tensor* dGate = make(gate->matrix.rows, gate->matrix.columns, false);
  Tensor* dUp = make(gate->matrix.rows, gate->matrix.columns, false);
  produce({dGate, dUp}, [=](Pool& pool) { cre::swigluBackward(pool, gate->matrix, up->matrix, dh->matrix, dGate->matrix, dUp->matrix); });
  return handlesOf({dGate, dUp});
}

// (a, b, scale, wide)
Napi::Value Binding::add(const Napi::CallbackInfo& info) {
  const Tensor *a = tensor(info[0]), *b = tensor(info[1]);
  const float scale = number(info[2]);
  require(info, sameShape(a, b), "a and b of the same shape");
  Tensor* y = make(a->matrix.rows, a->matrix.columns, truth(info[3]));
  produce({y}, [a, b, scale, y](Pool& pool) { cre::add(pool, a->matrix, b->matrix, scale, y->matrix); });
  return handleOf(y);
}

// (x, probability, seed, numbers or null)
Napi::Value Binding::dropout(const Napi::CallbackInfo& info) {
  const Tensor* x = tensor(info[0]);
  require(info, info[1].IsNumber() && info[2].IsNumber(), "a probability and a seed");
  const double probability = info[1].As<Napi::Number>().DoubleValue();
  const uint32_t seed = info[2].As<Napi::Number>().Uint32Value();
  require(info, probability >= 0 && probability < 1, "a probability in [0, 1)");
  std::vector<int32_t> numbers;
  if (!info[3].IsNull()) numbers = integers(info[3]);
  require(info, info[3].IsNull() || x->matrix.rows == static_cast<int>(numbers.size()), "a number for each row of x");
  Tensor* y = make(x->matrix.rows, x->matrix.columns, isWide(x));
  produce({y}, [x, probability, seed, numbers = std::move(numbers), y](Pool& pool) {
    cre::dropout(pool, x->matrix, probability, seed, numbers.empty() ? nullptr : numbers.data(), y->matrix);
  });
  return handleOf(y);
}

}  // namespace cre
