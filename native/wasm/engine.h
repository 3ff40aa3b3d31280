// The engine of the WebAssembly backend: the JavaScript thread writes calls into the shared memory, thread 0 carries them out in order.
// Shapes and ids were checked by src/compute/shell.ts; the module cannot reach anything but its memory.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "runtime/engine.h"

namespace cre {

// A call is one block of memory: this, then 8 bytes for each argument, then the arrays.
struct CallHeader {
  uint32_t operation;
  uint32_t argumentCount;
  uint32_t answer;  // its number, 0 for none
  uint32_t kind;    // under which its time is counted, 0 for none
  double payloadBytes;
};
union Argument {
  double number;
  struct {
    uint32_t offset, length;  // from the call's start; elements
  } array;
};

template <class T>
struct Array {
  const T* data;
  size_t size;
  const T* orNull() const { return size == 0 ? nullptr : data; }
};

class Engine {
 public:
  Engine(int threads, bool poison) : pool(threads), memory(false, poison) {}

  Tensor* tensor(uint32_t handle) const { return tensors_[handle].get(); }
  Weight* weight(uint32_t handle) const { return weights_[handle].get(); }
  Tensor* make(uint32_t handle, int rows, int columns);
  Weight* makeWeight(uint32_t handle);
  void freeTensor(uint32_t handle);
  void freeWeight(uint32_t handle);
  // Numbers that the answer of the current call gives, allocated.
  float* answerOf(size_t elements);

  // Carries out calls until the backend is closed.
  void serve();
  // Carries out the calls that were issued up to now.
  void serveIssued();

  Pool pool;
  Memory memory;

 private:
  void run(CallHeader* call);
  void carryOut(CallHeader* call);
  std::vector<std::unique_ptr<Tensor>> tensors_;
  std::vector<std::unique_ptr<Weight>> weights_;
  float* answer_ = nullptr;
  size_t answerElements_ = 0;
};

// Reads the arguments of a call in order. A missing one is 0, null or empty.
class Call {
 public:
  Call(Engine& engine, const CallHeader* header) : engine(engine), header_(header), next_(reinterpret_cast<const Argument*>(header + 1)) {}

  Engine& engine;
  Pool& pool() const { return engine.pool; }
  Memory& memory() const { return engine.memory; }

  double exact() { return used_ < header_->argumentCount ? next_[used_++].number : 0; }
  float number() { return static_cast<float>(exact()); }
  int whole() { return static_cast<int>(exact()); }
  // Modulo 2^32, as a seed is given.
  uint32_t word() { return static_cast<uint32_t>(static_cast<int64_t>(exact())); }
  bool truth() { return exact() != 0; }
  const Tensor* tensor() { return engine.tensor(word()); }
  Tensor* changedTensor() { return engine.tensor(word()); }
  const Tensor* tensorOrNull() {
    const uint32_t handle = word();
    return handle == 0 ? nullptr : engine.tensor(handle);
  }
  Weight* weight() { return engine.weight(word()); }
  Weight* weightOrNull() {
    const uint32_t handle = word();
    return handle == 0 ? nullptr : engine.weight(handle);
  }
  template <class T>
  Array<T> array() {
    if (used_ >= header_->argumentCount) return {nullptr, 0};
    const auto [offset, length] = next_[used_++].array;
    return {reinterpret_cast<const T*>(reinterpret_cast<const char*>(header_) + offset), length};
  }

 private:
  const CallHeader* header_;
  const Argument* next_;
  uint32_t used_ = 0;
};

struct Operation {
  const char* name;
  void (*run)(Call& call);
};
struct Operations {
  const Operation* first;
  int count;
};
template <int kCount>
constexpr Operations listOf(const Operation (&operations)[kCount]) {
  return {operations, kCount};
}
// calls_*.cpp
extern const Operations kMemoryOperations, kProductOperations, kRowOperations, kTrainingOperations;

// Ends Engine::serve after the current call.
void closeEngine();

// How a result is rotated by the positions of its rows; without positions it is not.
struct RotaryArguments {
  Array<int32_t> positions;
  int heads, headWidth;
  Array<float> frequencies;
  bool interleaved;

  explicit RotaryArguments(Call& call)
      : positions(call.array<int32_t>()),
        heads(call.whole()),
        headWidth(call.whole()),
        frequencies(call.array<float>()),
        interleaved(call.truth()) {}
  bool any() const { return positions.size > 0; }
  Rotary rotary() const { return {positions.data, heads, headWidth, {frequencies.data, static_cast<int>(frequencies.size), interleaved}}; }
};

}  // namespace cre
