// Sixteen float lanes at a time: one AVX-512 register, two of AVX2, four of the baseline. Rounding of sums is the same on every level
// that fuses multiply and add; kernels must not depend on more than that.
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"  // vectors never cross an addon's border
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 reports its own _mm512_undefined_ps
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace cre {

#if defined(__AVX512F__)
constexpr int kPartBytes = 64;
#elif defined(__AVX2__)
constexpr int kPartBytes = 32;
#else
constexpr int kPartBytes = 16;
#endif
constexpr int kLanes = 16;
constexpr int kParts = 64 / kPartBytes;
using FloatPart = float __attribute__((vector_size(kPartBytes)));
using IntPart = int32_t __attribute__((vector_size(kPartBytes)));
using WordPart = uint32_t __attribute__((vector_size(kPartBytes)));

struct Floats {
  FloatPart part[kParts];
};
struct Ints {
  IntPart part[kParts];
};
struct Words {
  WordPart part[kParts];
};

#define CRE_INLINE inline __attribute__((always_inline))
#define CRE_PARTS _Pragma("GCC unroll 4") for (int i = 0; i < kParts; i++)

#define CRE_OPERATOR(Type, sign)                          \
  CRE_INLINE Type operator sign(Type a, const Type& b) {  \
    CRE_PARTS a.part[i] = a.part[i] sign b.part[i];       \
    return a;                                             \
  }
CRE_OPERATOR(Floats, +)
CRE_OPERATOR(Floats, -)
CRE_OPERATOR(Floats, *)
CRE_OPERATOR(Floats, /)
CRE_OPERATOR(Ints, +)
CRE_OPERATOR(Words, ^)
CRE_OPERATOR(Words, *)
#undef CRE_OPERATOR

CRE_INLINE Words operator>>(Words a, int bits) {
  CRE_PARTS a.part[i] = a.part[i] >> bits;
  return a;
}

CRE_INLINE Floats broadcast(float value) {
  Floats a;
  CRE_PARTS a.part[i] = value - FloatPart{};
  return a;
}
CRE_INLINE Ints broadcast(int32_t value) {
  Ints a;
  CRE_PARTS a.part[i] = value - IntPart{};
  return a;
}
CRE_INLINE Words broadcast(uint32_t value) {
  Words a;
  CRE_PARTS a.part[i] = value - WordPart{};
  return a;
}
CRE_INLINE Floats zeros() { return broadcast(0.0f); }

// a · b + c
CRE_INLINE Floats multiplyAdd(const Floats& a, const Floats& b, Floats c) {
  CRE_PARTS c.part[i] = a.part[i] * b.part[i] + c.part[i];
  return c;
}

CRE_INLINE Floats maximum(Floats a, const Floats& b) {
  CRE_PARTS a.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return a;
}
CRE_INLINE Floats minimum(Floats a, const Floats& b) {
  CRE_PARTS a.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
  return a;
}
// Lanes of yes where a > b, of no elsewhere.
CRE_INLINE Floats whereGreater(const Floats& a, const Floats& b, Floats yes, const Floats& no) {
  CRE_PARTS yes.part[i] = a.part[i] > b.part[i] ? yes.part[i] : no.part[i];
  return yes;
}
CRE_INLINE Ints whereGreater(const Floats& a, const Floats& b, Ints yes, const Ints& no) {
  CRE_PARTS yes.part[i] = a.part[i] > b.part[i] ? yes.part[i] : no.part[i];
  return yes;
}
// value where hash >= threshold, 0 elsewhere.
CRE_INLINE Floats keepWhereAtLeast(const Words& hash, const Words& threshold, Floats value) {
  CRE_PARTS value.part[i] = hash.part[i] >= threshold.part[i] ? value.part[i] : FloatPart{};
  return value;
}

CRE_INLINE Ints laneNumbers() {
  Ints a;
  for (int lane = 0; lane < kLanes; lane++) a.part[lane / (kLanes / kParts)][lane % (kLanes / kParts)] = lane;
  return a;
}
// Lanes first <= lane < end of a, of `outside` elsewhere.
CRE_INLINE Floats keepLanes(Floats a, int first, int end, const Floats& outside) {
#if defined(__AVX512F__)
  const auto below = [](int lane) { return lane <= 0 ? 0u : lane >= 16 ? 0xffffu : (1u << lane) - 1; };
  a.part[0] = (FloatPart)_mm512_mask_mov_ps((__m512)outside.part[0], static_cast<__mmask16>(below(end) & ~below(first)), (__m512)a.part[0]);
#else
  const Ints lane = laneNumbers();
  CRE_PARTS a.part[i] = (lane.part[i] >= first) & (lane.part[i] < end) ? a.part[i] : outside.part[i];
#endif
  return a;
}

// ---- memory; addresses need no alignment
// Part by part: compilers copy the whole struct in pieces of 16 bytes, which the wider loads behind it then wait for.
using FloatPartInMemory = float __attribute__((vector_size(kPartBytes), aligned(4), may_alias));
CRE_INLINE Floats load(const float* p) {
  Floats a;
  CRE_PARTS a.part[i] = *reinterpret_cast<const FloatPartInMemory*>(p + i * (kLanes / kParts));
  return a;
}
CRE_INLINE void store(float* p, const Floats& a) {
  CRE_PARTS *reinterpret_cast<FloatPartInMemory*>(p + i * (kLanes / kParts)) = a.part[i];
}

CRE_INLINE float toFloat(bf16 value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float out;
  memcpy(&out, &bits, sizeof out);
  return out;
}
CRE_INLINE float toFloat(float value) { return value; }
// Round to nearest, ties to even; NaN stays NaN.
CRE_INLINE bf16 toBf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if (value != value) return static_cast<bf16>(bits >> 16 | 0x40);
  return static_cast<bf16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
CRE_INLINE void storeOne(float* p, float value) { *p = value; }
CRE_INLINE void storeOne(bf16* p, float value) { *p = toBf16(value); }

CRE_INLINE Floats load(const bf16* p) {
  Floats a;
#if defined(__AVX512F__)
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  a.part[0] = (FloatPart)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
#elif defined(__AVX2__)
  CRE_PARTS {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + i);
    a.part[i] = (FloatPart)_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
  }
#else
  float lanes[kLanes];
  for (int i = 0; i < kLanes; i++) lanes[i] = toFloat(p[i]);
  a = load(lanes);
#endif
  return a;
}
CRE_INLINE void store(bf16* p, const Floats& a) {
#if defined(__AVX512BF16__)
  const __m256i half = (__m256i)_mm512_cvtneps_pbh((__m512)a.part[0]);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), half);
#else
  float lanes[kLanes];
  store(lanes, a);
  for (int i = 0; i < kLanes; i++) p[i] = toBf16(lanes[i]);
#endif
}
// Both halves of one 32-element row of a block.
template <class T>
CRE_INLINE void store(T* p, const Floats& low, const Floats& high) {
  store(p, low);
  store(p + kLanes, high);
}
#if defined(__AVX512BF16__)
CRE_INLINE void store(bf16* p, const Floats& low, const Floats& high) {
  _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh((__m512)high.part[0], (__m512)low.part[0]));
}
#endif

#if defined(__AVX512BF16__)
// The nearest bf16 numbers.
CRE_INLINE Floats rounded(const Floats& a) {
  Floats out;
  const __m256i half = (__m256i)_mm512_cvtneps_pbh((__m512)a.part[0]);
  out.part[0] = (FloatPart)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
  return out;
}
#endif

// ---- reductions, always in the same order
#if defined(__AVX512F__)
CRE_INLINE float sumOf(const Floats& a) { return _mm512_reduce_add_ps((__m512)a.part[0]); }
CRE_INLINE float largestOf(const Floats& a) { return _mm512_reduce_max_ps((__m512)a.part[0]); }
#else
template <class Join>
CRE_INLINE float reduceLanes(const Floats& a, Join join) {
  float lanes[kLanes];
  store(lanes, a);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) lanes[i] = join(lanes[i], lanes[i + width]);
  }
  return lanes[0];
}
CRE_INLINE float sumOf(const Floats& a) {
  return reduceLanes(a, [](float x, float y) { return x + y; });
}
CRE_INLINE float largestOf(const Floats& a) {
  return reduceLanes(a, [](float x, float y) { return x > y ? x : y; });
}
#endif

// e^x, relative error below 2e-7; exactly 0 far below −87.3 (also for −∞). Cody & Waite reduction to |r| <= ln 2 / 2, then 1 + r + r²·P(r)
// with P interpolated at the Chebyshev nodes.
CRE_INLINE Floats exponentialOfRest(const Floats& r) {
  Floats p = multiplyAdd(r, broadcast(0.00139262504f), broadcast(0.00836323295f));
  p = multiplyAdd(p, r, broadcast(0.0416665524f));
  p = multiplyAdd(p, r, broadcast(0.166665763f));
  p = multiplyAdd(p, r, broadcast(0.5f));
  p = multiplyAdd(p, r, broadcast(1.0f));
  return multiplyAdd(p, r, broadcast(1.0f));
}
CRE_INLINE Floats exponential(const Floats& x) {
#if defined(__AVX512F__)
  // −1000 instead of −∞, whose rest would be NaN; scaling by 2ⁿ saturates by itself.
  const Floats bounded = maximum(x, broadcast(-1000.0f));
  Floats n = bounded * broadcast(1.44269504f);
  n.part[0] = (FloatPart)_mm512_roundscale_ps((__m512)n.part[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  Floats r = multiplyAdd(n, broadcast(-0.693359375f), bounded);
  r = exponentialOfRest(multiplyAdd(n, broadcast(2.12194440e-4f), r));
  r.part[0] = (FloatPart)_mm512_scalef_ps((__m512)r.part[0], (__m512)n.part[0]);
  return r;
#else
  const Floats bounded = minimum(maximum(x, broadcast(-87.3f)), broadcast(88.7f));
  const Floats magic = broadcast(12582912.0f);  // 1.5 · 2²³: adding it rounds to an integer, kept in the low bits
  const Floats shifted = multiplyAdd(bounded, broadcast(1.44269504f), magic);
  const Floats n = shifted - magic;
  Floats r = multiplyAdd(n, broadcast(-0.693359375f), bounded);
  r = exponentialOfRest(multiplyAdd(n, broadcast(2.12194440e-4f), r));
  CRE_PARTS r.part[i] = (FloatPart)((IntPart)r.part[i] + ((IntPart)shifted.part[i] << 23));
  return whereGreater(x, broadcast(-87.3f), r, zeros());
#endif
}

// 1 / x for x from 1e-30 to 1e38, relative error below 1e-7 · 2.
CRE_INLINE Floats reciprocal(const Floats& x) {
#if defined(__AVX512F__)
  Floats guess;
  guess.part[0] = (FloatPart)_mm512_rcp14_ps((__m512)x.part[0]);
  return guess * (broadcast(2.0f) - x * guess);  // a step of Newton: 14 bits become 28
#else
  return broadcast(1.0f) / x;
#endif
}

// 1 / (1 + e^−x)
CRE_INLINE Floats logistic(const Floats& x) {
  return reciprocal(broadcast(1.0f) + exponential(minimum(zeros() - x, broadcast(80.0f))));
}

// The same for results that are rounded to bf16: relative error below 2e-4. 2^f on [-½, ½] is a cubic of least largest relative error.
CRE_INLINE Floats roughLogistic(const Floats& x) {
#if defined(__AVX512F__)
  const Floats exponent = x * broadcast(-1.44269504f);
  Floats n, power, out;
  n.part[0] = (FloatPart)_mm512_roundscale_ps((__m512)exponent.part[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Floats f = exponent - n;
  power = multiplyAdd(f, broadcast(0.0551715307f), broadcast(0.242611006f));
  power = multiplyAdd(power, f, broadcast(0.693260968f));
  power = multiplyAdd(power, f, broadcast(0.999928057f));
  power.part[0] = (FloatPart)_mm512_scalef_ps((__m512)power.part[0], (__m512)n.part[0]);
  out.part[0] = (FloatPart)_mm512_rcp14_ps((__m512)(broadcast(1.0f) + power).part[0]);
  return out;
#else
  return logistic(x);
#endif
}

// ---- matrices
// Calls body with the matrix's data as float* or bf16*.
template <class Body>
CRE_INLINE void withElements(const Matrix& matrix, Body&& body) {
  if (matrix.isBf16) body(matrix.b16());
  else body(matrix.f32());
}

// The 32 columns of block column `block` in one row.
template <class T>
CRE_INLINE T* rowChunk(T* data, int columnBlocks, int row, int block) {
  return data + (static_cast<size_t>(row / kBlock) * columnBlocks + block) * kBlockElements + row % kBlock * kBlock;
}

// Calls body(begin, end) for pieces of [0, elements), at most 16 blocks each: they stay in the first-level caches.
template <class Body>
void forPieces(Pool& pool, size_t elements, Body&& body) {
  constexpr size_t kPiece = 16 * kBlockElements;
  pool.parallelFor(static_cast<int>((elements + kPiece - 1) / kPiece), [&](int item, int) {
    const size_t begin = item * kPiece;
    body(begin, begin + kPiece < elements ? begin + kPiece : elements);
  });
}

}  // namespace cre
