// The JavaScript class of the backend. Only the files of binding/ include napi.h.
#pragma once
#include <napi.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/engine.h"
#include "runtime/executor.h"

namespace cre {

class Binding : public Napi::ObjectWrap<Binding> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit Binding(const Napi::CallbackInfo& info);
  ~Binding() override;

  // ---- parts of operations; all of them throw a JavaScript error on misuse
  Tensor* tensor(const Napi::Value& handle) const;
  Tensor* tensorOrNull(const Napi::Value& handle) const;
  Weight* weight(const Napi::Value& handle) const;
  Weight* trainable(const Napi::Value& handle) const;
  std::vector<Weight*> trainables(const Napi::Value& handles) const;
  Tensor* make(int rows, int columns, bool wide);
  Napi::Value handleOf(const Tensor* made) const;
  Napi::Value handlesOf(std::initializer_list<const Tensor*> made) const;
  // Issues a job that first allocates its outputs.
  template <class Body>
  void produce(std::initializer_list<Tensor*> outputs, Body body) {
    executor_->issue([this, made = std::vector<Tensor*>(outputs), body = std::move(body)](Pool& pool) {
      for (Tensor* output : made) memory_.allocate(output->matrix);
      body(pool);
    });
  }
  template <class Body>
  void issue(Body body) {
    executor_->issue(std::move(body));
  }

 private:
  // An answer for the JavaScript thread.
  struct Answer {
    Napi::Promise::Deferred deferred;
    Napi::Reference<Napi::Float32Array> values;
    Napi::Reference<Napi::Uint8Array> taken;  // bytes that the job reads
    float* data;
    std::string failure;
    bool closes;
  };
  static void deliver(Napi::Env env, Napi::Function, Binding* binding, Answer* answer);
  using Courier = Napi::TypedThreadSafeFunction<Binding, Answer, &Binding::deliver>;
  static void cleanUp(void* self);

  using Methods = std::vector<Napi::ClassPropertyDescriptor<Binding>>;
  static void addProducts(Methods& methods);
  static void addRowOperations(Methods& methods);
  static void addColumnOperations(Methods& methods);
  static void addTraining(Methods& methods);
  void stop();
  uint32_t newHandle();
  Answer* expectAnswer(Napi::Env env, size_t elements);
  Napi::Value promise(Answer* answer, std::function<void(Pool&)> body);
  void expectOpen() const;

  // binding.cpp: memory
  Napi::Value newTensor(const Napi::CallbackInfo& info);
  Napi::Value readTensor(const Napi::CallbackInfo& info);
  void freeTensor(const Napi::CallbackInfo& info);
  Napi::Value newWeight(const Napi::CallbackInfo& info);
  void writeWeight(const Napi::CallbackInfo& info);
  Napi::Value readWeight(const Napi::CallbackInfo& info);
  void freeWeight(const Napi::CallbackInfo& info);
  Napi::Value writeRows(const Napi::CallbackInfo& info);
  Napi::Value sync(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  void label(const Napi::CallbackInfo& info);
  Napi::Value peak(const Napi::CallbackInfo& info);
  Napi::Value spent(const Napi::CallbackInfo& info);

  // binding_products.cpp, binding_rows.cpp, binding_columns.cpp, binding_training.cpp: operations
  Napi::Value embed(const Napi::CallbackInfo& info);
  void embedBackward(const Napi::CallbackInfo& info);
  // How a result is rotated by the positions of its rows; without positions it is not.
  struct RotaryInput {
    std::vector<int32_t> positions;
    int heads = 1, headWidth = 1;
    std::vector<float> frequencies;
    bool interleaved = false;
    bool any() const { return !positions.empty(); }
    Rotary rotary() const {
      return {positions.data(), heads, headWidth, {frequencies.data(), static_cast<int>(frequencies.size()), interleaved}};
    }
  };
  RotaryInput rotaryInputOf(const Napi::CallbackInfo& info, int first, int rows, int columns) const;
  Napi::Value matmul(const Napi::CallbackInfo& info);
  // A sum of products of one shape [rows, columns].
  struct Sum {
    std::vector<const Tensor*> xs;
    std::vector<Weight*> ws;
    std::vector<float> scales;
    std::vector<int32_t> copies;  // backward: whether a second packed copy may be made
    bool backward = false;
    const Weight* bias = nullptr;
    int rows = 0, columns = 0;
  };
  Sum sumOf(const Napi::CallbackInfo& info) const;
  void multiply(Pool& pool, const Sum& sum, MatmulEpilogue epilogue, Matrix& y);
  Napi::Value matmulSum(const Napi::CallbackInfo& info);
  Napi::Value matmulSwiglu(const Napi::CallbackInfo& info);
  Napi::Value matmulBackwardInput(const Napi::CallbackInfo& info);
  struct Factors {
    const Tensor *dy, *x;
    Weight* w;
    float scale;
  };
  Factors factorsOf(const Napi::CallbackInfo& info) const;
  void matmulBackwardWeight(const Napi::CallbackInfo& info);
  Napi::Value matmulBackward(const Napi::CallbackInfo& info);
  void biasBackward(const Napi::CallbackInfo& info);
  Napi::Value rmsNorm(const Napi::CallbackInfo& info);
  Napi::Value rmsNormBackward(const Napi::CallbackInfo& info);
  Napi::Value rotary(const Napi::CallbackInfo& info);
  Napi::Value attention(const Napi::CallbackInfo& info);
  Napi::Value attentionBackward(const Napi::CallbackInfo& info);
  Napi::Value swiglu(const Napi::CallbackInfo& info);
  Napi::Value swigluBackward(const Napi::CallbackInfo& info);
  Napi::Value add(const Napi::CallbackInfo& info);
  Napi::Value scaleColumns(const Napi::CallbackInfo& info);
  Napi::Value scaleColumnsBackward(const Napi::CallbackInfo& info);
  Napi::Value rowNorms(const Napi::CallbackInfo& info);
  Napi::Value tanh(const Napi::CallbackInfo& info);
  Napi::Value tanhBackward(const Napi::CallbackInfo& info);
  Napi::Value dropout(const Napi::CallbackInfo& info);
  Napi::Value gatherRows(const Napi::CallbackInfo& info);
  Napi::Value gatherRowsBackward(const Napi::CallbackInfo& info);
  void copyRows(const Napi::CallbackInfo& info);
  Napi::Value crossEntropy(const Napi::CallbackInfo& info);
  Napi::Value logProbabilities(const Napi::CallbackInfo& info);
  Napi::Value argmax(const Napi::CallbackInfo& info);
  void zeroGradients(const Napi::CallbackInfo& info);
  Napi::Value gradientNorm(const Napi::CallbackInfo& info);
  void adamW(const Napi::CallbackInfo& info);
  void muon(const Napi::CallbackInfo& info);

  Memory memory_;
  std::unique_ptr<Executor> executor_;
  Courier courier_;
  std::unordered_map<uint32_t, std::unique_ptr<Tensor>> tensors_;
  std::unordered_map<uint32_t, std::unique_ptr<Weight>> weights_;
  uint32_t lastHandle_ = 0;
  int expectedAnswers_ = 0;
  bool closed_ = false;
  bool hooked_ = false;
};

inline bool isShape(const Tensor* x, int rows, int columns) { return x->matrix.rows == rows && x->matrix.columns == columns; }
inline bool sameShape(const Tensor* a, const Tensor* b) { return isShape(a, b->matrix.rows, b->matrix.columns); }
// In float32 precision there is no difference between narrow and wide.
inline bool isWide(const Tensor* x) { return !x->matrix.isBf16; }

// ---- arguments: each throws a JavaScript error when the value does not fit
void require(const Napi::CallbackInfo& info, bool fits, const char* expected);
int wholeNumber(const Napi::Value& value, int least, int most);
float number(const Napi::Value& value);
bool truth(const Napi::Value& value);
std::vector<float> floats(const Napi::Value& value);
// Whole numbers in [0, bound).
std::vector<int32_t> ids(const Napi::Value& value, int bound);
std::vector<int32_t> integers(const Napi::Value& value);

}  // namespace cre
