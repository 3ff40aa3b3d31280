// Products in bf16 whose right factor is made block by block: quantised weights in both directions, and bf16 weights backward from their
// forward copy. On AMX tiles the next chunk of the right factor is made between the tile instructions of the current one, which leave the
// vector units idle.
#include "matmul/matmul_few_rows.h"
#include "matmul/matmul_sources.h"
#include "matmul/matmul_bf16.h"

#ifdef __AVX512BF16__

namespace cre {
namespace {

constexpr int kMostRowBlocks = 16;  // of a work item: the number of uses of each block that is made
constexpr int kMostPanels = 8;
constexpr int kPrefetchBlocks = 2;

struct SourceCut {
  int rowBlocks, panels, depthBlocks;  // of one item; of one chunk
  int rowItems, panelItems;

  SourceCut(const Product& product, int threads) {
    constexpr int kItemsPerThread = 4;
    const int allRows = product.y->rowBlocks(), allPanels = product.y->columnBlocks();
    rowItems = (allRows + kMostRowBlocks - 1) / kMostRowBlocks;
    rowBlocks = (allRows + rowItems - 1) / rowItems;
    rowItems = (allRows + rowBlocks - 1) / rowBlocks;
    const int wanted = threads == 1 ? 1 : kItemsPerThread * threads;
    panels = std::max(1, std::min(kMostPanels, allPanels * rowItems / wanted));
    panelItems = (allPanels + panels - 1) / panels;
    depthBlocks = chunkOf(product.depthBlocks);
  }
  size_t sumBlocks() const { return static_cast<size_t>(panels) * rowBlocks + 2; }
};

// Makes the blocks of one chunk, some parts at every step.
template <class Source>
struct Maker {
  const Source& source;
  PartScratch& scratch;
  bf16* out;
  int panel, depth, end;
  int perStep;
  int part = 0;

  CRE_INLINE void onePart() {
    source.prefetch(panel, std::min(depth + kPrefetchBlocks, end - 1), part);
    source.part(panel, depth, part, scratch, out);
    if (++part < Source::kParts) return;
    part = 0;
    depth++;
    out += kBlockElements;
  }
  CRE_INLINE void step() {
    for (int i = 0; i < perStep && depth < end; i++) onePart();
  }
  void rest() {
    while (depth < end) onePart();
  }
};

// Makes the next chunk of the right factor and prefetches cache lines of the left one for the next pass.
template <class Source>
struct MakerAhead {
  Maker<Source> right;
  Ahead left;
  CRE_INLINE void step() {
    right.step();
    left.step();
  }
};

struct alignas(64) ItemScratch {
  bf16 chunks[2][kDepthBlocks * kBlockElements];
  PartScratch part;
};

template <class Source, class FinishRows>
void multiplyItem(const Product& product, const Source& source, const SourceCut& cut, int group, int item, float* sums,
                  ItemScratch& scratch, const FinishRows& finish) {
  Chunk chunk;
  chunk.firstRowBlock = group * cut.rowBlocks;
  chunk.rowBlocks = std::min(cut.rowBlocks, product.y->rowBlocks() - chunk.firstRowBlock);
  chunk.complete = sums + static_cast<size_t>(cut.panels) * cut.rowBlocks * kBlockElements;
  chunk.aRowBlockStride = product.aRowBlockStride;
  chunk.aDepthBlockStride = product.aDepthBlockStride;
  chunk.bDepthBlockStride = kBlockElements;
  const int firstPanel = item * cut.panels;
  const int endPanel = std::min(firstPanel + cut.panels, product.y->columnBlocks());
  const auto* a = static_cast<const bf16*>(product.a) + chunk.firstRowBlock * product.aRowBlockStride;
  const auto makerOf = [&](int panel, int depth, int place) {
    const int end = std::min(depth + cut.depthBlocks, product.depthBlocks);
    const int parts = (end - depth) * Source::kParts, steps = chunk.rowBlocks * chunk.depthBlocks;
    return Maker<Source>{source, scratch.part, scratch.chunks[place], panel, depth, end, (parts + steps - 1) / std::max(1, steps)};
  };
  chunk.depthBlocks = std::min(cut.depthBlocks, product.depthBlocks);
  makerOf(firstPanel, 0, 0).rest();
  int place = 0;
  for (int depth = 0; depth < product.depthBlocks; depth += cut.depthBlocks) {
    for (int panel = firstPanel; panel < endPanel; panel++, place ^= 1) {
      chunk.panel = panel;
      chunk.sums = sums + static_cast<size_t>(panel - firstPanel) * cut.rowBlocks * kBlockElements;
      chunk.depthBlocks = std::min(cut.depthBlocks, product.depthBlocks - depth);
      chunk.a = a + depth * product.aDepthBlockStride;
      chunk.b = scratch.chunks[place];
      chunk.accumulate = depth > 0;
      chunk.last = depth + chunk.depthBlocks == product.depthBlocks;
      // After the last panel of the last chunk nothing is left to make: its depth begins at the end.
      const bool samePass = panel + 1 < endPanel;
      const int nextDepth = depth + cut.depthBlocks;
      MakerAhead<Source> next{makerOf(samePass ? panel + 1 : firstPanel, samePass ? depth : nextDepth, place ^ 1), {}};
      if (nextDepth < product.depthBlocks) {
        // Every panel prefetches a part of the depth of all rows.
        const int ahead = std::min(cut.depthBlocks, product.depthBlocks - nextDepth), panels = endPanel - firstPanel;
        const int begin = ahead * (panel - firstPanel) / panels, end = ahead * (panel - firstPanel + 1) / panels;
        if (begin < end) {
          next.left = Ahead::inFours(a + (nextDepth + begin) * product.aDepthBlockStride, chunk.rowBlocks,
                                     (end - begin) * product.aDepthBlockStride * sizeof(bf16), product.aRowBlockStride * sizeof(bf16),
                                     chunk.rowBlocks * chunk.depthBlocks);
        }
      }
      multiplyChunk(chunk, next, finish);
      next.right.rest();
    }
  }
}

template <class Source>
void multiplyFrom(Pool& pool, const Product& product) {
  const Source source(*product.source);
  const SourceCut cut(product, pool.threadCount());
  withFinish(product, [&](const auto& finish) {
    pool.parallelForGroups(
        cut.rowItems, cut.panelItems, {}, false,
        [&](int group, int, int item, int, int thread) {
          auto* sums = static_cast<float*>(pool.scratch(thread, 0, cut.sumBlocks() * kBlockElements * sizeof(float)));
          auto* scratch = static_cast<ItemScratch*>(pool.scratch(thread, 1, sizeof(ItemScratch)));
          multiplyItem(product, source, cut, group, item, sums, *scratch, finish);
        },
        [](int) {});
  });
}

#ifdef __AMX_BF16__
constexpr int kFewRowsBuffers = 2 * kGroupBlocks;

// One panel of a product of at most 32 rows: the dequantised rows are left tiles without conversion and x, transposed once, is the right
// factor, so that a weight costs only a table look-up.
template <Storage kStorage, class FinishRows>
void multiplyFewRowsPanel(const Product& product, const Quantized<kStorage>& quantized, const bf16* transposed, int panel, bf16* buffers,
                          float* sums, const FinishRows& finish) {
  constexpr int kAheadBytes = 4096, kLinesOfFour = kStorage == Storage::int8 ? 4 : 2;  // lines of four rows of a group
  const bool two = product.y->rows > kBlock / 2;
  alignas(64) float scales[kBlock];
  memoryBarrier();
  zeroTile<0>();
  zeroTile<1>();
  zeroTile<2>();
  zeroTile<3>();
  for (int block = 0; block < product.depthBlocks; block++) {
    bf16* rows = buffers + block % kFewRowsBuffers * kBlockElements;
    if (block % kGroupBlocks == 0) {
      const char* codes = quantized.codes(panel, block);
      const bool whole = block + 1 < product.depthBlocks;
      quantized.scales(panel, block, scales);
      for (int r = 0; r < kBlock; r += 4) {
        for (int line = 0; line < kLinesOfFour; line++) __builtin_prefetch(codes + kAheadBytes + (r / 4 * kLinesOfFour + line) * 64, 0, 3);
        if (whole) quantized.template fourRows<kGroupBlocks>(codes, scales, r, rows);
        else quantized.fourRows(codes, scales, r, rows);
      }
      memoryBarrier();
    }
    const bf16* x = transposed + static_cast<size_t>(block) * kBlockElements;
    loadTile<6>(x, kTileStride);
    loadTile<4>(rows, kTileStride);
    multiplyTiles<0, 4, 6>();
    loadTile<5>(rows + kTileElements, kTileStride);
    multiplyTiles<2, 5, 6>();
    if (!two) continue;
    loadTile<7>(x + kTileElements, kTileStride);
    multiplyTiles<1, 4, 7>();
    multiplyTiles<3, 5, 7>();
  }
  storeTile<0>(quarter<0>(sums));
  storeTile<1>(quarter<1>(sums));
  storeTile<2>(quarter<2>(sums));
  storeTile<3>(quarter<3>(sums));
  memoryBarrier();
  transposeBlock(sums, sums + kBlockElements);
  finish(sums + kBlockElements, 0, panel, 0, kBlock);
}

template <Storage kStorage>
void multiplyFewRows(Pool& pool, const Product& product) {
  const Quantized<kStorage> quantized(*product.source);
  auto* transposed = static_cast<bf16*>(pool.sharedScratch(1, static_cast<size_t>(product.depthBlocks) * kBlockElements * sizeof(bf16)));
  const auto* a = static_cast<const bf16*>(product.a);
  const int halves = product.y->rows > kBlock / 2 ? 2 : 1;
  for (int block = 0; block < product.depthBlocks; block++) {
    for (int half = 0; half < halves; half++) {
      const size_t at = static_cast<size_t>(block) * 512 + half * 256;
      transposeWords(reinterpret_cast<const uint32_t*>(a) + at, 16, reinterpret_cast<uint32_t*>(transposed) + at, 16);
    }
  }
  withFinish(product, [&](const auto& finish) {
    pool.parallelFor(product.y->columnBlocks(), [&](int panel, int thread) {
      auto* buffers = static_cast<bf16*>(pool.scratch(thread, 1, kFewRowsBuffers * kBlockElements * sizeof(bf16)));
      auto* sums = static_cast<float*>(pool.scratch(thread, 0, 2 * kBlockElements * sizeof(float)));
      multiplyFewRowsPanel(product, quantized, transposed, panel, buffers, sums, finish);
    });
  });
}

#else
template <Storage kStorage>
void multiplyFewRows(Pool& pool, const Product& product) {
  multiplyOneRowBlock(pool, product);
}
#endif

template <Storage kStorage>
void multiplyQuantized(Pool& pool, const Product& product) {
  if (product.sourceBackward) return multiplyFrom<PanelSource<kStorage, true>>(pool, product);
  if (product.y->rows == 1) return multiplyOneRow(pool, product);
  if (product.y->rows <= kBlock) return multiplyFewRows<kStorage>(pool, product);
  if (product.y->rows <= 2 * kBlock) return multiplyTwoRowBlocks(pool, product);
  multiplyFrom<PanelSource<kStorage, false>>(pool, product);
}

}  // namespace

void multiplyBf16FromSource(Pool& pool, const Product& product) {
  if (!product.source->isQuantized()) return multiplyFrom<PanelSource<Storage::bfloat16, true>>(pool, product);
  if (product.source->storage == Storage::int8) return multiplyQuantized<Storage::int8>(pool, product);
  multiplyQuantized<Storage::nf4>(pool, product);
}

}  // namespace cre

#endif
