// Sixteen float lanes at a time: one AVX-512 register, two of AVX2, four of the baseline. Rounding of sums is the same on every level
// that fuses multiply and add; kernels must not depend on more than that.
#pragma once
#include <cstdint>
#include <cstring>

#include "runtime/kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(CRE_NEON)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
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

#define CRE_OPERATOR(Type, sign)                         \
  CRE_INLINE Type operator sign(Type a, const Type& b) { \
    CRE_PARTS a.part[i] = a.part[i] sign b.part[i];      \
    return a;                                            \
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
#if defined(__wasm_relaxed_simd__)
  CRE_PARTS c.part[i] = (FloatPart)wasm_f32x4_relaxed_madd((v128_t)a.part[i], (v128_t)b.part[i], (v128_t)c.part[i]);
#else
  CRE_PARTS c.part[i] = a.part[i] * b.part[i] + c.part[i];
#endif
  return c;
}

CRE_INLINE Floats maximum(Floats a, const Floats& b) {
  CRE_PARTS a.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return a;
}
CRE_INLINE Floats absolute(const Floats& a) { return maximum(a, zeros() - a); }
CRE_INLINE Floats minimum(Floats a, const Floats& b) {
  CRE_PARTS a.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
  return a;
}
CRE_INLINE Floats squareRoot(Floats a) {
#if defined(__AVX512F__)
  a.part[0] = (FloatPart)_mm512_sqrt_ps((__m512)a.part[0]);
#elif defined(__AVX2__)
  CRE_PARTS a.part[i] = (FloatPart)_mm256_sqrt_ps((__m256)a.part[i]);
#elif defined(__x86_64__)
  CRE_PARTS a.part[i] = (FloatPart)_mm_sqrt_ps((__m128)a.part[i]);
#elif defined(CRE_NEON)
  CRE_PARTS a.part[i] = (FloatPart)vsqrtq_f32((float32x4_t)a.part[i]);
#elif defined(__wasm_simd128__)
  CRE_PARTS a.part[i] = (FloatPart)wasm_f32x4_sqrt((v128_t)a.part[i]);
#else
  CRE_PARTS for (int lane = 0; lane < kLanes / kParts; lane++) a.part[i][lane] = __builtin_sqrtf(a.part[i][lane]);
#endif
  return a;
}
// Lanes of `yes` where a > b, of `no` elsewhere.
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
  CRE_PARTS a.part[i] = ((lane.part[i] >= first) & (lane.part[i] < end)) ? a.part[i] : outside.part[i];
#endif
  return a;
}

// ---- memory; addresses need no alignment
// Part by part: compilers copy the whole struct in pieces of 16 bytes, and wider loads after that would stall.
typedef float FloatPartInMemory __attribute__((vector_size(kPartBytes), aligned(4), may_alias));
CRE_INLINE Floats load(const float* p) {
  Floats a;
  CRE_PARTS a.part[i] = *reinterpret_cast<const FloatPartInMemory*>(p + i * (kLanes / kParts));
  return a;
}
CRE_INLINE void store(float* p, const Floats& a) { CRE_PARTS* reinterpret_cast<FloatPartInMemory*>(p + i * (kLanes / kParts)) = a.part[i]; }

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
#elif defined(CRE_NEON)
  CRE_PARTS a.part[i] = (FloatPart)vshll_n_u16(vld1_u16(p + 4 * i), 16);
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
#elif defined(CRE_NEON)
  CRE_PARTS {
    const auto bits = (uint32x4_t)a.part[i];
    const uint32x4_t even = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t nearest = vaddq_u32(vaddq_u32(bits, even), vdupq_n_u32(0x7fff));
    const uint32x4_t isNumber = vceqq_f32((float32x4_t)a.part[i], (float32x4_t)a.part[i]);
    const uint32x4_t chosen = vbslq_u32(isNumber, nearest, vorrq_u32(bits, vdupq_n_u32(0x400000)));
    vst1_u16(p + 4 * i, vshrn_n_u32(chosen, 16));
  }
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

// Both halves of a row of a block, with lanes in the cheapest order.
template <class T>
CRE_INLINE void loadUnordered(const T* p, Floats& a, Floats& b) {
  a = load(p);
  b = load(p + kLanes);
}
#if defined(__AVX512BF16__)
CRE_INLINE void loadUnordered(const bf16* p, Floats& a, Floats& b) {
  const __m512i pairs = _mm512_loadu_si512(p);
  a.part[0] = (FloatPart)_mm512_slli_epi32(pairs, 16);
  b.part[0] = (FloatPart)_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000)));
}
#endif

// ---- prefetching and non-temporal stores of rows of blocks
// Prefetches the 32 columns of a row that will be read soon: the rows of a block are too short for the hardware prefetcher.
template <class T>
CRE_INLINE void prefetchRow(const T* row) {
  __builtin_prefetch(row);
  if (sizeof(T) == 4) __builtin_prefetch(row + kLanes);
}

// Whether an output is written with non-temporal stores: a cache line that is written whole need not be read first (a core copies 30 GB/s
// instead of 15), but the next reader finds it only in memory. So only for outputs that do not fit in the second-level caches.
inline bool isFar(const Pool& pool, const Matrix& matrix) { return matrix.bytes() > static_cast<size_t>(pool.threadCount()) << 20; }

// Both halves of a row of a block. Call finishFarStores after the last far row, before another thread reads it.
CRE_INLINE void storeFarPart(float* p, const FloatPart& a) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)a);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, (__m256)a);
#elif defined(__x86_64__)
  _mm_stream_ps(p, (__m128)a);
#else
  *reinterpret_cast<FloatPartInMemory*>(p) = a;
#endif
}
CRE_INLINE void store(float* p, const Floats& low, const Floats& high, bool far) {
  if (!far) return store(p, low, high);
  CRE_PARTS storeFarPart(p + i * (kLanes / kParts), low.part[i]);
  CRE_PARTS storeFarPart(p + kLanes + i * (kLanes / kParts), high.part[i]);
}
CRE_INLINE void store(bf16* p, const Floats& low, const Floats& high, bool far) {
#if defined(__AVX512BF16__)
  const auto row = (__m512i)_mm512_cvtne2ps_pbh((__m512)high.part[0], (__m512)low.part[0]);
  if (far) _mm512_stream_si512(reinterpret_cast<__m512i*>(p), row);
  else _mm512_storeu_si512(p, row);
#else
  (void)far;
  store(p, low, high);
#endif
}
// For halves in the order of loadUnordered.
CRE_INLINE void storeUnordered(float* p, const Floats& a, const Floats& b, bool far) { store(p, a, b, far); }
CRE_INLINE void storeUnordered(bf16* p, const Floats& a, const Floats& b, bool far) {
#if defined(__AVX512BF16__)
  const auto halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)b.part[0], (__m512)a.part[0]);
  const __m512i order = _mm512_set_epi32(0x001f000f, 0x001e000e, 0x001d000d, 0x001c000c, 0x001b000b, 0x001a000a, 0x00190009, 0x00180008,
                                         0x00170007, 0x00160006, 0x00150005, 0x00140004, 0x00130003, 0x00120002, 0x00110001, 0x00100000);
  const __m512i row = _mm512_permutexvar_epi16(order, halves);
  if (far) _mm512_stream_si512(reinterpret_cast<__m512i*>(p), row);
  else _mm512_storeu_si512(p, row);
#else
  store(p, a, b, far);
#endif
}
CRE_INLINE void finishFarStores() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// ---- reductions, always in the same order
#if defined(__AVX512F__)
CRE_INLINE float sumOf(const Floats& a) { return _mm512_reduce_add_ps((__m512)a.part[0]); }
CRE_INLINE float largestOf(const Floats& a) { return _mm512_reduce_max_ps((__m512)a.part[0]); }
#elif defined(CRE_NEON)
// In the order of reduceLanes below.
CRE_INLINE float sumOf(const Floats& a) {
  const auto fours = (float32x4_t)((a.part[0] + a.part[2]) + (a.part[1] + a.part[3]));
  const float32x2_t twos = vadd_f32(vget_low_f32(fours), vget_high_f32(fours));
  return vget_lane_f32(twos, 0) + vget_lane_f32(twos, 1);
}
CRE_INLINE float largestOf(const Floats& a) {
  const auto larger = [](float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); };
  const float32x4_t fours =
      larger(larger((float32x4_t)a.part[0], (float32x4_t)a.part[2]), larger((float32x4_t)a.part[1], (float32x4_t)a.part[3]));
  const float32x4_t twos = larger(fours, vextq_f32(fours, fours, 2));
  const float first = vgetq_lane_f32(twos, 0), second = vgetq_lane_f32(twos, 1);
  return first > second ? first : second;
}
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

// ---- matrices
// Calls body with the matrix's data as float* or bf16*. Only the levels avx512bf16 and amx have bf16 matrices (supportsBf16), so the others compile
// nothing for them: nested calls would multiply the kernels by 2 to 16.
template <class Body>
CRE_INLINE void withElements(const Matrix& matrix, Body&& body) {
#ifdef __AVX512BF16__
  if (matrix.isBf16) body(matrix.b16());
  else body(matrix.f32());
#else
  body(matrix.f32());
#endif
}

// The 32 columns of block column `block` in one row.
template <class T>
CRE_INLINE T* rowChunk(T* data, int columnBlocks, int row, int block) {
  return data + (static_cast<size_t>(row / kBlock) * columnBlocks + block) * kBlockElements + row % kBlock * kBlock;
}

// Calls body(begin, end) for pieces of [0, elements), at most 16 blocks each, which fit in the first-level cache.
template <class Body>
void forPieces(Pool& pool, size_t elements, Body&& body) {
  constexpr size_t kPiece = 16 * kBlockElements;
  pool.parallelFor(static_cast<int>((elements + kPiece - 1) / kPiece), [&](int item, int) {
    const size_t begin = item * kPiece;
    body(begin, begin + kPiece < elements ? begin + kPiece : elements);
  });
}

// forPieces over the part of a matrix that a kernel writes: all of it, or its only row, 32 elements at a time.
template <class Body>
void forWrittenPieces(Pool& pool, const Matrix& matrix, Body&& body) {
  if (matrix.rows != 1) return forPieces(pool, matrix.elements(), body);
  for (size_t begin = 0; begin < matrix.elements(); begin += kBlockElements) body(begin, begin + kBlock);
}

// Clears the padding below the only row of a matrix, before a kernel contracts over rows.
inline void clearPaddingRows(const Matrix& matrix) {
  if (matrix.rows != 1) return;
  const size_t rowBytes = matrix.bytes() / matrix.columnBlocks() / kBlock;
  for (int b = 0; b < matrix.columnBlocks(); b++)
    memset(static_cast<char*>(matrix.data) + (b * kBlock + 1) * rowBytes, 0, (kBlock - 1) * rowBytes);
}

}  // namespace cre
