// One step of products of bytes for each kind of instruction: sums of 32 bits += four unsigned bytes of an activation times four signed bytes of
// a weight. They differ in `dot` alone (and Arm in `start`); all give the same sums.
#pragma once
#include "matmul/w8a8.h"
#include "runtime/vector.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(CRE_NEON) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace cre {

#if defined(__x86_64__)
inline bool hasCpuBit(unsigned subleaf, char which, int bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, subleaf, &a, &b, &c, &d)) return false;
  return ((which == 'a' ? a : c) >> bit & 1) != 0;
}
#endif

// GCC 11 and clang 12 come with assemblers that know AVX-VNNI.
#if defined(__AVX2__) && ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define CRE_AVX_VNNI
#endif

#if defined(__AVX512F__)

// 16 outputs a vector; a tile of 8 rows x 32 outputs has 16 registers of sums.
struct Dot512 {
  using Ints = __m512i;
  static constexpr int kRows = 8, kVectors = 2, kOutputs = 16;
  static CRE_INLINE Ints load(const void* p) { return _mm512_loadu_si512(p); }
  static CRE_INLINE Ints start(const int32_t* starts) { return load(starts); }
  static CRE_INLINE Ints broadcast(int32_t quad) { return _mm512_set1_epi32(quad); }
  static CRE_INLINE void addScaled(const Ints& sums, const float* scales, float scale, float* to) {
    const __m512 ofWeight = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(scales));
    _mm512_storeu_ps(to, _mm512_fmadd_ps(ofWeight, _mm512_set1_ps(scale), _mm512_loadu_ps(to)));
  }
};

struct Vnni512 : Dot512 {
#ifdef __AMX_BF16__
  static constexpr const char* kName = "AVX-512 VNNI without tiles";  // which the products in bfloat16 have
#else
  static constexpr const char* kName = "AVX-512 VNNI";
#endif
  static bool isPresent() { return hasCpuBit(0, 'c', 11); }
  // Own assembly: the level avx512 is compiled without VNNI, which many of its processors have.
  static CRE_INLINE Ints dot(Ints sums, const Ints& x, const Ints& w) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(x), "v"(w));
    return sums;
  }
};

struct Multiply512 : Dot512 {
  static constexpr const char* kName = "AVX-512";
  static bool isPresent() { return true; }
  static CRE_INLINE Ints dot(const Ints& sums, const Ints& x, const Ints& w) {
    return _mm512_add_epi32(sums, _mm512_madd_epi16(_mm512_maddubs_epi16(x, w), _mm512_set1_epi16(1)));
  }
};

#elif defined(__AVX2__)

// 8 outputs a vector; 3 rows x 32 outputs are faster than 4 x 16 (measured on Zen 3).
struct Dot256 {
  using Ints = __m256i;
  static constexpr int kRows = 3, kVectors = 4, kOutputs = 8;
  static CRE_INLINE Ints load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static CRE_INLINE Ints start(const int32_t* starts) { return load(starts); }
  static CRE_INLINE Ints broadcast(int32_t quad) { return _mm256_set1_epi32(quad); }
  static CRE_INLINE void addScaled(const Ints& sums, const float* scales, float scale, float* to) {
    const __m256 ofWeight = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(scales));
    _mm256_storeu_ps(to, _mm256_fmadd_ps(ofWeight, _mm256_set1_ps(scale), _mm256_loadu_ps(to)));
  }
};

#if defined(CRE_AVX_VNNI)
struct Vnni256 : Dot256 {
  static constexpr const char* kName = "AVX-VNNI";
  static bool isPresent() { return hasCpuBit(1, 'a', 4); }
  static CRE_INLINE Ints dot(Ints sums, const Ints& x, const Ints& w) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(x), "x"(w));
    return sums;
  }
};
#endif

struct Multiply256 : Dot256 {
  static constexpr const char* kName = "AVX2";
  static bool isPresent() { return true; }
  static CRE_INLINE Ints dot(const Ints& sums, const Ints& x, const Ints& w) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)));
  }
};

#else

#if defined(CRE_NEON)
// The dot-product instruction of Arm v8.2 multiplies signed bytes: activations lose the 128 that is added to their codes, and sums start at zero
// instead of at the term that takes it away again. A tile of 4 rows x 16 outputs has 16 registers of sums.
struct DotNeon {
  static constexpr const char* kName = "Arm SDOT";
  using Ints = int32x4_t;
  static constexpr int kRows = 4, kVectors = 4, kOutputs = 4;
  static bool isPresent() {
#if defined(__APPLE__)
    return true;  // every Apple processor that macOS runs on
#elif defined(__linux__)
    constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
    return (getauxval(AT_HWCAP) & kDotProduct) != 0;
#else
    return false;
#endif
  }
  static CRE_INLINE Ints load(const void* p) { return vreinterpretq_s32_s8(vld1q_s8(static_cast<const int8_t*>(p))); }
  static CRE_INLINE Ints start(const int32_t*) { return vdupq_n_s32(0); }
  static CRE_INLINE Ints broadcast(int32_t quad) {
    Ints all = vdupq_n_s32(quad);
    asm("" : "+w"(all));  // loaded into all lanes, instead of changed in a general register and moved from there
    return veorq_s32(all, vdupq_n_s32(static_cast<int32_t>(0x80808080)));
  }
  // Own assembly: the level is compiled for every 64-bit Arm.
  static CRE_INLINE Ints dot(Ints sums, const Ints& x, const Ints& w) {
    asm(".arch_extension dotprod\n\tsdot %0.4s, %1.16b, %2.16b" : "+w"(sums) : "w"(x), "w"(w));
    return sums;
  }
  static CRE_INLINE void addScaled(const Ints& sums, const float* scales, float scale, float* to) {
    const float32x4_t ofWeight = vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(scales));
    vst1q_f32(to, vfmaq_n_f32(vld1q_f32(to), ofWeight, scale));
  }
};
#endif

// Plain loops over 4 outputs, which compilers make vectors of.
struct PlainDot {
  static constexpr const char* kName = "plain loops";
  struct Ints {
    union {
      int32_t number[4];
      uint8_t unsignedByte[16];
      int8_t signedByte[16];
    };
  };
  static constexpr int kRows = 2, kVectors = 8, kOutputs = 4;
  static bool isPresent() { return true; }
  static CRE_INLINE Ints load(const void* p) {
    Ints loaded;
    memcpy(&loaded, p, sizeof loaded);
    return loaded;
  }
  static CRE_INLINE Ints start(const int32_t* starts) { return load(starts); }
  static CRE_INLINE Ints broadcast(int32_t quad) {
    Ints all;
    for (int32_t& number : all.number) number = quad;
    return all;
  }
  static CRE_INLINE Ints dot(Ints sums, const Ints& x, const Ints& w) {
    for (int output = 0; output < kOutputs; output++) {
      for (int i = 4 * output; i < 4 * output + 4; i++) sums.number[output] += x.unsignedByte[i] * w.signedByte[i];
    }
    return sums;
  }
  static CRE_INLINE void addScaled(const Ints& sums, const float* scales, float scale, float* to) {
    for (int output = 0; output < kOutputs; output++) to[output] += static_cast<float>(sums.number[output]) * scales[output] * scale;
  }
};

#endif

}  // namespace cre
