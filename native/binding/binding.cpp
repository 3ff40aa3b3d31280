#include "binding/binding.h"

#include <utility>

#include "binding/binding_checks.h"

namespace cre {
namespace {

constexpr int kMostThreads = 256;
constexpr int kMostKinds = 1 << 16;

void requireShape(const Napi::CallbackInfo& info, int rows, int columns) {
  require(info, static_cast<int64_t>(rows) * columns <= INT32_MAX, "fewer than 2^31 elements");
}

}  // namespace

Binding::Binding(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Binding>(info), memory_(truth(info[1]), truth(info[2])) {
  const int threads = wholeNumber(info[0], 1, kMostThreads);
  if (memory_.bf16Precision()) {
    require(info, supportsBf16(), "float32 precision: bfloat16 needs the level avx512bf16 or amx");
  }
  courier_ = Courier::New(info.Env(), "cre native backend", 0, 1, this);
  courier_.Unref(info.Env());
  executor_ = std::make_unique<Executor>(threads);
  napi_add_env_cleanup_hook(info.Env(), cleanUp, this);
  hooked_ = true;
}

Binding::~Binding() {
  if (hooked_) napi_remove_env_cleanup_hook(Env(), cleanUp, this);
  stop();
}

void Binding::cleanUp(void* self) {
  auto* binding = static_cast<Binding*>(self);
  binding->hooked_ = false;
  binding->stop();
}

// Ends the threads and frees all memory. Safe to call twice.
void Binding::stop() {
  if (!executor_) return;
  closed_ = true;
  executor_.reset();
  courier_.Release();
  for (auto& entry : tensors_) memory_.release(entry.second->matrix);
  for (auto& entry : weights_) memory_.release(*entry.second);
  tensors_.clear();
  weights_.clear();
}

void Binding::expectOpen() const {
  if (closed_) throw Napi::Error::New(Env(), "native backend: expected an open backend, it was closed.");
}

// ---- answers

Binding::Answer* Binding::expectAnswer(Napi::Env env, size_t elements) {
  expectOpen();
  auto* answer = new Answer{Napi::Promise::Deferred::New(env), {}, {}, nullptr, {}, false};
  if (elements > 0) {
    Napi::Float32Array values = Napi::Float32Array::New(env, elements);
    answer->values = Napi::Persistent(values);
    answer->data = values.Data();  // does not move while the reference exists
  }
  if (expectedAnswers_++ == 0) {
    courier_.Ref(env);
    Ref();
  }
  return answer;
}

// Issues a job that resolves the answer; after a failure the answer is rejected with it.
Napi::Value Binding::promise(Answer* answer, std::function<void(Pool&)> body) {
  executor_->issueAlways([this, answer, body = std::move(body)](Pool& pool) {
    answer->failure = executor_->failure();
    if (answer->failure.empty()) {
      try {
        body(pool);
      } catch (const std::exception& error) {
        answer->failure = std::string("the native backend failed: ") + error.what();
      }
    }
    courier_.NonBlockingCall(answer);
  });
  return answer->deferred.Promise();
}

void Binding::deliver(Napi::Env env, Napi::Function, Binding* binding, Answer* answer) {
  const std::unique_ptr<Answer> owned(answer);
  if (env == nullptr) return;  // Node is exiting
  if (--binding->expectedAnswers_ == 0) {
    binding->courier_.Unref(env);
    binding->Unref();
  }
  Napi::HandleScope scope(env);
  if (owned->closes) binding->stop();
  if (!owned->failure.empty() && !owned->closes) owned->deferred.Reject(Napi::Error::New(env, owned->failure).Value());
  else if (owned->values.IsEmpty()) owned->deferred.Resolve(env.Undefined());
  else owned->deferred.Resolve(owned->values.Value());
}

Napi::Value Binding::sync(const Napi::CallbackInfo& info) {
  return promise(expectAnswer(info.Env(), 0), [](Pool&) {});
}

Napi::Value Binding::close(const Napi::CallbackInfo& info) {
  Answer* answer = expectAnswer(info.Env(), 0);
  answer->closes = true;
  closed_ = true;
  return promise(answer, [](Pool&) {});
}

// (kind): jobs issued from now on are timed under this kind; 0: not timed
void Binding::label(const Napi::CallbackInfo& info) {
  expectOpen();
  executor_->label(wholeNumber(info[0], 0, kMostKinds));
}

// Three numbers for each kind: calls, seconds, and processor seconds of the process in that time.
Napi::Value Binding::spent(const Napi::CallbackInfo& info) {
  expectOpen();
  const std::vector<Executor::Spent> spent = executor_->spent();
  Napi::Float64Array numbers = Napi::Float64Array::New(info.Env(), spent.size() * 3);
  for (size_t kind = 0; kind < spent.size(); kind++) {
    numbers[kind * 3] = spent[kind].calls;
    numbers[kind * 3 + 1] = spent[kind].seconds;
    numbers[kind * 3 + 2] = spent[kind].processorSeconds;
  }
  return numbers;
}

// (seconds, whether memory is measured too) → operations on zeros, bytes read, operations on numbers; all in 10⁹ per second
Napi::Value Binding::peak(const Napi::CallbackInfo& info) {
  const double seconds = number(info[0]);
  const bool reads = truth(info[1]);
  Answer* answer = expectAnswer(info.Env(), 3);
  return promise(answer, [seconds, reads, data = answer->data](Pool& pool) {
    data[0] = static_cast<float>(peakFlops(pool, seconds, false) / 1e9);
    data[1] = reads ? static_cast<float>(readBandwidth(pool, seconds) / 1e9) : 0;
    data[2] = static_cast<float>(peakFlops(pool, seconds, true) / 1e9);
  });
}

// ---- handles

Tensor* Binding::tensor(const Napi::Value& handle) const {
  expectOpen();
  const auto found = tensors_.find(static_cast<uint32_t>(wholeNumber(handle, 1, INT32_MAX)));
  if (found == tensors_.end()) throw Napi::Error::New(Env(), "native backend: expected a tensor that was not freed.");
  return found->second.get();
}

Tensor* Binding::tensorOrNull(const Napi::Value& handle) const {
  return handle.IsNull() || handle.IsUndefined() ? nullptr : tensor(handle);
}

Weight* Binding::weight(const Napi::Value& handle) const {
  expectOpen();
  const auto found = weights_.find(static_cast<uint32_t>(wholeNumber(handle, 1, INT32_MAX)));
  if (found == weights_.end()) throw Napi::Error::New(Env(), "native backend: expected a weight that was not freed.");
  return found->second.get();
}

Weight* Binding::trainable(const Napi::Value& handle) const {
  Weight* found = weight(handle);
  if (!found->trainable) throw Napi::Error::New(Env(), "native backend: expected a trainable weight.");
  return found;
}

std::vector<Weight*> Binding::trainables(const Napi::Value& handles) const {
  std::vector<Weight*> found;
  for (const int32_t handle : integers(handles)) found.push_back(trainable(Napi::Number::New(Env(), handle)));
  return found;
}

uint32_t Binding::newHandle() {
  do {
    lastHandle_ = lastHandle_ % INT32_MAX + 1;
  } while (tensors_.count(lastHandle_) != 0 || weights_.count(lastHandle_) != 0);
  return lastHandle_;
}

Tensor* Binding::make(int rows, int columns, bool wide) {
  expectOpen();
  const uint32_t handle = newHandle();
  auto made = std::make_unique<Tensor>();
  made->matrix = Matrix{nullptr, rows, columns, memory_.bf16Precision() && !wide};
  made->handle = handle;
  return tensors_.emplace(handle, std::move(made)).first->second.get();
}

Napi::Value Binding::handleOf(const Tensor* made) const { return Napi::Number::New(Env(), made->handle); }

Napi::Value Binding::handlesOf(std::initializer_list<const Tensor*> made) const {
  Napi::Array handles = Napi::Array::New(Env(), made.size());
  uint32_t i = 0;
  for (const Tensor* tensor : made) handles[i++] = handleOf(tensor);
  return handles;
}

// ---- tensors: (values or null, rows, columns, wide)

Napi::Value Binding::newTensor(const Napi::CallbackInfo& info) {
  const int rows = wholeNumber(info[1], 1, INT32_MAX), columns = wholeNumber(info[2], 1, INT32_MAX);
  requireShape(info, rows, columns);
  std::vector<float> values;
  if (!info[0].IsNull()) {
    values = floats(info[0]);
    require(info, values.size() == static_cast<size_t>(rows) * columns, "one value for each element");
  }
  Tensor* made = make(rows, columns, truth(info[3]));
  const size_t payloadBytes = values.size() * sizeof(float);
  executor_->issue(
      [this, made, values = std::move(values)](Pool& pool) {
        memory_.allocate(made->matrix);
        if (values.empty()) memory_.zero(pool, made->matrix);
        else fromRowMajor(pool, values.data(), made->matrix);
      },
      payloadBytes);
  return handleOf(made);
}

Napi::Value Binding::readTensor(const Napi::CallbackInfo& info) {
  const Tensor* read = tensor(info[0]);
  Answer* answer = expectAnswer(info.Env(), static_cast<size_t>(read->matrix.rows) * read->matrix.columns);
  return promise(answer, [read, data = answer->data](Pool& pool) { toRowMajor(pool, read->matrix, data); });
}

void Binding::freeTensor(const Napi::CallbackInfo& info) {
  const uint32_t handle = tensor(info[0])->handle;
  std::shared_ptr<Tensor> freed = std::move(tensors_.at(handle));
  tensors_.erase(handle);
  executor_->issueAlways([this, freed](Pool&) { memory_.release(freed->matrix); });
}

// ---- weights: (values, null for zeros or undefined for rows that come in chunks, rows, columns, storage, trainable)

Napi::Value Binding::newWeight(const Napi::CallbackInfo& info) {
  expectOpen();
  const int rows = wholeNumber(info[1], 1, INT32_MAX), columns = wholeNumber(info[2], 1, INT32_MAX);
  requireShape(info, rows, columns);
  std::vector<float> values;
  const bool comesInChunks = info[0].IsUndefined();
  if (!info[0].IsNull() && !comesInChunks) {
    values = floats(info[0]);
    require(info, values.size() == static_cast<size_t>(rows) * columns, "one value for each element");
  }
  const uint32_t handle = newHandle();
  auto owned = std::make_unique<Weight>();
  owned->handle = handle;
  owned->view.rows = rows;
  owned->view.columns = columns;
  owned->view.storage = static_cast<Storage>(wholeNumber(info[3], 0, kStorages - 1));
  owned->view.packedBf16 = memory_.bf16Precision();
  owned->trainable = truth(info[4]);
  require(info, !(owned->trainable && owned->view.isQuantized()), "a trainable weight in float32 or bfloat16");
  Weight* made = weights_.emplace(handle, std::move(owned)).first->second.get();
  const size_t payloadBytes = values.size() * sizeof(float);
  executor_->issue(
      [this, made, comesInChunks, values = std::move(values)](Pool& pool) {
        if (comesInChunks) memory_.reserve(pool, *made);
        else memory_.fill(pool, *made, values.empty() ? nullptr : values.data());
      },
      payloadBytes);
  return Napi::Number::New(info.Env(), handle);
}

// (weight, bytes, element type, whether rows are divided by their length): the next rows; the promise resolves when the bytes were read
Napi::Value Binding::writeRows(const Napi::CallbackInfo& info) {
  Weight* written = weight(info[0]);
  require(info, info[1].IsTypedArray() && info[1].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "a Uint8Array");
  const auto bytes = info[1].As<Napi::Uint8Array>();
  const auto type = static_cast<Element>(wholeNumber(info[2], 0, 2));
  const bool normalized = truth(info[3]);
  const size_t rowBytes = written->view.columns * elementBytes(type), rows = bytes.ByteLength() / rowBytes;
  const int first = written->rowsGiven, left = written->view.rows - first;
  require(info, rows > 0 && rows * rowBytes == bytes.ByteLength() && rows <= static_cast<size_t>(left), "whole rows that are missing");
  require(info, rows % kBlock == 0 || static_cast<int>(rows) == left, "chunks of 32 rows, except the last");
  Answer* answer = expectAnswer(info.Env(), 0);
  answer->taken = Napi::Persistent(bytes);
  written->rowsGiven += static_cast<int>(rows);
  const RawRows chunk{bytes.Data(), type, static_cast<int>(rows), written->view.columns};
  return promise(answer,
                 [this, written, chunk, first, normalized](Pool& pool) { memory_.writeRows(pool, *written, chunk, first, normalized); });
}

// (weight, values, part)
void Binding::writeWeight(const Napi::CallbackInfo& info) {
  const auto part = static_cast<Part>(wholeNumber(info[2], 0, 3));
  Weight* written = part == Part::value ? weight(info[0]) : trainable(info[0]);
  std::vector<float> values = floats(info[1]);
  const size_t elements = static_cast<size_t>(written->view.rows) * written->view.columns;
  require(info, values.size() == elements, "one value for each element");
  executor_->issue([this, written, part, values = std::move(values)](Pool& pool) { memory_.write(pool, *written, part, values.data()); },
                   elements * sizeof(float));
}

// (weight, part)
Napi::Value Binding::readWeight(const Napi::CallbackInfo& info) {
  const auto part = static_cast<Part>(wholeNumber(info[1], 0, 3));
  const Weight* read = part == Part::value ? weight(info[0]) : trainable(info[0]);
  Answer* answer = expectAnswer(info.Env(), static_cast<size_t>(read->view.rows) * read->view.columns);
  return promise(answer, [this, read, part, data = answer->data](Pool& pool) { memory_.read(pool, *read, part, data); });
}

void Binding::freeWeight(const Napi::CallbackInfo& info) {
  const uint32_t handle = weight(info[0])->handle;
  std::shared_ptr<Weight> freed = std::move(weights_.at(handle));
  weights_.erase(handle);
  executor_->issueAlways([this, freed](Pool&) { memory_.release(*freed); });
}

Napi::Function Binding::define(Napi::Env env) {
  std::vector<Napi::ClassPropertyDescriptor<Binding>> methods{
      InstanceMethod("tensor", &Binding::newTensor),
      InstanceMethod("read", &Binding::readTensor),
      InstanceMethod("free", &Binding::freeTensor),
      InstanceMethod("weight", &Binding::newWeight),
      InstanceMethod("writeWeight", &Binding::writeWeight),
      InstanceMethod("readWeight", &Binding::readWeight),
      InstanceMethod("freeWeight", &Binding::freeWeight),
      InstanceMethod("sync", &Binding::sync),
      InstanceMethod("close", &Binding::close),
      InstanceMethod("label", &Binding::label),
      InstanceMethod("spent", &Binding::spent),
      InstanceMethod("peak", &Binding::peak),
      InstanceMethod("writeRows", &Binding::writeRows),
  };
  addProducts(methods);
  addRowOperations(methods);
  addColumnOperations(methods);
  addTraining(methods);
  return DefineClass(env, "Engine", methods);
}

namespace {

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("Engine", Binding::define(env));
  exports.Set("level", Napi::String::New(env, levelName()));
  addChecks(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(cre, initialise)

}  // namespace cre
