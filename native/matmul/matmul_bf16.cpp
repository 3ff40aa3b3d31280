// Products of bf16 blocks and panels, sums in float. Empty on the levels without bf16 products.
#include <vector>

#include "matmul/matmul_bf16.h"

#ifdef __AVX512BF16__

namespace cre {
namespace {

constexpr int kChunkBlocks = 48;  // depth of a chunk
// When the left factor does not fit in the cache: depth of a pass over it, and the row blocks and panels whose sums are kept there for the
// next pass. Few rows leave room for all of that; but a right factor that does not fit in the third-level cache either should be read rarely.
struct PassShape {
  int depthBlocks, rowBlocks, panels;
};
constexpr PassShape kPass{24, 8, 16}, kDeepPass{16, 16, 12};
constexpr int kDeepBlocks = 512;

// Division of a product. A group is some row blocks whose left factor, or a pass over it, stays in the second-level cache; a work item is a
// group and some panels over the whole depth, so threads never wait for each other's sums. Threads take the items of one group before those
// of the next, so that the left factor is read once. Items consist of pieces, because the last items are smaller.
struct TileCut {
  int rowBlocks, groups;
  int panels, pieces;  // of one piece; pieces of a group
  Pool::Portions items;
  int passBlocks;  // of depth

  // `together`: number of panels that an item must not separate.
  TileCut(const Product& product, int threads, int together) {
    constexpr int kFewestRows = 10, kItemsPerThread = 16, kMostPanels = 16;
    const int allRows = product.y->rowBlocks(), allPanels = product.y->columnBlocks(), allDepth = product.allDepthBlocks();
    const int fitting = kCachedBlocks / allDepth;
    const PassShape& pass = allDepth > kDeepBlocks ? kDeepPass : kPass;
    const bool resident = fitting >= std::min(allRows, kFewestRows);
    rowBlocks = resident ? std::min(allRows, fitting) : std::min(allRows, pass.rowBlocks);
    passBlocks = resident ? allDepth : chunkOf(allDepth, pass.depthBlocks);
    groups = (allRows + rowBlocks - 1) / rowBlocks;
    // Each thread gets an equal number of groups, if that leaves enough rows for every block of the right factor.
    const int evenGroups = (groups + threads - 1) / threads * threads;
    if (allRows / evenGroups >= kFewestRows) groups = evenGroups;
    rowBlocks = (allRows + groups - 1) / groups;
    groups = (allRows + rowBlocks - 1) / rowBlocks;
    const int ofItem =
        std::max(1, std::min(resident ? kMostPanels : pass.panels, allPanels * groups / (resident ? kItemsPerThread * threads : threads)));
    const int perGroup = (allPanels + ofItem - 1) / ofItem, even = (allPanels + perGroup - 1) / perGroup;
    // Passes read their left factor again for each item: items with few panels are expensive, so only the very last ones are halved.
    panels = resident ? together : ((even + 1) / 2 + together - 1) / together * together;
    items.most = (even + panels - 1) / panels;
    items.least = resident ? std::max(1, items.most / 4) : 1;
    items.perThread = resident ? 2 : 1;
    pieces = (allPanels + panels - 1) / panels;
  }
};

// Consecutive depth blocks of one product.
struct DepthRange {
  const Product* product;
  int depth, depthBlocks;
};

// The depth of a product and of those added to it, divided into passes and chunks of equal size.
struct Chunks {
  static constexpr int kMostSegments = 4;
  struct Place {
    DepthRange ranges[kMostSegments];
    int rangeCount = 0, depthBlocks = 0;
    bool first = false;  // of the product
  };
  std::vector<Place> places;
  std::vector<int> passEnds;  // in places

  Chunks(const Product& product, int passBlocks) {
    const int all = product.allDepthBlocks();
    DepthRange at{&product, 0, 0};
    for (int pass = 0; pass < all; pass += passBlocks) {
      const int passEnd = std::min(pass + passBlocks, all), perChunk = chunkOf(passEnd - pass, kChunkBlocks);
      for (int depth = pass; depth < passEnd;) {
        Place place;
        place.first = depth == 0;
        while (place.depthBlocks < std::min(perChunk, passEnd - depth) && place.rangeCount < kMostSegments) {
          if (at.depth == at.product->depthBlocks) at = {at.product->next, 0, 0};
          const int left = std::min(perChunk, passEnd - depth) - place.depthBlocks;
          at.depthBlocks = std::min(left, at.product->depthBlocks - at.depth);
          place.ranges[place.rangeCount++] = at;
          place.depthBlocks += at.depthBlocks;
          at.depth += at.depthBlocks;
        }
        depth += place.depthBlocks;
        places.push_back(place);
      }
      passEnds.push_back(static_cast<int>(places.size()));
    }
  }
};

Segment segmentOf(const DepthRange& range, int firstRowBlock, int panel) {
  const Product& product = *range.product;
  return {static_cast<const bf16*>(product.a) + firstRowBlock * product.aRowBlockStride + range.depth * product.aDepthBlockStride,
          product.aRowBlockStride,
          product.aDepthBlockStride,
          static_cast<const bf16*>(product.b) + panel * product.bPanelStride + range.depth * product.bDepthBlockStride,
          product.bDepthBlockStride,
          range.depthBlocks,
          range.depth + range.depthBlocks == product.depthBlocks ? product.lastPairs : kBlock / 2};
}

// Prefetches the next cache lines of both factors.
struct BothAhead {
  Ahead right, left;
  CRE_INLINE void step() {
    right.step();
    left.step();
  }
};

// The part of the depth of a left factor that is prefetched during slice `slice` of `slices`.
Ahead leftAhead(const DepthRange& range, int firstRowBlock, int rowBlocks, int slice, int slices, int steps) {
  const int begin = range.depthBlocks * slice / slices, end = range.depthBlocks * (slice + 1) / slices;
  if (begin == end) return {};
  const Product& product = *range.product;
  return Ahead::inFours(segmentOf(range, firstRowBlock, 0).a + begin * product.aDepthBlockStride, rowBlocks,
                        (end - begin) * product.aDepthBlockStride * sizeof(bf16), product.aRowBlockStride * sizeof(bf16), steps);
}

template <class FinishRows>
void multiplyItem(const Product& product, const TileCut& cut, const Chunks& chunks, int group, int nextGroup, int firstPanel, int endPanel,
                  float* sums, const FinishRows& finish, const RotatingFinish* rotating) {
  const int allRows = product.y->rowBlocks(), allPanels = product.y->columnBlocks();
  Chunk chunk;
  chunk.complete = sums;
  chunk.firstRowBlock = group * cut.rowBlocks;
  chunk.rowBlocks = std::min(cut.rowBlocks, allRows - chunk.firstRowBlock);
  const int placeCount = static_cast<int>(chunks.places.size());
  const bool onePass = chunks.passEnds.size() == 1;
  int passStart = 0;
  for (const int passEnd : chunks.passEnds) {
    for (int panel = firstPanel; panel < endPanel; panel++) {
      chunk.panel = panel;
      chunk.isHalf = product.y->columns - panel * kBlock <= kLanes;
      const int slot = rotating != nullptr && onePass ? panel % rotating->headPanels : onePass ? 0 : panel - firstPanel;
      chunk.sums = sums + (2 + static_cast<size_t>(slot) * cut.rowBlocks) * kBlockElements;
      for (int index = passStart; index < passEnd; index++) {
        const Chunks::Place& place = chunks.places[index];
        Segment segments[Chunks::kMostSegments];
        for (int i = 0; i < place.rangeCount; i++) segments[i] = segmentOf(place.ranges[i], chunk.firstRowBlock, panel);
        chunk.a = segments[0].a;
        chunk.aRowBlockStride = segments[0].aRowBlockStride;
        chunk.aDepthBlockStride = segments[0].aDepthBlockStride;
        chunk.b = segments[0].b;
        chunk.bDepthBlockStride = segments[0].bDepthBlockStride;
        chunk.ownBlocks = segments[0].depthBlocks;
        chunk.lastPairs = segments[0].lastPairs;
        chunk.more = segments + 1;
        chunk.moreCount = place.rangeCount - 1;
        chunk.depthBlocks = place.depthBlocks;
        chunk.accumulate = !place.first;
        chunk.last = index + 1 == placeCount && rotating == nullptr;
        const int steps = chunk.rowBlocks * chunk.depthBlocks;
        // Next are the rest of this panel, the next panel, the next pass.
        BothAhead ahead;
        const bool samePanel = index + 1 < passEnd, samePass = samePanel || panel + 1 < endPanel || passEnd == placeCount;
        const int nextPanel = samePanel ? panel : samePass ? panel + 1 : firstPanel;
        if (nextPanel < allPanels) {
          const DepthRange& range = chunks.places[samePanel ? index + 1 : samePass ? passStart : passEnd].ranges[0];
          ahead.right = Ahead(segmentOf(range, 0, nextPanel).b, 1, range.depthBlocks * kBlockElements * sizeof(bf16), 0, steps);
        }
        if (passEnd < placeCount) {
          const DepthRange& range = chunks.places[std::min(passEnd + index - passStart, placeCount - 1)].ranges[0];
          ahead.left = leftAhead(range, chunk.firstRowBlock, chunk.rowBlocks, panel - firstPanel, endPanel - firstPanel, steps);
        } else if (nextGroup >= 0 && index == passStart && 2 * panel >= allPanels) {
          // The second half of the panels prefetches the start of the next group.
          const int nextRow = nextGroup * cut.rowBlocks, half = (allPanels + 1) / 2;
          ahead.left = leftAhead(chunks.places[0].ranges[0], nextRow, std::min(cut.rowBlocks, allRows - nextRow), panel - half,
                                 allPanels - half, steps);
        }
        multiplyChunk(chunk, ahead, finish);
      }
      if (rotating == nullptr || passEnd < placeCount || (panel + 1) % rotating->headPanels != 0) continue;
      const size_t stride = static_cast<size_t>(cut.rowBlocks) * kBlockElements;
      const float* head = chunk.sums - (rotating->headPanels - 1) * stride;
      for (int block = 0; block < chunk.rowBlocks; block++) {
        (*rotating)(head + block * kBlockElements, stride, chunk.firstRowBlock + block, panel + 1 - rotating->headPanels);
      }
    }
    passStart = passEnd;
  }
}

// At most kFewRows rows: the right factor is read from memory once, two panels as two streams.
template <class FinishRows>
void multiplyFewRows(const Product& product, int panel, float* sums, const FinishRows& finish) {
  const bool two = panel + 1 < product.y->columnBlocks();
  sumFewRows(product, panel, two, sums);
  const int written = writtenRows(product.y->rows);
  finish(sums, 0, panel, 0, written);
  if (two) finish(sums + kBlockElements, 0, panel + 1, 0, written);
}

// `rotating`: used instead of `finish` for results that are rotated.
template <class FinishRows>
void multiplyFinishing(Pool& pool, const Product& product, const FinishRows& finish, const RotatingFinish* rotating = nullptr) {
  if (product.y->rows <= kFewRows) {
    pool.parallelFor((product.y->columnBlocks() + 1) / 2, [&](int item, int thread) {
      auto* sums = static_cast<float*>(pool.scratch(thread, 0, 2 * kBlockElements * sizeof(float)));
      multiplyFewRows(product, 2 * item, sums, finish);
    });
    return;
  }
  const int together = rotating == nullptr ? 1 : rotating->headPanels;
  const TileCut cut(product, pool.threadCount(), together);
  const Chunks chunks(product, cut.passBlocks);
  const int sumPanels = chunks.passEnds.size() == 1 ? together : cut.items.most * cut.panels;
  const size_t sumBytes = (2 + static_cast<size_t>(sumPanels) * cut.rowBlocks) * kBlockElements * sizeof(float);
  pool.parallelForGroups(
      cut.groups, cut.pieces, cut.items, pool.isAgain(product.a),
      [&](int group, int nextGroup, int first, int end, int thread) {
        auto* sums = static_cast<float*>(pool.scratch(thread, 0, sumBytes));
        multiplyItem(product, cut, chunks, group, nextGroup, first * cut.panels, std::min(end * cut.panels, product.y->columnBlocks()),
                     sums, finish, rotating);
      },
      [&](int) {
        if (product.far) finishFarStores();
      });
}

void multiplyRotating(Pool& pool, const Product& product) {
  const Rotary& rotary = *product.epilogue.rotary;
  const int pairs = rotary.rotation.pairs;
  const DistinctPositions distinct(rotary.positions, product.y->rows);
  auto* tables = static_cast<float*>(pool.sharedScratch(7, distinct.values.size() * 2 * pairs * sizeof(float)));
  fillRotaryTables(pool, distinct, rotary.rotation.frequencies, pairs, false, tables);
  const RotatingFinish rotating(product, tables, distinct.slots.data());
  multiplyFinishing(pool, product, Finish<bf16, void>(product), &rotating);
}

}  // namespace

bool rotatesInProduct(const Matrix& y, const Rotary& rotary) {
  return y.isBf16 && y.rows > kFewRows && rotary.rotation.isAligned(rotary.headWidth);
}

void multiplyBf16(Pool& pool, const Product& asked) {
  Product product = asked;
  product.far = isFar(pool, *product.y);
  if (product.epilogue.rotary != nullptr) return multiplyRotating(pool, product);
  if (product.epilogue.gated != nullptr) return multiplyFinishing(pool, product, GatedFinish<false>(product));
  if (product.epilogue.gate != nullptr) return multiplyFinishing(pool, product, GatedFinish<true>(product));
  withFinish(product, [&](const auto& finish) { multiplyFinishing(pool, product, finish); });
}

}  // namespace cre

#endif
