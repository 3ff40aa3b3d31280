#include <algorithm>

#include "attention/attention_plan.h"

namespace cre {

using namespace attend;

namespace {

// Adds up the partial sums of a key/value head in a fixed order and writes the rows of dk and dv.
void addParts(const Backward& backward, const Group& group, int keyValueHead, const float* sums, int parts) {
  const int width = backward.plan.headWidth;
  const size_t stride = headStride(width), matrixFloats = group.keyRows.size() * stride;
  std::vector<float> total(stride);
  for (size_t slot = 0; slot < group.keyRows.size(); slot++) {
    for (Matrix* matrix : {&backward.dk, &backward.dv}) {
      const float* first = sums + (matrix == &backward.dv ? matrixFloats : 0) + slot * stride;
      for (size_t c = 0; c < stride; c += kLanes) {
        Floats sum = load(first + c);
        for (int part = 1; part < parts; part++) sum = sum + load(first + part * 2 * matrixFloats + c);
        store(total.data() + c, sum);
      }
      scatterHead(*matrix, group.keyRows[slot], keyValueHead * width, width, total.data());
    }
  }
}

// Applies the inverse rotation to the gradients of queries and keys, in place.
void rotateBack(Pool& pool, const AttentionPlan& plan, Matrix& dq, Matrix& dk) {
  const Rotation& by = plan.rotary;
  std::vector<int32_t> queryPositions(dq.rows, 0), keyPositions(dk.rows, 0);
  for (int s = 0; s < plan.segmentCount; s++) {
    const AttentionSegment& segment = plan.segments[s];
    for (int i = 0; i < segment.length; i++) {
      queryPositions[segment.start + i] = keyPositions[segment.keyStart + i] = segment.position + i;
    }
    for (int i = segment.firstSpan; i < segment.firstSpan + segment.spanCount; i++) {
      const KeySpan& span = plan.spans[i];
      for (int j = 0; j < span.length; j++) keyPositions[span.start + j] = span.position + j;
    }
  }
  const Rotary queries{queryPositions.data(), plan.heads, plan.headWidth, by},
      keys{keyPositions.data(), plan.keyValueHeads, plan.headWidth, by};
  rotary(pool, dq, queries, true, dq);
  rotary(pool, dk, keys, true, dk);
}

}  // namespace

void attention(Pool& pool, const Matrix& q, const Matrix& k, const Matrix& v, const AttentionPlan& plan, Matrix& output,
               Matrix& logSumExp) {
  for (const Matrix* matrix : {&k, &v}) clearPaddingRows(*matrix);
  constexpr int kBlocksPerPart = 8;  // long joined segments are divided: packing their keys again costs little next to 8 blocks of queries
  const bool tiles = tilesFit(q, k, v, plan.headWidth);
  const bool wholeBlocks = plan.headWidth % kBlock == 0 && k.isBf16 == v.isBf16;
  const auto streams = [&](const JoinedSegment& joined) { return wholeBlocks && joined.isSingleRow(); };
  std::vector<JoinedSegment> joinedSegments = joinSegments(plan);
  std::vector<char> covered(q.rows, 0);
  std::vector<SegmentPart> parts;
  for (JoinedSegment& joined : joinedSegments) {
    for (int s = joined.firstSegment; s < joined.firstSegment + joined.segmentCount; s++) {
      std::fill_n(covered.begin() + plan.segments[s].start, plan.segments[s].length, 1);
    }
    if (!streams(joined)) layOut(plan, joined);
    for (int head = 0; head < plan.keyValueHeads; head++) {
      for (int first = 0; first < joined.ownBlocks; first += kBlocksPerPart) {
        parts.push_back({&joined, head, first, std::min(joined.ownBlocks, first + kBlocksPerPart)});
      }
    }
  }
  zeroUncovered(pool, output, covered);
  zeroUncovered(pool, logSumExp, covered);
  const Forward forward{q, k, v, plan, output, logSumExp, isFar(pool, output)};
  const int count = static_cast<int>(parts.size());
  pool.parallelFor(count, [&](int item, int thread) {
    const SegmentPart& part = parts[item];
    if (streams(*part.joined)) forwardSingleRow(pool, thread, forward, *part.joined, part.keyValueHead);
    else if (tiles) forwardTiles(pool, thread, forward, part, item + 1 < count ? &parts[item + 1] : nullptr);
    else forwardFloat(pool, thread, forward, part);
  });
}

void attentionBackward(Pool& pool, const Matrix& q, const Matrix& k, const Matrix& v, const Matrix& output, const Matrix& logSumExp,
                       const Matrix& dOutput, const AttentionPlan& plan, Matrix& dq, Matrix& dk, Matrix& dv) {
  for (const Matrix* matrix : {&q, &k, &v, &output, &logSumExp, &dOutput}) clearPaddingRows(*matrix);
  std::vector<JoinedSegment> joinedSegments = joinSegments(plan);
  std::vector<char> queriesCovered(q.rows, 0), keysCovered(k.rows, 0);
  for (JoinedSegment& joined : joinedSegments) {
    layOut(plan, joined);
    for (int row : joined.queryRow) {
      if (row >= 0) queriesCovered[row] = 1;
    }
  }
  const Groups groups = findGroups(joinedSegments, k.rows);
  for (int row = 0; row < k.rows; row++) keysCovered[row] = groups.slotOfRow[row] >= 0;
  zeroUncovered(pool, dq, queriesCovered);
  zeroUncovered(pool, dk, keysCovered);
  zeroUncovered(pool, dv, keysCovered);
  Backward backward{q, k, v, output, logSumExp, dOutput, plan, dq, dk, dv, isFar(pool, dq), {}};
  const bool tiles = gradientTilesFit(backward);
  const bool rotatesInTiles = tiles && plan.rotary.isAligned(plan.headWidth);
  if (rotatesInTiles) backward.rotation = makeRotationTables(pool, plan.rotary, joinedSegments);

  // When groups and key/value heads alone give too few work items, the query heads of a key/value head are divided too. The plan decides
  // this, not the number of threads, because the order of sums must not depend on the number of threads.
  constexpr int kWantedItems = 16;
  const int headsPerKey = plan.heads / plan.keyValueHeads, pairs = static_cast<int>(groups.groups.size()) * plan.keyValueHeads;
  const int wantedParts = pairs == 0 ? 1 : std::clamp((kWantedItems + pairs - 1) / pairs, 1, headsPerKey);
  const int headsPerPart = (headsPerKey + wantedParts - 1) / wantedParts, parts = (headsPerKey + headsPerPart - 1) / headsPerPart;
  std::vector<GroupPart> items;
  size_t sumFloats = 0;
  for (const Group& group : groups.groups) {
    for (int head = 0; head < plan.keyValueHeads; head++) {
      for (int part = 0; part < parts; part++) {
        const int first = head * headsPerKey + part * headsPerPart;
        items.push_back({&group, head, first, std::min((head + 1) * headsPerKey, first + headsPerPart), nullptr});
        sumFloats += 2 * group.keyRows.size() * headStride(plan.headWidth);
      }
    }
  }
  if (parts > 1) {
    auto* sums = static_cast<float*>(pool.sharedScratch(0, sumFloats * sizeof(float)));
    for (GroupPart& item : items) {
      item.sums = sums;
      sums += 2 * item.group->keyRows.size() * headStride(plan.headWidth);
    }
  }
  const int count = static_cast<int>(items.size());
  pool.parallelFor(count, [&](int item, int thread) {
    if (tiles)
      backwardTiles(pool, thread, backward, joinedSegments, groups.slotOfRow, items[item], item + 1 < count ? &items[item + 1] : nullptr);
    else backwardFloat(pool, thread, backward, joinedSegments, groups.slotOfRow, items[item]);
  });
  if (parts > 1) {
    pool.parallelFor(pairs, [&](int pair, int) {
      const GroupPart& first = items[pair * parts];
      addParts(backward, *first.group, first.keyValueHead, first.sums, parts);
    });
  }
  if (plan.rotary.pairs > 0 && !rotatesInTiles) rotateBack(pool, plan, dq, dk);
}

}  // namespace cre
