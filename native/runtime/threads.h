// The addon's own threads: the caller (the executor thread of binding.cpp) and threadCount − 1 workers.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <type_traits>
#include <vector>

namespace cre {

class Pool {
 public:
  explicit Pool(int threadCount);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threadCount() const { return threadCount_; }

  // Calls body(item, thread) for every item in [0, items); returns when all are done; an exception in one is rethrown. Not reentrant.
  // A thread takes its own contiguous range of items first, then steals from others: if items are rows, the rows stay in the cache of one
  // core from kernel to kernel.
  // On the amx level every participating thread has its tile configuration loaded (8 tiles of 16 rows x 64 bytes).
  template <class Body>
  void parallelFor(int items, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        items, [](void* context, int item, int thread) { (*static_cast<Plain*>(context))(item, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // How many pieces a thread takes at a time: `most`, and fewer towards the end, down to `least`, so that each thread's share of the rest is
  // about `perThread` portions. Then threads finish together even if their cores have different speeds.
  struct Portions {
    int most = 1, least = 1, perThread = 2;
  };
  // Calls body(group, nextGroup, first, end, thread) for portions of the `pieces` pieces of each of `groups` groups. A thread takes pieces of
  // one group until none are left, then of the next (nextGroup; -1: none of its own). Threads start at different groups, so that the data a
  // group's pieces share stays in the caches of few threads. `backwards`: a thread takes its own groups from last to first. A thread that
  // finds no more pieces calls after(thread).
  template <class Body, class After>
  void parallelForGroups(int groups, int pieces, const Portions& portions, bool backwards, Body&& body, After&& after) {
    std::vector<std::atomic<int>> next(groups);
    std::atomic<int> left(groups * pieces);
    parallelFor(threadCount_, [&](int start, int thread) {
      const int first = start * groups / threadCount_, own = (start + 1) * groups / threadCount_ - first;
      const auto groupAt = [&](int i) { return i < own ? first + (backwards ? own - 1 - i : i) : (first + i) % groups; };
      for (int i = 0; i < groups; i++) {
        const int group = groupAt(i), nextGroup = i + 1 < own ? groupAt(i + 1) : -1;
        for (;;) {
          const int share = threadCount_ == 1 ? portions.most : left.load(std::memory_order_relaxed) / (portions.perThread * threadCount_);
          const int count = std::clamp(share, portions.least, portions.most);
          const int begin = next[group].fetch_add(count, std::memory_order_relaxed);
          if (begin >= pieces) break;
          const int end = std::min(begin + count, pieces);
          left.fetch_sub(end - begin, std::memory_order_relaxed);
          body(group, nextGroup, begin, end, thread);
        }
      }
      after(thread);
    });
  }
  // True on every second consecutive call with the same data: the caller then reads it backwards, so that the part read last is still cached.
  bool isAgain(const void* data) {
    again_ = data == last_ && !again_;
    last_ = data;
    return again_;
  }

  // Scratch memory of one thread (64-byte aligned, at least `bytes`, content undefined), kept between calls. `slot` 0..7
  // separates simultaneous uses.
  void* scratch(int thread, int slot, size_t bytes);
  // Scratch memory shared by all threads of one kernel call; same rules.
  void* sharedScratch(int slot, size_t bytes);

 private:
  using Call = void (*)(void* context, int item, int thread);
  void run(int items, Call call, void* context);
  int threadCount_;
  const void* last_ = nullptr;
  bool again_ = false;
  struct State;
  State* state_;
};

}  // namespace cre
