#include "attention/attention_plan.h"

#include <algorithm>
#include <numeric>

#include "rows/rotary.h"

namespace cre::attend {
namespace {

bool sameContext(const AttentionPlan& plan, const AttentionSegment& a, const AttentionSegment& b) {
  if (a.spanCount != b.spanCount) return false;
  for (int i = 0; i < a.spanCount; i++) {
    const KeySpan &x = plan.spans[a.firstSpan + i], &y = plan.spans[b.firstSpan + i];
    if (x.start != y.start || x.length != y.length || x.position != y.position) return false;
  }
  return true;
}

bool isAligned(int column, int width) { return column % kLanes == 0 && width % kLanes == 0; }

template <class T>
T* headStart(T* data, int columnBlocks, int row, int column) {
  return rowChunk(data, columnBlocks, row, column / kBlock) + column % kBlock;
}

// Calls body(columns done, first element, count) for the pieces of a head's columns that are contiguous in memory.
template <class T, class Body>
void forHeadPieces(T* data, int columnBlocks, int row, int column, int width, Body&& body) {
  for (int done = 0; done < width;) {
    const int count = std::min(width - done, kBlock - (column + done) % kBlock);
    body(done, headStart(data, columnBlocks, row, column + done), count);
    done += count;
  }
}

}  // namespace

int JoinedSegment::visibleBlocks(int queryBlock, std::vector<int>& blocks) const {
  blocks.clear();
  for (int b = 0; b < contextBlocks; b++) blocks.push_back(b);
  for (int own = firstOwnBlock(queryBlock), end = endOwnBlock(queryBlock); own < end; own++) blocks.push_back(contextBlocks + own);
  return static_cast<int>(blocks.size());
}

int JoinedSegment::blockStart(const int32_t* rows, int matrixRows) {
  const int start = rows[0];
  if (start < 0 || start % kBlock != 0) return -1;
  bool follows = true;
  for (int r = 1; r < kBlock; r++) follows &= rows[r] == (start + r < matrixRows ? start + r : -1);
  return follows ? start : -1;
}

std::vector<JoinedSegment> joinSegments(const AttentionPlan& plan) {
  std::vector<JoinedSegment> joinedSegments;
  for (int s = 0; s < plan.segmentCount; s++) {
    const AttentionSegment& segment = plan.segments[s];
    if (segment.length <= 0) continue;
    // A segment that ends at a block boundary gains nothing from joining, unless both read the same context.
    const bool full = !joinedSegments.empty() && joinedSegments.back().rows % kBlock == 0 && segment.spanCount == 0;
    const bool joins = !joinedSegments.empty() && !full && joinedSegments.back().rows + segment.length <= kMostJoinedRows &&
                       joinedSegments.back().firstSegment + joinedSegments.back().segmentCount == s &&
                       sameContext(plan, plan.segments[joinedSegments.back().firstSegment], segment);
    if (!joins) {
      JoinedSegment joined;
      joined.firstSegment = s;
      for (int i = 0; i < segment.spanCount; i++) joined.contextKeys += plan.spans[segment.firstSpan + i].length;
      joinedSegments.push_back(joined);
    }
    joinedSegments.back().segmentCount++;
    joinedSegments.back().rows += segment.length;
  }
  for (JoinedSegment& joined : joinedSegments) {
    joined.contextBlocks = blocksFor(joined.contextKeys);
    joined.ownBlocks = blocksFor(joined.rows);
  }
  return joinedSegments;
}

void layOut(const AttentionPlan& plan, JoinedSegment& joined) {
  joined.keyRow.assign(joined.keyBlocks() * kBlock, -1);
  joined.keyPosition.assign(joined.keyBlocks() * kBlock, 0);
  joined.queryRow.assign(joined.ownBlocks * kBlock, -1);
  joined.queryPosition.assign(joined.ownBlocks * kBlock, 0);
  joined.keyRotation.assign(joined.keyBlocks() * kBlock, 0);
  joined.queryRotation.assign(joined.ownBlocks * kBlock, 0);
  joined.firstKey.assign(joined.ownBlocks * kBlock, 0);
  joined.endKey.assign(joined.ownBlocks * kBlock, joined.rows);
  for (std::vector<int32_t>* none : {&joined.firstRow, &joined.endRow}) none->assign(joined.ownBlocks * kBlock, 0);
  const AttentionSegment& first = plan.segments[joined.firstSegment];
  const auto relative = [&first](int64_t position) { return static_cast<float>(position - first.position); };
  int key = 0;
  for (int i = 0; i < first.spanCount; i++) {
    const KeySpan& span = plan.spans[first.firstSpan + i];
    for (int j = 0; j < span.length; j++, key++) {
      joined.keyRow[key] = span.start + j;
      joined.keyRotation[key] = span.position + j;
      joined.keyPosition[key] = relative(span.position + j);
    }
  }
  const int own = joined.contextBlocks * kBlock;
  int row = 0;
  for (int s = joined.firstSegment; s < joined.firstSegment + joined.segmentCount; s++) {
    const AttentionSegment& segment = plan.segments[s];
    const int begin = row;
    for (int j = 0; j < segment.length; j++, row++) {
      joined.keyRow[own + row] = segment.keyStart + j;
      joined.keyRotation[own + row] = joined.queryRotation[row] = segment.position + j;
      joined.keyPosition[own + row] = joined.queryPosition[row] = relative(segment.position + j);
      joined.queryRow[row] = segment.start + j;
      const bool seesAhead = j < segment.bidirectional;
      joined.firstKey[row] = begin;
      joined.endKey[row] = seesAhead ? begin + segment.bidirectional : row + 1;
      joined.firstRow[row] = seesAhead ? begin : row;
      joined.endRow[row] = begin + segment.length;
    }
  }
}

RotationTables makeRotationTables(Pool& pool, const Rotation& rotary, std::vector<JoinedSegment>& joinedSegments) {
  std::vector<int32_t> positions;
  const auto add = [&](const std::vector<int32_t>& more) { positions.insert(positions.end(), more.begin(), more.end()); };
  for (const JoinedSegment& joined : joinedSegments) {
    add(joined.keyRotation);
    add(joined.queryRotation);
  }
  const DistinctPositions distinct(positions.data(), static_cast<int>(positions.size()));
  auto slot = distinct.slots.begin();
  const auto take = [&](std::vector<int32_t>& rotations) {
    for (int32_t& rotation : rotations) rotation = *slot++;
  };
  for (JoinedSegment& joined : joinedSegments) {
    take(joined.keyRotation);
    take(joined.queryRotation);
  }
  auto* tables = static_cast<float*>(pool.sharedScratch(1, (distinct.values.size() * 2 * rotary.pairs + 1) * sizeof(float)));
  fillRotaryTables(pool, distinct, rotary.frequencies, rotary.pairs, false, tables);
  return {rotary.pairs, tables};
}

Groups findGroups(const std::vector<JoinedSegment>& joinedSegments, int keyRows) {
  const int count = static_cast<int>(joinedSegments.size());
  std::vector<int> parent(count);
  std::iota(parent.begin(), parent.end(), 0);
  const auto rootOf = [&](int joined) {
    while (parent[joined] != joined) joined = parent[joined] = parent[parent[joined]];
    return joined;
  };
  std::vector<int> segmentOfRow(keyRows, -1);
  for (int r = 0; r < count; r++) {
    for (int row : joinedSegments[r].keyRow) {
      if (row < 0) continue;
      if (segmentOfRow[row] < 0) segmentOfRow[row] = r;
      else {
        const int a = rootOf(segmentOfRow[row]), b = rootOf(r);
        parent[std::max(a, b)] = std::min(a, b);
      }
    }
  }
  Groups result;
  std::vector<int> groupOfRoot(count, -1);
  for (int r = 0; r < count; r++) {
    const int root = rootOf(r);  // the first joined segment of its group
    if (root == r) {
      groupOfRoot[r] = static_cast<int>(result.groups.size());
      result.groups.emplace_back();
    }
    result.groups[groupOfRoot[root]].joinedSegments.push_back(r);
  }
  result.slotOfRow.assign(keyRows, -1);
  for (int row = 0; row < keyRows; row++) {
    if (segmentOfRow[row] < 0) continue;
    Group& group = result.groups[groupOfRoot[rootOf(segmentOfRow[row])]];
    result.slotOfRow[row] = static_cast<int32_t>(group.keyRows.size());
    group.keyRows.push_back(row);
  }
  for (Group& group : result.groups) {
    if (group.joinedSegments.size() != 1) continue;
    const auto& rows = joinedSegments[group.joinedSegments[0]].keyRow;
    group.isPlain = std::count(rows.begin(), rows.end(), -1) + group.keyRows.size() == rows.size();
  }
  return result;
}

void gatherHead(const Matrix& matrix, const int32_t* rows, int column, int width, float* out, int stride) {
  const int blocks = matrix.columnBlocks();
  withElements(matrix, [&](auto* data) {
    for (int r = 0; r < kBlock; r++, out += stride) {
      if (rows[r] < 0) {
        memset(out, 0, width * sizeof(float));
      } else if (isAligned(column, width)) {
        for (int c = 0; c < width; c += kLanes) store(out + c, load(headStart(data, blocks, rows[r], column + c)));
      } else {
        forHeadPieces(data, blocks, rows[r], column, width, [out](int done, const auto* from, int count) {
          for (int c = 0; c < count; c++) out[done + c] = toFloat(from[c]);
        });
      }
    }
  });
}

void scatterHead(Matrix& matrix, int row, int column, int width, const float* values) {
  const int blocks = matrix.columnBlocks();
  withElements(matrix, [&](auto* data) {
    if (isAligned(column, width)) {
      for (int c = 0; c < width; c += kLanes) store(headStart(data, blocks, row, column + c), load(values + c));
    } else {
      forHeadPieces(data, blocks, row, column, width, [values](int done, auto* to, int count) {
        for (int c = 0; c < count; c++) storeOne(to + c, values[done + c]);
      });
    }
  });
}

float dotOfHeads(const Matrix& a, const Matrix& b, int row, int column, int width) {
  const int blocks = a.columnBlocks();
  float result = 0;
  withElements(a, [&](auto* x) {
    withElements(b, [&](auto* y) {
      if (isAligned(column, width)) {
        Floats sum = zeros();
        for (int c = 0; c < width; c += kLanes) {
          sum = multiplyAdd(load(headStart(x, blocks, row, column + c)), load(headStart(y, blocks, row, column + c)), sum);
        }
        result = sumOf(sum);
      } else {
        for (int c = 0; c < width; c++) {
          result += toFloat(*headStart(x, blocks, row, column + c)) * toFloat(*headStart(y, blocks, row, column + c));
        }
      }
    });
  });
  return result;
}

void zeroUncovered(Pool& pool, Matrix& matrix, const std::vector<char>& covered) {
  const int blocks = matrix.columnBlocks(), padding = paddedTo32(matrix.columns) - matrix.columns;
  pool.parallelFor(matrix.rowBlocks(), [&](int block, int) {
    withElements(matrix, [&](auto* data) {
      for (int row = block * kBlock; row < std::min((block + 1) * kBlock, writtenRows(matrix.rows)); row++) {
        if (row >= matrix.rows || !covered[row]) {
          for (int b = 0; b < blocks; b++) store(rowChunk(data, blocks, row, b), zeros(), zeros());
        } else if (padding > 0) {
          auto* last = rowChunk(data, blocks, row, blocks - 1);
          for (int c = kBlock - padding; c < kBlock; c++) last[c] = 0;
        }
      }
    });
  });
}

}  // namespace cre::attend
