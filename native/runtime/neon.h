// Register tiles of the neon level: A is loaded by quarters of a vector, and the multiply-add instructions pick its lanes, so that four steps of
// four rows load 20 registers for 64 multiplications. Of 32 registers 16 hold sums, four A and four B; the rest is for the loads ahead.
#pragma once
#include "runtime/vector.h"

#if defined(CRE_NEON)

namespace cre {

template <int kLane>
CRE_INLINE void addLaneTimes(float32x4_t a, const Floats& b, Floats& sum) {
  CRE_PARTS sum.part[i] = (FloatPart)vfmaq_laneq_f32((float32x4_t)sum.part[i], (float32x4_t)b.part[i], a, kLane);
}

template <int kLane, int kCount>
CRE_INLINE void addStep(const float32x4_t (&a)[kCount], const float* b, Floats (&sums)[kCount][1]) {
  const Floats column = load(b);
#pragma GCC unroll 4
  for (int r = 0; r < kCount; r++) addLaneTimes<kLane>(a[r], column, sums[r][0]);
}

// sums[kCount] += a · b for `steps` neighbouring columns of a, whose rows are rowStride apart, and rows of b, which are ldb apart.
template <int kCount>
CRE_INLINE void addAlongRows(const float* a, int rowStride, const float* b, int ldb, int steps, Floats (&sums)[kCount][1]) {
  float32x4_t left[kCount];
  for (; steps >= 4; steps -= 4, a += 4, b += 4 * ldb) {
#pragma GCC unroll 4
    for (int r = 0; r < kCount; r++) left[r] = vld1q_f32(a + r * rowStride);
    addStep<0>(left, b, sums);
    addStep<1>(left, b + ldb, sums);
    addStep<2>(left, b + 2 * ldb, sums);
    addStep<3>(left, b + 3 * ldb, sums);
  }
  for (; steps > 0; steps--, a++, b += ldb) {
#pragma GCC unroll 4
    for (int r = 0; r < kCount; r++) left[r] = vdupq_n_f32(a[r * rowStride]);
    addStep<0>(left, b, sums);
  }
}

// sums[4] += a · b for four neighbouring rows of a, whose columns are stepStride apart.
CRE_INLINE void addAlongColumns(const float* a, int stepStride, const float* b, int ldb, int steps, Floats (&sums)[4][1]) {
  for (; steps > 0; steps--, a += stepStride, b += ldb) {
    const float32x4_t left = vld1q_f32(a);
    const Floats column = load(b);
    addLaneTimes<0>(left, column, sums[0][0]);
    addLaneTimes<1>(left, column, sums[1][0]);
    addLaneTimes<2>(left, column, sums[2][0]);
    addLaneTimes<3>(left, column, sums[3][0]);
  }
}

// Either, by which stride is 1.
template <int kCount>
CRE_INLINE void addProducts(const float* a, int rowStride, int stepStride, const float* b, int ldb, int steps, Floats (&sums)[kCount][1]) {
  if constexpr (kCount == 4) {
    if (stepStride != 1) return addAlongColumns(a, stepStride, b, ldb, steps, sums);
  } else if (stepStride != 1) {
    for (; steps > 0; steps--, a += stepStride, b += ldb) addAlongRows(a, rowStride, b, ldb, 1, sums);
    return;
  }
  addAlongRows(a, rowStride, b, ldb, steps, sums);
}

}  // namespace cre

#endif
