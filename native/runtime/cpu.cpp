#include "runtime/cpu.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace cre {
namespace {

#if defined(__x86_64__)
struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(unsigned leaf, unsigned subleaf) {
  Leaf r;
  if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) return Leaf{};
  return r;
}

bool bit(unsigned word, int index) { return (word >> index & 1) != 0; }

// The register states that the operating system saves (XCR0).
uint64_t savedStates() {
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

// Linux gives tile registers only to processes that ask for them.
bool permitTiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

}  // namespace

int countSupportedLevels() {
#if defined(__x86_64__)
  const Leaf basic = cpuid(1, 0);
  if (!bit(basic.c, 27)) return 1;  // OSXSAVE
  const uint64_t saved = savedStates();
  const Leaf extended = cpuid(7, 0);
  const Leaf more = cpuid(7, 1);
  const bool avx = (saved & 0x6) == 0x6 && bit(basic.c, 28);
  if (!avx || !bit(basic.c, 12) || !bit(basic.c, 29) || !bit(extended.b, 5)) return 1;  // FMA, F16C, AVX2
  const bool avx512 =
      (saved & 0xe6) == 0xe6 && bit(extended.b, 16) && bit(extended.b, 17) && bit(extended.b, 30) && bit(extended.b, 31);  // F, DQ, BW, VL
  if (!avx512) return 2;
  if (!bit(more.a, 5) || !bit(extended.c, 11)) return 3;  // AVX512-BF16 and -VNNI
  const bool tiles = (saved & 0x60000) == 0x60000 && bit(extended.d, 22) && bit(extended.d, 24) && bit(extended.d, 25);
  return tiles && permitTiles() ? 5 : 4;  // AMX-BF16, -TILE and -INT8
#elif defined(__aarch64__)
  return 2;
#else
  return 1;
#endif
}

}  // namespace cre
