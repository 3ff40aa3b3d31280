// Forward and backward pass over a joined segment in float, after Dao et al. 2022 (FlashAttention): running maximum and sum in the forward
// pass, probabilities recomputed from logSumExp in the backward pass. An engine owns the packed keys and queries and multiplies 32 x 32
// blocks; masks, softmax and its gradient are here.
#pragma once
#include <cmath>
#include <limits>

#include "attention/attention_plan.h"
#include "runtime/exponential.h"

namespace cre::attend {

constexpr int kChunkBlocks = 8;  // key blocks between two corrections of the running maximum
constexpr float kLowestScore = -1e30f;

struct RowState {
  float peak = kLowestScore, total = 0;
};

// Turns scores of one row in a chunk into probabilities relative to its running maximum; returns the correction of the previous sums.
template <class Engine>
CRE_INLINE float softmaxRow(Engine& engine, const JoinedSegment& joined, const int* blocks, int count, int row, float scale, float slope,
                            float* scores, RowState& state) {
  const int r = row % kBlock;
  const Floats factor = broadcast(scale);
  Floats peaks = broadcast(state.peak);
  for (int j = 0; j < count; j++) {
    float* s = scores + j * kBlockElements + r * kBlock;
    Floats low = load(s) * factor, high = load(s + kLanes) * factor;
    if (slope != 0) {
      const float* positions = joined.keyPosition.data() + blocks[j] * kBlock;
      const Floats here = broadcast(joined.queryPosition[row]), minus = broadcast(-slope);
      low = multiplyAdd(absolute(here - load(positions)), minus, low);
      high = multiplyAdd(absolute(here - load(positions + kLanes)), minus, high);
    }
    const LaneRange seen = keysSeen(joined, blocks[j], row);
    if (!seen.isWhole()) seen.keep(low, high, -std::numeric_limits<float>::infinity());
    store(s, low, high);
    peaks = maximum(maximum(low, high), peaks);
  }
  const float peak = largestOf(peaks);
  const Floats shift = broadcast(peak);
  Floats sum = zeros();
  for (int j = 0; j < count; j++) {
    const float* s = scores + j * kBlockElements + r * kBlock;
    const Floats low = exponential(load(s) - shift), high = exponential(load(s + kLanes) - shift);
    sum = sum + (low + high);
    engine.keep(j, r, low, high);
  }
  const float correction = peak == state.peak ? 1 : std::exp(state.peak - peak);
  state.total = state.total * correction + sumOf(sum);
  state.peak = peak;
  return correction;
}

template <class Engine>
void forwardPart(Pool& pool, int thread, const Forward& forward, const SegmentPart& part) {
  const AttentionPlan& plan = forward.plan;
  const JoinedSegment& joined = *part.joined;
  const int headsPerKey = plan.heads / plan.keyValueHeads, keyColumn = part.keyValueHead * plan.headWidth;
  const int blocksNeeded = joined.contextBlocks + joined.endOwnBlock(part.endBlock - 1);
  Carver measure;
  Engine::measure(measure, plan.headWidth, blocksNeeded);
  const size_t stride = headStride(plan.headWidth);
  Carver carver(pool.scratch(thread, 0, measure.used() + (kChunkBlocks * kBlockElements + kBlock * stride) * sizeof(float)));
  Engine engine(carver, plan.headWidth, blocksNeeded);
  float* scores = carver.take<float>(kChunkBlocks * kBlockElements);
  float* sums = carver.take<float>(kBlock * stride);

  const int firstOwn = joined.contextBlocks + joined.firstOwnBlock(part.firstBlock);
  for (int b = 0; b < blocksNeeded; b++) {
    if (b == joined.contextBlocks) b = firstOwn;
    engine.packKeys(b, forward.k, forward.v, joined.keyRow.data() + b * kBlock, keyColumn);
  }
  std::vector<int> blocks;
  for (int queryBlock = part.firstBlock; queryBlock < part.endBlock; queryBlock++) {
    const int first = queryBlock * kBlock, rows = joined.rows - first < kBlock ? joined.rows - first : kBlock;
    const int visible = joined.visibleBlocks(queryBlock, blocks);
    for (int head = part.keyValueHead * headsPerKey; head < (part.keyValueHead + 1) * headsPerKey; head++) {
      engine.packQueries(forward.q, joined.queryRow.data() + first, head * plan.headWidth);
      memset(sums, 0, kBlock * stride * sizeof(float));
      RowState states[kBlock];
      const float slope = plan.slopes ? plan.slopes[head] : 0;
      for (int begin = 0; begin < visible; begin += kChunkBlocks) {
        const int count = visible - begin < kChunkBlocks ? visible - begin : kChunkBlocks;
        for (int j = 0; j < count; j++) engine.scores(blocks[begin + j], rows, scores + j * kBlockElements);
        for (int r = 0; r < rows; r++) {
          const float correction =
              softmaxRow(engine, joined, blocks.data() + begin, count, first + r, plan.scale, slope, scores, states[r]);
          if (correction == 1 || begin == 0) continue;
          float* sum = sums + r * stride;
          for (size_t c = 0; c < stride; c += kLanes) store(sum + c, load(sum + c) * broadcast(correction));
        }
        engine.addOutput(blocks.data() + begin, count, rows, sums);
      }
      for (int r = 0; r < rows; r++) {
        float* sum = sums + r * stride;
        const Floats share = broadcast(1 / states[r].total);
        for (size_t c = 0; c < stride; c += kLanes) store(sum + c, load(sum + c) * share);
        const int row = joined.queryRow[first + r];
        scatterHead(forward.output, row, head * plan.headWidth, plan.headWidth, sum);
        storeLogSumExp(forward.logSumExp, row, head, states[r].peak + std::log(states[r].total));
      }
    }
  }
}

// Row values of a query block for the softmax gradient; rows that do not exist get probability 0.
struct QueryRows {
  float logSumExp[kBlock], delta[kBlock], position[kBlock];

  QueryRows(const Backward& backward, const JoinedSegment& joined, int first, int head) {
    const int width = backward.plan.headWidth;
    for (int r = 0; r < kBlock; r++) {
      const int row = joined.queryRow[first + r];
      logSumExp[r] = row < 0 ? std::numeric_limits<float>::infinity() : logSumExpAt(backward.logSumExp, row, head);
      delta[r] = row < 0 ? 0 : dotOfHeads(backward.dOutput, backward.output, row, head * width, width);
      position[r] = joined.queryPosition[first + r];
    }
  }
};

// Probabilities and score gradients of a key block from the products q·k and dOutput·v; keys are rows, queries are lanes.
template <class Engine>
CRE_INLINE void softmaxGradient(Engine& engine, const JoinedSegment& joined, int block, int queryBlock, const QueryRows& rows, float scale,
                                float slope, const float* scores, const float* products) {
  const Floats factor = broadcast(scale), minus = broadcast(-slope);
  const float* positions = joined.keyPosition.data() + block * kBlock;
  for (int key = 0; key < kBlock; key += 2) {
    Floats probability[2][2], gradient[2][2];
    for (int odd = 0; odd < 2; odd++) {
      const LaneRange seen = rowsSeeing(joined, block, key + odd, queryBlock);
      if (seen.isEmpty()) {
        for (int half = 0; half < 2; half++) probability[odd][half] = gradient[odd][half] = zeros();
        continue;
      }
      const float *s = scores + (key + odd) * kBlock, *product = products + (key + odd) * kBlock;
      for (int half = 0; half < 2; half++) {
        const int lane = half * kLanes;
        Floats exponent = load(s + lane) * factor - load(rows.logSumExp + lane);
        if (slope != 0) exponent = multiplyAdd(absolute(load(rows.position + lane) - broadcast(positions[key + odd])), minus, exponent);
        probability[odd][half] = exponential(exponent);
      }
      if (!seen.isWhole()) seen.keep(probability[odd][0], probability[odd][1], 0);
      for (int half = 0; half < 2; half++) {
        const int lane = half * kLanes;
        gradient[odd][half] = probability[odd][half] * (load(product + lane) - load(rows.delta + lane)) * factor;
      }
    }
    engine.keep(key, probability, gradient);
  }
}

template <class Engine>
void backwardSegment(const Backward& backward, const JoinedSegment& joined, const GroupPart& part, Engine& engine, float* scores,
                     float* products) {
  const AttentionPlan& plan = backward.plan;
  const int width = plan.headWidth;
  for (int b = 0; b < joined.keyBlocks(); b++) {
    engine.packKeys(b, backward.k, backward.v, joined.keyRow.data() + b * kBlock, part.keyValueHead * width);
  }
  std::vector<int> blocks;
  for (int queryBlock = 0; queryBlock < joined.ownBlocks; queryBlock++) {
    const int first = queryBlock * kBlock;
    joined.visibleBlocks(queryBlock, blocks);
    for (int head = part.firstHead; head < part.endHead; head++) {
      const QueryRows rows(backward, joined, first, head);
      engine.packQueries(backward.q, backward.dOutput, joined.queryRow.data() + first, head * width);
      for (int block : blocks) {
        engine.scores(block, scores, products);
        softmaxGradient(engine, joined, block, queryBlock, rows, plan.scale, plan.slopes ? plan.slopes[head] : 0, scores, products);
        engine.accumulate(block);
      }
      const float* dq = engine.queryGradient();
      for (int r = 0; r < kBlock && first + r < joined.rows; r++) {
        scatterHead(backward.dq, joined.queryRow[first + r], head * width, width, dq + r * headStride(width));
      }
    }
  }
}

template <class Engine>
void backwardGroup(Pool& pool, int thread, const Backward& backward, const std::vector<JoinedSegment>& joinedSegments,
                   const std::vector<int32_t>& slotOfRow, const GroupPart& part) {
  const Group& group = *part.group;
  const int width = backward.plan.headWidth;
  const size_t stride = headStride(width), sumFloats = group.keyRows.size() * stride;
  int mostBlocks = 0;
  for (int joined : group.joinedSegments)
    mostBlocks = joinedSegments[joined].keyBlocks() > mostBlocks ? joinedSegments[joined].keyBlocks() : mostBlocks;
  Carver measure;
  Engine::measure(measure, width, mostBlocks);
  Carver carver(pool.scratch(thread, 0, measure.used() + (2 * kBlockElements + 2 * sumFloats) * sizeof(float)));
  Engine engine(carver, width, mostBlocks);
  float *scores = carver.take<float>(kBlockElements), *products = carver.take<float>(kBlockElements);
  float* dkSums = part.sums ? part.sums : carver.take<float>(2 * sumFloats);
  float* dvSums = dkSums + sumFloats;
  memset(dkSums, 0, 2 * sumFloats * sizeof(float));

  for (int index : group.joinedSegments) {
    const JoinedSegment& joined = joinedSegments[index];
    engine.startSegment(joined.keyBlocks());
    backwardSegment(backward, joined, part, engine, scores, products);
    for (int b = 0; b < joined.keyBlocks(); b++) {
      const float *dk = engine.keyGradient(b), *dv = engine.valueGradient(b);
      for (int key = 0; key < kBlock; key++) {
        const int row = joined.keyRow[b * kBlock + key];
        if (row < 0) continue;
        float *dkSum = dkSums + slotOfRow[row] * stride, *dvSum = dvSums + slotOfRow[row] * stride;
        for (size_t c = 0; c < stride; c += kLanes) {
          store(dkSum + c, load(dkSum + c) + load(dk + key * stride + c));
          store(dvSum + c, load(dvSum + c) + load(dv + key * stride + c));
        }
      }
    }
  }
  if (part.sums) return;
  for (size_t slot = 0; slot < group.keyRows.size(); slot++) {
    scatterHead(backward.dk, group.keyRows[slot], part.keyValueHead * width, width, dkSums + slot * stride);
    scatterHead(backward.dv, group.keyRows[slot], part.keyValueHead * width, width, dvSums + slot * stride);
  }
}

}  // namespace cre::attend
