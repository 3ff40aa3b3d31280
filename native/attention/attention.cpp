#include <algorithm>

#include "attention/attention_plan.h"

namespace cre {

using namespace attend;

namespace {

// Some joined segments of a group, with the key rows that these see.
struct Piece {
  Group group;
  std::vector<int32_t> slotOfRow;  // [S] as in Groups
};

// Divides a group into at most `most` pieces of consecutive joined segments with about the same number of query blocks.
void divide(const Group& group, const std::vector<JoinedSegment>& joinedSegments, int keyRows, int most, std::vector<Piece>& pieces) {
  int blocks = 0, done = 0;
  for (int index : group.joinedSegments) blocks += joinedSegments[index].ownBlocks;
  const int wanted = std::min(most, static_cast<int>(group.joinedSegments.size()));
  const size_t firstPiece = pieces.size();
  for (int index : group.joinedSegments) {
    const int own = joinedSegments[index].ownBlocks, made = static_cast<int>(pieces.size() - firstPiece);
    // At the segment whose middle is behind the end of this share.
    if (made == 0 || 2 * done + own >= 2 * made * blocks / wanted) pieces.emplace_back();
    pieces.back().group.joinedSegments.push_back(index);
    done += own;
  }
  for (size_t p = firstPiece; p < pieces.size(); p++) {
    Piece& piece = pieces[p];
    piece.slotOfRow.assign(keyRows, -1);
    for (int index : piece.group.joinedSegments) {
      for (int row : joinedSegments[index].keyRow) {
        if (row >= 0) piece.slotOfRow[row] = 0;
      }
    }
    for (int row = 0; row < keyRows; row++) {
      if (piece.slotOfRow[row] < 0) continue;
      piece.slotOfRow[row] = static_cast<int32_t>(piece.group.keyRows.size());
      piece.group.keyRows.push_back(row);
    }
  }
}

// Adds up the partial sums of a key/value head in a fixed order and writes the rows of dk and dv.
void addParts(const Backward& backward, const Group& group, const GroupPart* parts, const std::vector<int32_t>* const* slots, int count) {
  const int width = backward.plan.headWidth;
  const size_t stride = headStride(width);
  std::vector<float> total(stride);
  for (const int32_t row : group.keyRows) {
    for (Matrix* matrix : {&backward.dk, &backward.dv}) {
      std::fill(total.begin(), total.end(), 0.0f);
      for (int part = 0; part < count; part++) {
        const int32_t slot = (*slots[part])[row];
        if (slot < 0) continue;
        const size_t matrixFloats = matrix == &backward.dv ? parts[part].group->keyRows.size() * stride : 0;
        const float* sums = parts[part].sums + matrixFloats + slot * stride;
        for (size_t c = 0; c < stride; c += kLanes) store(total.data() + c, load(total.data() + c) + load(sums + c));
      }
      scatterHead(*matrix, row, parts[0].keyValueHead * width, width, total.data());
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

  // When groups and key/value heads alone give too few work items, the joined segments of a group are divided (not on tiles, whose sums stay in
  // the cache of one core), then the query heads of a key/value head. The plan decides this, not the number of threads, because the order
  // of sums must not depend on the number of threads.
  constexpr int kWantedItems = 16, kWantedPieces = 64;
  const int headsPerKey = plan.heads / plan.keyValueHeads, pairs = static_cast<int>(groups.groups.size()) * plan.keyValueHeads;
  const int wantedParts = pairs == 0 ? 1 : std::clamp((kWantedItems + pairs - 1) / pairs, 1, headsPerKey);
  const int headsPerPart = (headsPerKey + wantedParts - 1) / wantedParts, parts = (headsPerKey + headsPerPart - 1) / headsPerPart;
  const int mostPieces = tiles || pairs == 0 ? 1 : std::max(1, kWantedPieces / (pairs * parts));
  std::vector<Piece> pieces;
  std::vector<size_t> endPiece;  // of each group
  for (const Group& group : groups.groups) {
    if (mostPieces > 1 && group.joinedSegments.size() > 1) divide(group, joinedSegments, k.rows, mostPieces, pieces);
    endPiece.push_back(pieces.size());
  }
  // The items of a key/value head of a group follow each other.
  std::vector<GroupPart> items;
  std::vector<const std::vector<int32_t>*> slots;
  std::vector<int> firstItem;
  size_t sumFloats = 0;
  for (size_t g = 0; g < groups.groups.size(); g++) {
    const size_t firstPiece = g == 0 ? 0 : endPiece[g - 1], count = endPiece[g] - firstPiece;
    for (int head = 0; head < plan.keyValueHeads; head++) {
      firstItem.push_back(static_cast<int>(items.size()));
      for (size_t piece = 0; piece < std::max<size_t>(1, count); piece++) {
        const Group& own = count == 0 ? groups.groups[g] : pieces[firstPiece + piece].group;
        for (int part = 0; part < parts; part++) {
          const int first = head * headsPerKey + part * headsPerPart;
          items.push_back({&own, head, first, std::min((head + 1) * headsPerKey, first + headsPerPart), nullptr});
          slots.push_back(count == 0 ? &groups.slotOfRow : &pieces[firstPiece + piece].slotOfRow);
        }
      }
    }
  }
  firstItem.push_back(static_cast<int>(items.size()));
  const auto isDivided = [&](int pair) { return firstItem[pair + 1] - firstItem[pair] > 1; };
  for (int pair = 0; pair < pairs; pair++) {
    if (!isDivided(pair)) continue;
    for (int i = firstItem[pair]; i < firstItem[pair + 1]; i++) sumFloats += 2 * items[i].group->keyRows.size() * headStride(plan.headWidth);
  }
  if (sumFloats > 0) {
    auto* sums = static_cast<float*>(pool.sharedScratch(0, sumFloats * sizeof(float)));
    for (int pair = 0; pair < pairs; pair++) {
      for (int i = firstItem[pair]; isDivided(pair) && i < firstItem[pair + 1]; i++) {
        items[i].sums = sums;
        sums += 2 * items[i].group->keyRows.size() * headStride(plan.headWidth);
      }
    }
  }
  const int count = static_cast<int>(items.size());
  pool.parallelFor(count, [&](int item, int thread) {
    if (tiles)
      backwardTiles(pool, thread, backward, joinedSegments, groups.slotOfRow, items[item], item + 1 < count ? &items[item + 1] : nullptr);
    else backwardFloat(pool, thread, backward, joinedSegments, *slots[item], items[item]);
  });
  if (sumFloats > 0) {
    pool.parallelFor(pairs, [&](int pair, int) {
      if (!isDivided(pair)) return;
      const int first = firstItem[pair];
      addParts(backward, groups.groups[pair / plan.keyValueHeads], &items[first], &slots[first], firstItem[pair + 1] - first);
    });
  }
  if (plan.rotary.pairs > 0 && !rotatesInTiles) rotateBack(pool, plan, dq, dk);
}

}  // namespace cre
