// Shared by the rotary kernel, products that rotate their result, and the backward pass of attention.
#pragma once
#include <vector>

#include "runtime/vector.h"

namespace cre {

// Index of each token's position among the distinct ones.
struct DistinctPositions {
  std::vector<int32_t> values;
  std::vector<int32_t> slots;

  DistinctPositions(const int32_t* positions, int count);
};

// For each distinct position the cosines, then the sines: [positions][2][pairs].
void fillRotaryTables(Pool& pool, const DistinctPositions& distinct, const float* frequencies, int pairs, bool backward, float* tables);

// Rotates both elements of pairs by angles with these cosines and sines, in place.
CRE_INLINE void rotatePairs(Floats& first, Floats& second, const Floats& cosines, const Floats& sines) {
  const Floats before = first;
  first = first * cosines - second * sines;
  second = before * sines + second * cosines;
}

}  // namespace cre
