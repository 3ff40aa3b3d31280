#include "matmul/matmul_sources.h"

namespace cre {
namespace {

template <Storage kStorage>
void quantizedBlock(const WeightView& w, bool backward, int panel, int depth, float* out) {
  const Quantized<kStorage> quantized(w);
  const int outputBlock = backward ? depth : panel, inputBlock = backward ? panel : depth;
  alignas(64) float rows[kBlockElements], scales[kBlock];
  quantized.scales(outputBlock, inputBlock, scales);
  float* block = backward ? out : rows;
  for (int r = 0; r < kBlock; r += 4) quantized.fourRows(quantized.codes(outputBlock, inputBlock), scales, r, block);
  if (!backward) transposeBlock(rows, out);
}

}  // namespace

void floatBlock(const WeightView& w, bool backward, int panel, int depth, float* out) {
  if (w.isQuantized()) {
    if (w.storage == Storage::int8) quantizedBlock<Storage::int8>(w, backward, panel, depth, out);
    else quantizedBlock<Storage::nf4>(w, backward, panel, depth, out);
    return;
  }
  const size_t index =
      backward ? static_cast<size_t>(depth) * blocksFor(w.columns) + panel : static_cast<size_t>(panel) * blocksFor(w.columns) + depth;
  const float* block = static_cast<const float*>(w.forward) + index * kBlockElements;
  if (backward) transposeBlock(block, out);
  else memcpy(out, block, kBlockElements * sizeof(float));
}

}  // namespace cre
