// The product of some row blocks with one chunk of a panel on vector units with AVX-512 BF16.
#pragma once
#include "matmul/bf16_vectors.h"
#include "matmul/matmul_chunk.h"

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)

namespace cre {

constexpr int kMostParts = 8;  // of the depth of a chunk

// `ahead` prepares the next chunk, a little for every block.
template <class NextChunk, class FinishRows>
void multiplyChunk(const Chunk& chunk, NextChunk& ahead, const FinishRows& finish) {
  DepthBlocks parts[kMostParts];
  parts[0] = {chunk.a, chunk.aDepthBlockStride, chunk.b, chunk.bDepthBlockStride, chunk.moreCount > 0 ? chunk.ownBlocks : chunk.depthBlocks,
              chunk.lastPairs};
  for (int i = 0; i < chunk.moreCount; i++) {
    const Segment& more = chunk.more[i];
    parts[i + 1] = {more.a, more.aDepthBlockStride, more.b, more.bDepthBlockStride, more.depthBlocks, more.lastPairs};
  }
  for (int block = 0; block < chunk.rowBlocks; block++) {
    for (int step = 0; step < chunk.depthBlocks; step++) ahead.step();
    const auto target = finish.at(chunk.firstRowBlock + block, chunk.panel);
    float* sums = chunk.sums + static_cast<size_t>(block) * kBlockElements;
    float* to = chunk.last ? chunk.complete : sums;
    const int rows = std::min(kBlock, target.filled);
    if (chunk.isHalf) addHalfBlock(parts, chunk.moreCount + 1, rows, chunk.accumulate ? sums : nullptr, to);
    else addBlock(parts, chunk.moreCount + 1, rows, chunk.accumulate ? sums : nullptr, to);
    if (chunk.last) target(to, 0, kBlock);
    parts[0].left += chunk.aRowBlockStride;
    for (int i = 0; i < chunk.moreCount; i++) parts[i + 1].left += chunk.more[i].aRowBlockStride;
  }
}

// Sums of one panel, or two, over the whole depth for at most kFewRows rows. Every part of the depth of all rows is added before the next
// part of the right factor is read from memory.
inline void sumFewRows(const Product& product, int panel, bool two, float* sums) {
  constexpr int kPartBlocks = 8, kAheadBlocks = 8;
  bool fresh = true;
  for (const Product* part = &product; part != nullptr; part = part->next) {
    const auto* a = static_cast<const bf16*>(part->a);
    const auto* b = static_cast<const bf16*>(part->b) + panel * part->bPanelStride;
    for (int depth = 0; depth < part->depthBlocks; depth += kPartBlocks) {
      const int blocks = std::min(kPartBlocks, part->depthBlocks - depth);
      for (int i = 0; i < (two ? 2 : 1); i++) {
        const bf16* right = b + i * part->bPanelStride + depth * part->bDepthBlockStride;
        for (int line = 0; line < blocks * kBlockElements; line += kBlock) {
          __builtin_prefetch(right + kAheadBlocks * part->bDepthBlockStride + line, 0, 3);
        }
        const int lastPairs = depth + blocks == part->depthBlocks ? part->lastPairs : kBlock / 2;
        const DepthBlocks factors{
            a + depth * part->aDepthBlockStride, part->aDepthBlockStride, right, part->bDepthBlockStride, blocks, lastPairs};
        float* to = sums + i * kBlockElements;
        addBlock(&factors, 1, product.y->rows, fresh ? nullptr : to, to);
      }
      fresh = false;
    }
  }
}

}  // namespace cre

#endif
