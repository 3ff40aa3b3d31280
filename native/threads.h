// The addon's own threads: the caller (the executor thread of binding.cpp) and threadCount − 1 workers.
#pragma once
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

  // Calls body(item, thread) for every item in [0, items); returns when all are done; an exception of one is thrown again. Not reentrant.
  // A thread takes the items of its own run first, then those that others have not begun: where items are rows, the same rows of one kernel
  // after the other stay in the cache of one core.
  // On the amx level every participating thread has its tile configuration loaded (8 tiles of 16 rows x 64 bytes).
  template <class Body>
  void parallelFor(int items, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(items, [](void* context, int item, int thread) { (*static_cast<Plain*>(context))(item, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // Calls body(group, item, thread) for `items` items of each of `groups` groups. A thread takes items of one group while there are any, then
  // those of the next, and threads start at different groups: what a group's items share stays in the cache of few threads. A thread that
  // finds no more items calls after(thread).
  template <class Body, class After>
  void parallelForGroups(int groups, int items, Body&& body, After&& after) {
    std::vector<std::atomic<int>> next(groups);
    parallelFor(threadCount_, [&](int start, int thread) {
      for (int i = 0, group = start * groups / threadCount_; i < groups; i++, group = (group + 1) % groups) {
        for (int item = next[group].fetch_add(1, std::memory_order_relaxed); item < items;
             item = next[group].fetch_add(1, std::memory_order_relaxed)) {
          body(group, item, thread);
        }
      }
      after(thread);
    });
  }

  // Scratch memory of one thread (64-byte aligned, at least `bytes`, content undefined), kept between calls. `slot` 0..7 tells
  // simultaneous uses apart.
  void* scratch(int thread, int slot, size_t bytes);
  // Scratch memory shared by all threads of one kernel call, same rules.
  void* sharedScratch(int slot, size_t bytes);

 private:
  using Call = void (*)(void* context, int item, int thread);
  void run(int items, Call call, void* context);
  int threadCount_;
  struct State;
  State* state_;
};

}  // namespace cre
