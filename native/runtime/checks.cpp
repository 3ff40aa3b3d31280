#include "runtime/checks.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 reports its own _mm512_undefined_epi32
#endif

namespace cre {
namespace {

constexpr uint32_t kPolynomial = 0xedb88320;  // x^32 + x^26 + ... + 1, the highest power in the lowest bit

constexpr uint32_t timesX(uint32_t value) { return value >> 1 ^ (value & 1 ? kPolynomial : 0); }

// Tables for 8 bytes at a time: kTables[k][b] is the sum of byte b with k zero bytes behind it.
constexpr std::array<std::array<uint32_t, 256>, 8> makeTables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; bit++) value = timesX(value);
    tables[0][byte] = value;
  }
  for (uint32_t byte = 0; byte < 256; byte++) {
    for (int k = 1; k < 8; k++) tables[k][byte] = tables[k - 1][byte] >> 8 ^ tables[0][tables[k - 1][byte] & 255];
  }
  return tables;
}
constexpr auto kTables = makeTables();

// The register after more bytes; the sum is its complement.
uint32_t advance(uint32_t state, const uint8_t* bytes, size_t count) {
  for (; count >= 8; bytes += 8, count -= 8) {
    uint32_t low, high;
    std::memcpy(&low, bytes, 4);
    std::memcpy(&high, bytes + 4, 4);
    low ^= state;
    state = kTables[7][low & 255] ^ kTables[6][low >> 8 & 255] ^ kTables[5][low >> 16 & 255] ^ kTables[4][low >> 24] ^
            kTables[3][high & 255] ^ kTables[2][high >> 8 & 255] ^ kTables[1][high >> 16 & 255] ^ kTables[0][high >> 24];
  }
  for (; count > 0; bytes++, count--) state = state >> 8 ^ kTables[0][(state ^ *bytes) & 255];
  return state;
}

#if defined(__x86_64__)
// Folding (Gopal et al., "Fast CRC computation for generic polynomials using PCLMULQDQ", Intel 2009): a block of 128 bits moves `bits` further
// to the end of the message, multiplied by two remainders. What is left in the end has the same sum as the whole message.

// x^power modulo the polynomial, reflected, one bit to the left as the product of reflected numbers needs it.
constexpr uint64_t power(int power) {
  uint32_t value = 0x80000000;  // x^0
  for (int i = 0; i < power; i++) value = timesX(value);
  return static_cast<uint64_t>(value) << 1;
}
template <int bits>
struct Fold {
  static constexpr uint64_t low = power(bits + 32), high = power(bits - 32);
};

#define CRE_PCLMUL __attribute__((target("pclmul,sse4.1")))
#define CRE_VPCLMUL __attribute__((target("vpclmulqdq,pclmul,avx512f,avx512vl")))

template <int bits>
CRE_PCLMUL inline __m128i foldBy(__m128i block, __m128i next) {
  const __m128i factors = _mm_set_epi64x(static_cast<long long>(Fold<bits>::high), static_cast<long long>(Fold<bits>::low));
  const __m128i low = _mm_clmulepi64_si128(block, factors, 0x00), high = _mm_clmulepi64_si128(block, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

CRE_PCLMUL inline __m128i load(const uint8_t* bytes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)); }

// The register after a folded block and the bytes behind it.
CRE_PCLMUL uint32_t finish(__m128i block, const uint8_t* bytes, size_t count) {
  for (; count >= 16; bytes += 16, count -= 16) block = foldBy<128>(block, load(bytes));
  alignas(16) uint8_t last[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(last), block);
  return advance(advance(0, last, 16), bytes, count);
}

CRE_PCLMUL uint32_t advanceBy128(uint32_t state, const uint8_t* bytes, size_t count) {
  if (count < 64) return advance(state, bytes, count);
  __m128i a = _mm_xor_si128(load(bytes), _mm_cvtsi32_si128(static_cast<int>(state)));
  __m128i b = load(bytes + 16), c = load(bytes + 32), d = load(bytes + 48);
  for (bytes += 64, count -= 64; count >= 64; bytes += 64, count -= 64) {
    a = foldBy<512>(a, load(bytes));
    b = foldBy<512>(b, load(bytes + 16));
    c = foldBy<512>(c, load(bytes + 32));
    d = foldBy<512>(d, load(bytes + 48));
  }
  return finish(foldBy<128>(foldBy<128>(foldBy<128>(a, b), c), d), bytes, count);
}

template <int bits>
CRE_VPCLMUL inline __m512i foldWide(__m512i block, __m512i next) {
  const __m512i factors =
      _mm512_broadcast_i32x4(_mm_set_epi64x(static_cast<long long>(Fold<bits>::high), static_cast<long long>(Fold<bits>::low)));
  const __m512i low = _mm512_clmulepi64_epi128(block, factors, 0x00), high = _mm512_clmulepi64_epi128(block, factors, 0x11);
  return _mm512_ternarylogic_epi64(low, high, next, 0x96);  // exclusive or of the three
}

CRE_VPCLMUL inline __m512i loadWide(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }

CRE_VPCLMUL uint32_t advanceBy512(uint32_t state, const uint8_t* bytes, size_t count) {
  if (count < 512) return advanceBy128(state, bytes, count);
  __m512i a = _mm512_xor_si512(loadWide(bytes), _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(state))));
  __m512i b = loadWide(bytes + 64), c = loadWide(bytes + 128), d = loadWide(bytes + 192);
  for (bytes += 256, count -= 256; count >= 256; bytes += 256, count -= 256) {
    a = foldWide<2048>(a, loadWide(bytes));
    b = foldWide<2048>(b, loadWide(bytes + 64));
    c = foldWide<2048>(c, loadWide(bytes + 128));
    d = foldWide<2048>(d, loadWide(bytes + 192));
  }
  const __m512i all = foldWide<512>(foldWide<512>(foldWide<512>(a, b), c), d);
  __m128i block = _mm512_extracti32x4_epi32(all, 0);
  block = foldBy<128>(block, _mm512_extracti32x4_epi32(all, 1));
  block = foldBy<128>(block, _mm512_extracti32x4_epi32(all, 2));
  block = foldBy<128>(block, _mm512_extracti32x4_epi32(all, 3));
  return finish(block, bytes, count);
}
#endif

using Advance = uint32_t (*)(uint32_t, const uint8_t*, size_t);

// What this processor runs, whatever the level of the addon.
Advance fastest() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool multiplies = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  if (multiplies && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
    return advanceBy512;
  }
  if (multiplies) return advanceBy128;
#endif
  return advance;
}

struct Exponents {
  uint32_t mask, one, carry;
};
// The exponent bits of one float32 or two narrow numbers, and what carries out of them when they are all ones.
constexpr Exponents kExponents[] = {
    {0x7f800000, 0x00800000, 0x80000000}, {0x7c007c00, 0x04000400, 0x80008000}, {0x7f807f80, 0x00800080, 0x80008000}};

}  // namespace

uint32_t crc32ByTables(uint32_t before, const uint8_t* bytes, size_t count) { return ~advance(~before, bytes, count); }

uint32_t crc32(uint32_t before, const uint8_t* bytes, size_t count) {
  static const Advance advanceFast = fastest();
  return ~advanceFast(~before, bytes, count);
}

bool allFinite(Numbers type, const uint8_t* bytes, size_t count) {
  const auto [mask, one, carry] = kExponents[static_cast<int>(type)];
  uint32_t carried = 0;
  size_t at = 0;
  for (; at + 4 <= count; at += 4) {
    uint32_t word;
    std::memcpy(&word, bytes + at, 4);
    carried |= (word & mask) + one;
  }
  if (type != Numbers::f32 && at + 2 <= count) carried |= ((bytes[at] | bytes[at + 1] << 8) & mask) + one;
  return (carried & carry) == 0;
}

}  // namespace cre
