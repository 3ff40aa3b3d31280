#include <algorithm>

#include "attention_plan.h"

namespace cre {

using namespace attend;

void attention(Pool& pool, const Matrix& q, const Matrix& k, const Matrix& v, const AttentionPlan& plan, Matrix& output,
               Matrix& logSumExp) {
  constexpr int kBlocksPerPart = 8;  // a long run is shared out: packing its keys again costs little beside 8 blocks of queries
  const bool tiles = tilesFit(q, k, v, plan.headWidth);
  const bool wholeBlocks = plan.headWidth % kBlock == 0 && k.isBf16 == v.isBf16;
  const auto streams = [&](const Run& run) { return wholeBlocks && run.isSingleRow(); };
  std::vector<Run> runs = findRuns(plan);
  std::vector<char> covered(q.rows, 0);
  std::vector<RunPart> parts;
  for (Run& run : runs) {
    for (int s = run.firstSegment; s < run.firstSegment + run.segmentCount; s++) {
      std::fill_n(covered.begin() + plan.segments[s].start, plan.segments[s].length, 1);
    }
    if (!streams(run)) layOut(plan, run);
    for (int head = 0; head < plan.keyValueHeads; head++) {
      for (int first = 0; first < run.ownBlocks; first += kBlocksPerPart) {
        parts.push_back({&run, head, first, std::min(run.ownBlocks, first + kBlocksPerPart)});
      }
    }
  }
  zeroUncovered(pool, output, covered);
  zeroUncovered(pool, logSumExp, covered);
  const Forward forward{q, k, v, plan, output, logSumExp};
  pool.parallelFor(static_cast<int>(parts.size()), [&](int item, int thread) {
    const RunPart& part = parts[item];
    if (streams(*part.run)) forwardSingleRow(pool, thread, forward, *part.run, part.keyValueHead);
    else if (tiles) forwardTiles(pool, thread, forward, part);
    else forwardFloat(pool, thread, forward, part);
  });
}

void attentionBackward(Pool& pool, const Matrix& q, const Matrix& k, const Matrix& v, const Matrix& output, const Matrix& logSumExp,
                       const Matrix& dOutput, const AttentionPlan& plan, Matrix& dq, Matrix& dk, Matrix& dv) {
  const bool tiles = tilesFit(q, k, v, plan.headWidth);
  std::vector<Run> runs = findRuns(plan);
  std::vector<char> queriesCovered(q.rows, 0), keysCovered(k.rows, 0);
  for (Run& run : runs) {
    layOut(plan, run);
    for (int row : run.queryRow) {
      if (row >= 0) queriesCovered[row] = 1;
    }
  }
  const Groups groups = findGroups(runs, k.rows);
  for (int row = 0; row < k.rows; row++) keysCovered[row] = groups.slotOfRow[row] >= 0;
  zeroUncovered(pool, dq, queriesCovered);
  zeroUncovered(pool, dk, keysCovered);
  zeroUncovered(pool, dv, keysCovered);
  const Backward backward{q, k, v, output, logSumExp, dOutput, plan, dq, dk, dv};
  pool.parallelFor(static_cast<int>(groups.groups.size()) * plan.keyValueHeads, [&](int item, int thread) {
    const Group& group = groups.groups[item / plan.keyValueHeads];
    const int head = item % plan.keyValueHeads;
    if (tiles) backwardTiles(pool, thread, backward, runs, group, groups.slotOfRow, head);
    else backwardFloat(pool, thread, backward, runs, group, groups.slotOfRow, head);
  });
}

}  // namespace cre
