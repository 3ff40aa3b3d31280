// Exponentials and logistic functions of a vector of floats, and their parts.
#pragma once
#include "runtime/vector.h"

namespace cre {

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
  // −1000 instead of −∞, whose remainder would be NaN; scaling by 2ⁿ saturates by itself.
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

// 2^x for x below 127, relative error below 4e-7; exactly 1 of 0 and exactly 0 far below −126 (also of −∞). The whole part goes into the
// exponent; of the rest, a polynomial that interpolates at the Chebyshev–Lobatto points of [0, 1].
CRE_INLINE Floats powerOfRest(const Floats& f) {
  Floats p = multiplyAdd(f, broadcast(0.00189510729f), broadcast(0.00895988811f));
  p = multiplyAdd(p, f, broadcast(0.0558360204f));
  p = multiplyAdd(p, f, broadcast(0.240157735f));
  p = multiplyAdd(p, f, broadcast(0.693151249f));
  return multiplyAdd(p, f, broadcast(1.0f));
}
CRE_INLINE Floats powerOfTwo(const Floats& x) {
#if defined(__AVX512DQ__)
  Floats rest;
  rest.part[0] = (FloatPart)_mm512_reduce_ps((__m512)x.part[0], _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  Floats power = powerOfRest(rest);
  power.part[0] = (FloatPart)_mm512_scalef_ps((__m512)power.part[0], (__m512)x.part[0]);  // scalef rounds x down itself
  return power;
#else
  const Floats bounded = minimum(maximum(x, broadcast(-126.0f)), broadcast(126.9f));
  const Floats magic = broadcast(12582912.0f);  // as in exponential; the half makes it round down
  const Floats shifted = (bounded - broadcast(0.5f)) + magic;
  Floats power = powerOfRest(bounded - (shifted - magic));
  CRE_PARTS power.part[i] = (FloatPart)((IntPart)power.part[i] + ((IntPart)shifted.part[i] << 23));
  return whereGreater(x, broadcast(-126.0f), power, zeros());
#endif
}

// 1 / (1 + e^−x)
CRE_INLINE Floats logistic(const Floats& x) { return reciprocal(broadcast(1.0f) + exponential(minimum(zeros() - x, broadcast(80.0f)))); }

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

}  // namespace cre
