// Memory of tensors, weights and scratch: 64-byte aligned, large blocks on huge pages, kept for reuse.
#pragma once
#include <cstddef>
#include <map>
#include <vector>

namespace cre {

// Pages of the last part of a block, which does not fill a huge page.
enum class Tail { huge, small };
// Straight from the operating system: aligned to 64 bytes at least; throws std::bad_alloc. `tail` as allocated.
void* systemAllocate(size_t bytes, Tail tail = Tail::huge);
void systemRelease(void* data, size_t bytes, Tail tail = Tail::huge);

// Blocks by size class (four classes per power of two). Only the executor thread uses an arena, so it has no locks.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void* allocate(size_t bytes);
  void release(void* data, size_t bytes);  // `bytes` as allocated
  // For memory that lives as long as its model: exactly `bytes`, and returned to the operating system at once.
  void* allocateLasting(size_t bytes);
  void releaseLasting(void* data, size_t bytes);
  size_t heldBytes() const { return heldBytes_; }

 private:
  static size_t classBytes(size_t bytes);
  void* carve(size_t bytes);
  void trim();

  std::map<size_t, std::vector<void*>> free_;
  std::vector<void*> chunks_;
  char* chunk_ = nullptr;
  size_t chunkLeft_ = 0;
  size_t heldBytes_ = 0;  // taken from the operating system
  size_t freeLargeBytes_ = 0;
};

}  // namespace cre
