#include "wasm/engine.h"

#include <cstring>

#include "wasm/host.h"

namespace cre {
namespace {

constexpr Operations const* kAll[] = {&kMemoryOperations, &kProductOperations, &kRowOperations, &kTrainingOperations};

const Operation* operationAt(uint32_t number) {
  for (const Operations* some : kAll) {
    if (number < static_cast<uint32_t>(some->count)) return some->first + number;
    number -= some->count;
  }
  return nullptr;
}

// Calls that were issued and not begun, in a ring. Only the JavaScript thread adds to it, only thread 0 takes from it.
struct Queue {
  static constexpr uint32_t kPlaces = 4096;
  static constexpr double kMostPayloadBytes = 128 << 20;

  alignas(64) std::atomic<uint32_t> issued{0};
  alignas(64) std::atomic<uint32_t> begun{0};
  std::atomic<bool> sleeps{false};
  std::atomic<int64_t> payloadBytes{0};
  CallHeader* places[kPlaces];
};

struct Spent {
  double calls = 0, seconds = 0, processorSeconds = 0;
};

constexpr int kMostKinds = 1 << 12;
constexpr int kSpins = 20000;  // of thread 0 before it sleeps: some 50 µs

Queue queue;
Engine* engine = nullptr;
bool closed = false;
Spent* spent = nullptr;  // [kMostKinds]

int32_t* wordOf(std::atomic<uint32_t>& word) { return reinterpret_cast<int32_t*>(&word); }

CallHeader* nextCall() {
  const uint32_t begun = queue.begun.load(std::memory_order_relaxed);
  for (int spins = 0; queue.issued.load() == begun;) {
    if (++spins < kSpins) continue;
    queue.sleeps.store(true);
    __builtin_wasm_memory_atomic_wait32(wordOf(queue.issued), static_cast<int32_t>(begun), -1);
    queue.sleeps.store(false);
    spins = 0;
  }
  CallHeader* call = queue.places[begun % Queue::kPlaces];
  queue.begun.store(begun + 1);
  return call;
}

template <class Entry>
std::unique_ptr<Entry>& placeOf(std::vector<std::unique_ptr<Entry>>& entries, uint32_t handle) {
  if (entries.size() <= handle) entries.resize(handle + 1 + handle / 2);
  return entries[handle];
}

}  // namespace

Tensor* Engine::make(uint32_t handle, int rows, int columns) {
  auto& place = placeOf(tensors_, handle);
  place = std::make_unique<Tensor>();
  place->matrix = Matrix{nullptr, rows, columns, false};
  place->handle = handle;
  memory.allocate(place->matrix);
  return place.get();
}

Weight* Engine::makeWeight(uint32_t handle) {
  auto& place = placeOf(weights_, handle);
  place = std::make_unique<Weight>();
  place->handle = handle;
  return place.get();
}

void Engine::freeTensor(uint32_t handle) {
  memory.release(tensors_[handle]->matrix);
  tensors_[handle].reset();
}

void Engine::freeWeight(uint32_t handle) {
  memory.release(*weights_[handle]);
  weights_[handle].reset();
}

float* Engine::answerOf(size_t elements) {
  answerElements_ = elements;
  answer_ = static_cast<float*>(systemAllocate(elements * sizeof(float)));
  return answer_;
}

void Engine::run(CallHeader* header) {
  Call call(*this, header);
  answer_ = nullptr;
  answerElements_ = 0;
  operationAt(header->operation)->run(call);
  if (header->answer != 0) hostAnswer(header->answer, answer_, static_cast<uint32_t>(answerElements_));
}

void Engine::carryOut(CallHeader* call) {
  if (call->kind == 0) {
    run(call);
  } else {
    const double start = hostSeconds(), startProcessor = hostProcessorSeconds();
    run(call);
    Spent& kind = spent[call->kind];
    kind.calls++;
    kind.seconds += hostSeconds() - start;
    kind.processorSeconds += hostProcessorSeconds() - startProcessor;
  }
  queue.payloadBytes.fetch_sub(static_cast<int64_t>(call->payloadBytes));
  systemRelease(call, 0);
}

void Engine::serve() {
  while (!closed) carryOut(nextCall());
}

void Engine::serveIssued() {
  while (queue.begun.load() != queue.issued.load()) carryOut(nextCall());
}

// ---- called on the JavaScript thread

extern "C" void __wasm_call_ctors();

CRE_EXPORT(start) void start(int threads, bool poison) {
  __wasm_call_ctors();
  engine = new Engine(threads, poison);
}

// The number of an operation by its name, −1 if there is none.
CRE_EXPORT(operationNumber) int operationNumber(const char* name, size_t length) {
  int number = 0;
  for (const Operations* some : kAll) {
    for (int i = 0; i < some->count; i++, number++) {
      if (std::strlen(some->first[i].name) == length && std::memcmp(some->first[i].name, name, length) == 0) return number;
    }
  }
  return -1;
}

// Whether a call with these bytes may be issued now: a model is never queued as a whole.
CRE_EXPORT(hasRoom) bool hasRoom(double payloadBytes) {
  if (hasFailed()) return true;
  const auto queued = static_cast<double>(queue.payloadBytes.load());
  const bool fits = queued == 0 || queued + payloadBytes <= Queue::kMostPayloadBytes;
  return fits && queue.issued.load() - queue.begun.load() < Queue::kPlaces;
}

CRE_EXPORT(issue) void issue(CallHeader* call) {
  queue.payloadBytes.fetch_add(static_cast<int64_t>(call->payloadBytes));
  const uint32_t issued = queue.issued.load(std::memory_order_relaxed);
  queue.places[issued % Queue::kPlaces] = call;
  queue.issued.store(issued + 1);
  if (queue.sleeps.load()) __builtin_wasm_memory_atomic_notify(wordOf(queue.issued), 1);
}

// Makes the places of times, before the first call that has a kind is issued.
CRE_EXPORT(keepTimes) void keepTimes() {
  if (spent == nullptr) spent = new Spent[kMostKinds];
}
// Three numbers for each kind: calls, seconds, and processor seconds of the process in that time.
CRE_EXPORT(times) const void* times() { return spent; }

// Carries out what was issued, where the JavaScript thread is the only one.
CRE_EXPORT(serveIssued) void serveIssued() { engine->serveIssued(); }

// ---- called on the threads of the pool; thread 0 carries out the calls

CRE_EXPORT(serveCalls) void serveCalls() { engine->serve(); }
CRE_EXPORT(fail) void fail() { setFailed(); }

void closeEngine() { closed = true; }

}  // namespace cre
