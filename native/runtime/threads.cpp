#include "runtime/threads.h"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/arena.h"
#include "runtime/tiles.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cre {
namespace {

constexpr int kScratchSlots = 8;
// Pauses of the caller before it yields to other processes: longer spinning costs a fifth of the speed on a busy machine.
constexpr int kWaitSpins = 1000;
constexpr int kSpins = 2000;  // pauses before a worker sleeps: about 100 µs

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

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
  ~Scratch() { systemRelease(data, bytes); }
};
using ScratchSlots = std::array<Scratch, kScratchSlots>;

}  // namespace

void loadTiles() {
#ifdef __AMX_TILE__
  struct alignas(64) TileConfig {
    uint8_t palette = 1, startRow = 0, reserved[14] = {};
    uint16_t bytesPerRow[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static const TileConfig config;
  // Own assembly: GCC 12's intrinsic names only 8 of the 64 bytes as its input.
  asm volatile("ldtilecfg %0" ::"m"(config) : "memory");
#endif
}

void releaseTiles() {
#ifdef __AMX_TILE__
  asm volatile("tilerelease");
#endif
}

// `gate` of a parallel region: generation << 32 | open bit | number of workers inside. A worker enters by adding one while the region is
// open; the caller closes it when all items are taken and waits only for the workers inside, so a sleeping worker delays nobody.
struct Pool::State {
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  static constexpr uint64_t kInside = kOpen - 1;

  alignas(64) std::atomic<uint64_t> gate{0};
  // Items [next, end) of one thread; other threads steal from them when their own are done.
  struct alignas(64) Share {
    std::atomic<int> next{0};
    int end = 0;
  };
  std::vector<Share> shares;
  Call call = nullptr;
  void* context = nullptr;
  std::atomic<bool> stop{false};
  std::atomic<int> sleepers{0};
  std::mutex mutex;
  std::condition_variable wake;
  std::exception_ptr failure;
  std::vector<std::thread> workers;
  std::vector<ScratchSlots> scratch;
  ScratchSlots shared;

  void work(int thread) {
    loadTiles();  // for every parallel region, because other libraries may release the configuration
    try {
      const size_t count = shares.size();
      for (size_t i = 0; i < count; i++) {
        Share& share = shares[(thread + i) % count];
        for (int item = share.next.fetch_add(1, std::memory_order_relaxed); item < share.end;
             item = share.next.fetch_add(1, std::memory_order_relaxed)) {
          call(context, item, thread);
        }
      }
    } catch (...) {
      for (Share& share : shares) share.next.store(share.end, std::memory_order_relaxed);
      std::lock_guard<std::mutex> lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }

  bool enter(uint64_t seen) {
    while ((seen & kOpen) != 0) {
      if (gate.compare_exchange_weak(seen, seen + 1)) return true;
    }
    return false;
  }

  void serve(int thread) {
    uint64_t generation = 0;
    int spins = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      const uint64_t seen = gate.load();
      if ((seen >> 32) != generation) {
        generation = seen >> 32;
        spins = 0;
        if (enter(seen)) {
          work(thread);
          gate.fetch_sub(1);
        }
      } else if (++spins < kSpins) {
        pause();
      } else {
        std::unique_lock<std::mutex> lock(mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, [&] { return stop.load() || (gate.load() >> 32) != generation; });
        sleepers.fetch_sub(1);
        spins = 0;
      }
    }
  }
};

Pool::Pool(int threadCount) : threadCount_(threadCount < 1 ? 1 : threadCount), state_(new State) {
  state_->shares = std::vector<State::Share>(threadCount_);
  state_->scratch.resize(threadCount_);
  for (int thread = 1; thread < threadCount_; thread++) {
    state_->workers.emplace_back([this, thread] { state_->serve(thread); });
  }
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  for (auto& worker : state_->workers) worker.join();
  delete state_;
}

void Pool::run(int items, Call call, void* context) {
  State& s = *state_;
  if (items <= 0) return;
  if (items == 1 || threadCount_ == 1) {
    loadTiles();
    for (int item = 0; item < items; item++) call(context, item, 0);
    return;
  }
  for (int thread = 0; thread < threadCount_; thread++) {
    s.shares[thread].next.store(static_cast<int>(static_cast<long>(items) * thread / threadCount_), std::memory_order_relaxed);
    s.shares[thread].end = static_cast<int>(static_cast<long>(items) * (thread + 1) / threadCount_);
  }
  s.call = call;
  s.context = context;
  const uint64_t generation = ((s.gate.load() >> 32) + 1) & 0xffffffff;
  s.gate.store(generation << 32 | State::kOpen);
  if (s.sleepers.load() > 0) {
    std::lock_guard<std::mutex> lock(s.mutex);
    s.wake.notify_all();
  }
  s.work(0);
  s.gate.fetch_and(~State::kOpen);
  for (int spins = 0; (s.gate.load() & State::kInside) != 0;) {
    if (++spins < kWaitSpins) pause();
    else std::this_thread::yield();  // or another process on this core would stall the wait for a time slice
  }
  if (s.failure) {
    std::exception_ptr failure = s.failure;
    s.failure = nullptr;
    std::rethrow_exception(failure);
  }
}

void* Pool::scratch(int thread, int slot, size_t bytes) { return state_->scratch[thread][slot].atLeast(bytes); }

void* Pool::sharedScratch(int slot, size_t bytes) { return state_->shared[slot].atLeast(bytes); }

}  // namespace cre
