// The update of Muon (Jordan 2024, with the decay and the scale of Liu et al. 2025, arXiv:2502.16982), by products of the level.
#pragma once
#include "runtime/kernels.h"

namespace cre {

struct Muon {
  double learningRate, momentum, weightDecay;
};

// Updates master and moment1 of a matrix of at least 2 x 2; the caller packs again. moment2 is not touched.
void muon(Pool&, WeightView& w, const Muon&);

}  // namespace cre
