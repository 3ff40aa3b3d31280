// Peak speeds of this machine: multiplications from registers, multiplications on numbers from the first-level cache, and reading memory in
// streams.
#include <chrono>
#include <memory>
#include <vector>

#include "matmul/bf16_vectors.h"
#include "runtime/arena.h"
#include "runtime/vector.h"

namespace cre {
namespace {

using Clock = std::chrono::steady_clock;
double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Input of multiplyNumbers: 32 KB of bf16.
constexpr int kSteps = 8, kTile = 512, kNumbers = kSteps * 4 * kTile;

// Floating-point operations of one call.
#ifdef __AMX_BF16__
double multiplyRegisters() {
  constexpr int kRounds = 4000;
  asm volatile("tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7" ::);
  for (int i = 0; i < kRounds; i++) {
    asm volatile(
        "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\ttdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
        "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm5, %%tmm3" ::);
  }
  return kRounds * 4 * 2.0 * 16 * 16 * 32;
}

// 32 rows and columns over 256 of depth, again and again, with the loads that a product needs. The values matter: on zeros the core
// runs at a higher frequency.
double multiplyNumbers(const bf16* numbers) {
  constexpr int kRounds = 500;
  constexpr long kStride = 64;
  for (int round = 0; round < kRounds; round++) {
    asm volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3" ::);
    for (int step = 0; step < kSteps; step++) {
      const bf16* at = numbers + step * 4 * kTile;
      asm volatile(
          "tileloadd (%0,%4,1), %%tmm6\n\ttileloadd (%1,%4,1), %%tmm4\n\ttdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
          "tileloadd (%2,%4,1), %%tmm7\n\ttdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
          "tileloadd (%3,%4,1), %%tmm5\n\ttdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm5, %%tmm3" ::"r"(at),
          "r"(at + kTile), "r"(at + 2 * kTile), "r"(at + 3 * kTile), "r"(kStride)
          : "memory");
    }
  }
  return kRounds * kSteps * 4 * 2.0 * 16 * 16 * 32;
}
#elif defined(__AVX512BF16__)
double multiplyRegisters() {
  constexpr int kRounds = 20000, kChains = 16;
  __m512 sums[kChains];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  const auto factor = (__m512bh)_mm512_setzero_si512();
  for (int i = 0; i < kRounds; i++) {
#pragma GCC unroll 16
    for (int chain = 0; chain < kChains; chain++) sums[chain] = _mm512_dpbf16_ps(sums[chain], factor, factor);
  }
  for (auto& sum : sums) asm volatile("" : "+m"(sum));
  return kRounds * kChains * 2.0 * 2 * kLanes;
}

// 32 rows and columns over 256 of depth, again and again, with the loads that a product needs.
double multiplyNumbers(const bf16* numbers) {
  constexpr int kRounds = 50;
  alignas(64) float sums[kBlockElements];
  const DepthBlocks factors{numbers, 4 * kTile, numbers + 2 * kTile, 4 * kTile, kSteps};
  for (int round = 0; round < kRounds; round++) {
    addBlock(&factors, 1, kBlock, nullptr, sums);
    asm volatile("" ::"r"(sums) : "memory");
  }
  return kRounds * kSteps * 4 * 2.0 * 16 * 16 * 32;
}
#else
double multiplyRegisters() {
#if defined(CRE_NEON)
  constexpr int kRounds = 20000, kChains = 5;  // twenty of the 32 registers
#else
  // Twelve registers: without fused instructions a step waits for a product and a sum, eight cycles.
  constexpr int kRounds = 20000, kChains = 12 / kParts;
#endif
  Floats sums[kChains];
  for (auto& sum : sums) sum = zeros();
  Floats factor = broadcast(0.5f);
  for (int i = 0; i < kRounds; i++) {
#pragma GCC unroll 12
    for (int chain = 0; chain < kChains; chain++) sums[chain] = multiplyAdd(sums[chain], factor, factor);
  }
  for (auto& sum : sums) asm volatile("" : "+m"(sum));
  return kRounds * kChains * 2.0 * kLanes;
}

// The values make no difference on these levels.
double multiplyNumbers(const bf16*) { return multiplyRegisters(); }
#endif

float sumStreams(const float* data, size_t elements) {
  constexpr int kStreams = 4;
  constexpr size_t kAhead = 256;  // 1 KB before its use
  const size_t length = elements / kStreams;
  Floats sums[kStreams];
  for (auto& sum : sums) sum = zeros();
  for (size_t i = 0; i < length; i += kLanes) {
#pragma GCC unroll 4
    for (int stream = 0; stream < kStreams; stream++) {
      const float* from = data + stream * length + i;
      __builtin_prefetch(from + kAhead, 0, 3);
      sums[stream] = sums[stream] + load(from);
    }
  }
  return sumOf(sums[0] + sums[1] + sums[2] + sums[3]);
}

}  // namespace

double peakFlops(Pool& pool, double seconds, bool withNumbers) {
  const int threads = pool.threadCount();
  std::vector<double> flops(threads, 0.0);
  alignas(64) bf16 numbers[kNumbers];
  uint32_t state = 1;
  for (bf16& value : numbers) {
    state = state * 1664525 + 1013904223;
    value = toBf16(static_cast<float>(static_cast<int32_t>(state)) / 2147483648.0f);  // in [-1, 1)
  }
  const auto start = Clock::now();
  // One item per thread; a thread that is late gets none, and the time of the others still counts.
  pool.parallelFor(threads, [&](int item, int) {
    while (secondsSince(start) < seconds) flops[item] += withNumbers ? multiplyNumbers(numbers) : multiplyRegisters();
  });
  const double spent = secondsSince(start);
  double total = 0;
  for (const double part : flops) total += part;
  return total / spent;
}

double readBandwidth(Pool& pool, double seconds) {
  constexpr size_t kItemElements = size_t{1} << 20;
#if defined(__wasm__)
  constexpr int kItems = 64;  // a WebAssembly memory never shrinks
#else
  constexpr int kItems = 256;  // 1 GB: third-level caches of half that size exist
#endif
  constexpr size_t kBytes = kItemElements * kItems * sizeof(float);
  const std::unique_ptr<void, void (*)(void*)> memory(systemAllocate(kBytes), [](void* held) { systemRelease(held, kBytes); });
  auto* data = static_cast<float*>(memory.get());
  pool.parallelFor(kItems, [&](int item, int) { memset(data + item * kItemElements, 0, kItemElements * sizeof(float)); });
  std::vector<float> sums(kItems);
  double best = 0;
  for (const auto start = Clock::now(); secondsSince(start) < seconds;) {
    const auto round = Clock::now();
    pool.parallelFor(kItems, [&](int item, int) { sums[item] = sumStreams(data + item * kItemElements, kItemElements); });
    const double speed = kBytes / secondsSince(round);
    if (speed > best) best = speed;
  }
  // Uses the sums (zeros), so that the compiler removes nothing above.
  return best + sums[0];
}

}  // namespace cre
