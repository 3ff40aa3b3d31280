// The allocator of a module whose threads share one WebAssembly.Memory. The memory only grows: freed blocks are kept and joined.
//
// Every block has a header of 64 bytes, so that data is aligned to 64 bytes. Small blocks come in powers of two and have a list for each;
// large ones are the best fit of a list in the order of addresses. One spin lock: the thread of a browser's page must not sleep.
#include <atomic>
#include <cstddef>
#include <cstring>
#include <new>

#include "runtime/arena.h"
#include "wasm/host.h"

extern "C" char __heap_base;

namespace cre {
namespace {

constexpr uint64_t kHeader = 64, kPage = 65536;
constexpr uint64_t kSmallest = 128, kLargestSmall = 32768;  // of small blocks, with their headers
constexpr int kClasses = 9;
constexpr uint64_t kPiece = uint64_t{1} << 20;  // small blocks are cut from pieces, and the memory grows by them at least

struct Block {
  uint64_t bytes;  // with the header
  Block* next;     // while it is free
};

std::atomic<bool> locked{false};
struct Lock {
  Lock() {
    while (locked.exchange(true, std::memory_order_acquire)) {
      while (locked.load(std::memory_order_relaxed)) {
      }
    }
  }
  ~Lock() { locked.store(false, std::memory_order_release); }
};

Block* freeSmall[kClasses];
Block* freeLarge = nullptr;
bool hasFirst = false;
uint64_t pieceAt = 0, pieceLeft = 0;

uint64_t addressOf(const Block* block) { return reinterpret_cast<uintptr_t>(block); }
Block* blockAt(uint64_t address) { return reinterpret_cast<Block*>(static_cast<uintptr_t>(address)); }

// Adds a block to the list of large ones and joins it with its neighbours.
void giveLarge(uint64_t address, uint64_t bytes) {
  Block* before = nullptr;
  Block* after = freeLarge;
  while (after != nullptr && addressOf(after) < address) {
    before = after;
    after = after->next;
  }
  Block* block = blockAt(address);
  *block = {bytes, after};
  if (after != nullptr && address + bytes == addressOf(after)) *block = {bytes + after->bytes, after->next};
  if (before == nullptr) freeLarge = block;
  else if (addressOf(before) + before->bytes == address) *before = {before->bytes + block->bytes, block->next};
  else before->next = block;
}

bool grow(uint64_t bytes) {
  if (!hasFirst) {
    // What the linker left of the first pages.
    const uint64_t start = (reinterpret_cast<uintptr_t>(&__heap_base) + kHeader - 1) / kHeader * kHeader;
    const uint64_t end = __builtin_wasm_memory_size(0) * kPage;
    if (start < end) giveLarge(start, end - start);
    hasFirst = true;
  }
  const uint64_t pages = (bytes + kPage - 1) / kPage;
  const size_t before = __builtin_wasm_memory_grow(0, static_cast<size_t>(pages));
  if (before == SIZE_MAX) return false;
  giveLarge(before * kPage, pages * kPage);
  return true;
}

Block* takeLarge(uint64_t bytes) {
  Block** best = nullptr;
  for (Block** link = &freeLarge; *link != nullptr; link = &(*link)->next) {
    if ((*link)->bytes < bytes || (best != nullptr && (*link)->bytes >= (*best)->bytes)) continue;
    best = link;
    if ((*link)->bytes == bytes) break;
  }
  if (best == nullptr) return nullptr;
  Block* block = *best;
  if (block->bytes - bytes < kLargestSmall) {
    *best = block->next;
    return block;
  }
  // The end of a free block, so that its place in the list stays.
  block->bytes -= bytes;
  Block* taken = blockAt(addressOf(block) + block->bytes);
  taken->bytes = bytes;
  return taken;
}

Block* allocateLarge(uint64_t bytes) {
  for (;;) {
    if (Block* block = takeLarge(bytes)) return block;
    if (!grow(bytes > kPiece ? bytes : kPiece) && !grow(bytes)) return nullptr;
  }
}

int classOf(uint64_t bytes) {
  int index = 0;
  for (uint64_t size = kSmallest; size < bytes; size *= 2) index++;
  return index;
}

Block* allocateSmall(int index) {
  if (Block* block = freeSmall[index]) {
    freeSmall[index] = block->next;
    return block;
  }
  const uint64_t bytes = kSmallest << index;
  if (pieceLeft < bytes) {
    Block* piece = allocateLarge(kPiece);
    if (piece == nullptr) return nullptr;
    pieceAt = addressOf(piece);
    pieceLeft = piece->bytes;
  }
  Block* block = blockAt(pieceAt);
  pieceAt += bytes;
  pieceLeft -= bytes;
  block->bytes = bytes;
  return block;
}

void* allocate(size_t wanted) {
  const uint64_t bytes = (static_cast<uint64_t>(wanted) + 2 * kHeader - 1) / kHeader * kHeader;
  Block* block;
  {
    const Lock lock;
    block = bytes <= kLargestSmall ? allocateSmall(classOf(bytes)) : allocateLarge(bytes);
  }
  if (block == nullptr) hostOutOfMemory(static_cast<double>(wanted));
  return reinterpret_cast<char*>(block) + kHeader;
}

void release(void* data) {
  if (data == nullptr) return;
  Block* block = reinterpret_cast<Block*>(static_cast<char*>(data) - kHeader);
  const Lock lock;
  if (block->bytes <= kLargestSmall) {
    Block*& first = freeSmall[classOf(block->bytes)];
    block->next = first;
    first = block;
  } else {
    giveLarge(addressOf(block), block->bytes);
  }
}

}  // namespace

void* systemAllocate(size_t bytes, Tail) { return allocate(bytes); }
void systemRelease(void* data, size_t, Tail) { release(data); }

CRE_EXPORT(allocate) void* exportedAllocate(size_t bytes) { return allocate(bytes); }
CRE_EXPORT(release) void exportedRelease(void* data) { release(data); }

}  // namespace cre

void* operator new(size_t bytes) { return cre::systemAllocate(bytes); }
void* operator new[](size_t bytes) { return cre::systemAllocate(bytes); }
void operator delete(void* data) noexcept { cre::systemRelease(data, 0); }
void operator delete[](void* data) noexcept { cre::systemRelease(data, 0); }
void operator delete(void* data, size_t) noexcept { cre::systemRelease(data, 0); }
void operator delete[](void* data, size_t) noexcept { cre::systemRelease(data, 0); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return cre::systemAllocate(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return cre::systemAllocate(bytes); }
void* operator new(size_t bytes, std::align_val_t) { return cre::systemAllocate(bytes); }
void operator delete(void* data, std::align_val_t) noexcept { cre::systemRelease(data, 0); }
void operator delete(void* data, size_t, std::align_val_t) noexcept { cre::systemRelease(data, 0); }

// The allocator of the C library would take the same memory. With these it is not linked, or the linker complains about two of them.
extern "C" {
void* malloc(size_t bytes) { return cre::systemAllocate(bytes); }
void free(void* data) { cre::systemRelease(data, 0); }
}
