#include "runtime/arena.h"

#if defined(_WIN32)
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#elif !defined(__wasm__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <new>

namespace cre {
namespace {

constexpr size_t kChunkBytes = size_t{4} << 20;  // small blocks are cut from chunks
constexpr size_t kLargeBytes = size_t{1} << 20;  // from this size on a block is a mapping of its own
constexpr size_t kKeptFreeBytes = size_t{256} << 20;

size_t roundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

#if !defined(_WIN32) && !defined(__wasm__)
constexpr size_t kHugePage = size_t{2} << 20;
// At least the page of every system: 4 KiB on x86-64, up to 64 KiB on 64-bit Arm. munmap refuses a start within a page.
#if defined(__x86_64__)
constexpr size_t kPage = size_t{4} << 10;
#else
constexpr size_t kPage = size_t{64} << 10;
#endif

size_t mappedBytes(size_t bytes, Tail tail) { return roundUp(bytes, tail == Tail::huge && bytes >= kHugePage ? kHugePage : kPage); }
#endif

}  // namespace

#if defined(_WIN32)
// Windows has large pages only for accounts with the right to lock memory, so `Tail` changes nothing.
void* systemAllocate(size_t bytes, Tail) {
  void* data = VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

void systemRelease(void* data, size_t, Tail) {
  if (data != nullptr) VirtualFree(data, 0, MEM_RELEASE);
}
#elif !defined(__wasm__)  // wasm/memory.cpp has them
void* systemAllocate(size_t bytes, Tail tail) {
  const size_t wanted = mappedBytes(bytes, tail), hugeBytes = wanted / kHugePage * kHugePage;
  const bool huge = hugeBytes > 0;
  const size_t slack = huge ? kHugePage : 0;
  void* mapped = mmap(nullptr, wanted + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  if (!huge) return mapped;
  auto start = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t aligned = roundUp(start, kHugePage);
  if (aligned > start) munmap(mapped, aligned - start);
  const size_t behind = start + slack - aligned;
  if (behind > 0) munmap(reinterpret_cast<void*>(aligned + wanted), behind);
#ifdef MADV_HUGEPAGE
  madvise(reinterpret_cast<void*>(aligned), hugeBytes, MADV_HUGEPAGE);
#endif
  return reinterpret_cast<void*>(aligned);
}

void systemRelease(void* data, size_t bytes, Tail tail) {
  if (data != nullptr) munmap(data, mappedBytes(bytes, tail));
}
#endif

Arena::~Arena() {
  for (void* chunk : chunks_) systemRelease(chunk, kChunkBytes);
  for (auto& [bytes, blocks] : free_) {
    if (bytes < kLargeBytes) continue;
    for (void* block : blocks) systemRelease(block, bytes);
  }
}

size_t Arena::classBytes(size_t bytes) {
  size_t power = 256;
  while (power * 2 <= bytes) power *= 2;
  const size_t step = power / 4;
  return bytes <= 256 ? 256 : roundUp(bytes, step);
}

void* Arena::allocate(size_t bytes) {
  const size_t size = classBytes(bytes);
  auto& blocks = free_[size];
  if (!blocks.empty()) {
    void* block = blocks.back();
    blocks.pop_back();
    if (size >= kLargeBytes) freeLargeBytes_ -= size;
    return block;
  }
  if (size < kLargeBytes) return carve(size);
  trim();
  void* block = systemAllocate(size);
  heldBytes_ += size;
  return block;
}

void* Arena::carve(size_t bytes) {
  if (chunkLeft_ < bytes) {
    chunk_ = static_cast<char*>(systemAllocate(kChunkBytes));
    chunks_.push_back(chunk_);
    chunkLeft_ = kChunkBytes;
    heldBytes_ += kChunkBytes;
  }
  char* block = chunk_;
  chunk_ += bytes;
  chunkLeft_ -= bytes;
  return block;
}

void Arena::release(void* data, size_t bytes) {
  if (data == nullptr) return;
  const size_t size = classBytes(bytes);
  free_[size].push_back(data);
  if (size >= kLargeBytes) freeLargeBytes_ += size;
}

// Rounding up to huge pages or to a size class would waste up to a fifth on each of the hundreds of matrices of slightly over 8 MiB.
void* Arena::allocateLasting(size_t bytes) {
  if (bytes < kLargeBytes) return allocate(bytes);
  trim();
  void* block = systemAllocate(bytes, Tail::small);
  heldBytes_ += bytes;
  return block;
}

void Arena::releaseLasting(void* data, size_t bytes) {
  if (bytes < kLargeBytes) return release(data, bytes);
  if (data == nullptr) return;
  systemRelease(data, bytes, Tail::small);
  heldBytes_ -= bytes;
}

// Without this, free large blocks of sizes that no longer occur would be kept forever. Before more memory is taken from the system, free
// blocks are returned, largest first, until at most kKeptFreeBytes or a sixteenth of the held memory is free.
void Arena::trim() {
  const size_t kept = kKeptFreeBytes > heldBytes_ / 16 ? kKeptFreeBytes : heldBytes_ / 16;
  for (auto entry = free_.rbegin(); entry != free_.rend() && freeLargeBytes_ > kept && entry->first >= kLargeBytes; ++entry) {
    while (!entry->second.empty() && freeLargeBytes_ > kept) {
      systemRelease(entry->second.back(), entry->first);
      entry->second.pop_back();
      freeLargeBytes_ -= entry->first;
      heldBytes_ -= entry->first;
    }
  }
}

}  // namespace cre
