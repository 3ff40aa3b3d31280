// The pool of runtime/threads.h without a thread library: its workers are JavaScript workers that call serveKernels, and sleep on words of
// the shared memory.
#include "runtime/threads.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "runtime/arena.h"
#include "wasm/host.h"

namespace cre {
namespace {

constexpr int kScratchSlots = 8;
constexpr int kSpins = 20000;      // of a worker before it sleeps: some 50 µs
constexpr int kWaitSpins = 20000;  // of the caller before it sleeps until the last worker is done
constexpr int64_t kMillisecond = 1000000;
std::atomic<bool> failed{false};
void (*serveAs)(int thread) = nullptr;  // set by the module's only pool

struct Scratch {
  void* data = nullptr;
  size_t bytes = 0;

  void* atLeast(size_t wanted) {
    if (wanted > bytes) {
      systemRelease(data, bytes);
      data = nullptr;
      bytes = 0;
      const size_t grown = wanted + wanted / 4;
      data = systemAllocate(grown);
      bytes = grown;
    }
    return data;
  }
};
using ScratchSlots = std::array<Scratch, kScratchSlots>;

int32_t* wordOf(std::atomic<uint32_t>& word) { return reinterpret_cast<int32_t*>(&word); }

}  // namespace

void setFailed() { failed.store(true); }
bool hasFailed() { return failed.load(std::memory_order_relaxed); }

// A worker enters a parallel region by adding one to `inside` while the region is open; the caller closes it when all items are taken and
// waits only for the workers inside, so a sleeping worker delays nobody. `generation` counts regions.
struct Pool::State {
  static constexpr uint32_t kOpen = uint32_t{1} << 31;
  static constexpr uint32_t kInside = 0xff;

  alignas(64) std::atomic<uint32_t> generation{0};
  // kOpen | the lowest 23 bits of the generation << 8 | workers inside
  alignas(64) std::atomic<uint32_t> gate{0};
  struct alignas(64) Share {
    std::atomic<int> next{0};
    int end = 0;
  };
  std::vector<Share> shares;
  Call call = nullptr;
  void* context = nullptr;
  std::atomic<int> sleepers{0};
  std::atomic<bool> callerSleeps{false};
  std::vector<ScratchSlots> scratch;
  ScratchSlots shared;

  static State* only;

  static uint32_t tagOf(uint32_t generation) { return (generation & 0x7fffff) << 8; }

  void work(int thread) {
    const size_t count = shares.size();
    for (size_t i = 0; i < count; i++) {
      Share& share = shares[(thread + i) % count];
      for (int item = share.next.fetch_add(1, std::memory_order_relaxed); item < share.end;
           item = share.next.fetch_add(1, std::memory_order_relaxed)) {
        call(context, item, thread);
      }
    }
  }

  bool enter(uint32_t wanted) {
    uint32_t seen = gate.load();
    while ((seen & ~kInside) == (kOpen | tagOf(wanted))) {
      if (gate.compare_exchange_weak(seen, seen + 1)) return true;
    }
    return false;
  }

  void leave() {
    const uint32_t left = gate.fetch_sub(1) - 1;
    if ((left & kInside) == 0 && callerSleeps.load()) __builtin_wasm_memory_atomic_notify(wordOf(gate), 1);
  }

  [[noreturn]] void serve(int thread) {
    uint32_t last = 0;
    int spins = 0;
    for (;;) {
      const uint32_t seen = generation.load();
      if (seen != last) {
        last = seen;
        spins = 0;
        if (enter(seen)) {
          work(thread);
          leave();
        }
      } else if (++spins >= kSpins) {
        sleepers.fetch_add(1);
        __builtin_wasm_memory_atomic_wait32(wordOf(generation), static_cast<int32_t>(last), -1);
        sleepers.fetch_sub(1);
        spins = 0;
      }
    }
  }
};

Pool::State* Pool::State::only = nullptr;

Pool::Pool(int threadCount) : threadCount_(threadCount < 1 ? 1 : threadCount), state_(new State) {
  state_->shares = std::vector<State::Share>(threadCount_);
  state_->scratch.resize(threadCount_);
  State::only = state_;
  serveAs = [](int thread) { State::only->serve(thread); };
}

// The memory ends with its pool.
Pool::~Pool() {}

void Pool::run(int items, Call call, void* context) {
  State& s = *state_;
  if (items <= 0) return;
  if (items == 1 || threadCount_ == 1) {
    for (int item = 0; item < items; item++) call(context, item, 0);
    return;
  }
  for (int thread = 0; thread < threadCount_; thread++) {
    s.shares[thread].next.store(static_cast<int>(static_cast<int64_t>(items) * thread / threadCount_), std::memory_order_relaxed);
    s.shares[thread].end = static_cast<int>(static_cast<int64_t>(items) * (thread + 1) / threadCount_);
  }
  s.call = call;
  s.context = context;
  const uint32_t generation = s.generation.load() + 1;
  s.gate.store(State::kOpen | State::tagOf(generation));
  s.generation.store(generation);
  if (s.sleepers.load() > 0) __builtin_wasm_memory_atomic_notify(wordOf(s.generation), UINT32_MAX);
  s.work(0);
  uint32_t gate = s.gate.fetch_and(~State::kOpen) & ~State::kOpen;
  for (int spins = 0; (gate & State::kInside) != 0; gate = s.gate.load()) {
    if (++spins < kWaitSpins) continue;
    if (hasFailed()) hostStopped();
    s.callerSleeps.store(true);
    __builtin_wasm_memory_atomic_wait32(wordOf(s.gate), static_cast<int32_t>(gate), 10 * kMillisecond);
    s.callerSleeps.store(false);
  }
}

void* Pool::scratch(int thread, int slot, size_t bytes) { return state_->scratch[thread][slot].atLeast(bytes); }

void* Pool::sharedScratch(int slot, size_t bytes) { return state_->shared[slot].atLeast(bytes); }

// Carries out items of thread 1, 2, … until its worker is ended.
CRE_EXPORT(serveKernels) void serveKernels(int thread) { serveAs(thread); }

}  // namespace cre
