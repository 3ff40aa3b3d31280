// The addon's own threads: the caller (the executor thread of binding.cpp) and threadCount − 1 workers.
#pragma once
#include <cstddef>
#include <type_traits>

namespace cre {

class Pool {
 public:
  explicit Pool(int threadCount);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threadCount() const { return threadCount_; }

  // Calls body(item, thread) for every item in [0, items), items handed out one by one; returns when all are done; an exception of one is thrown again. Not reentrant.
  // On the amx level every participating thread has its tile configuration loaded (8 tiles of 16 rows x 64 bytes).
  template <class Body>
  void parallelFor(int items, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(items, [](void* context, int item, int thread) { (*static_cast<Plain*>(context))(item, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
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
