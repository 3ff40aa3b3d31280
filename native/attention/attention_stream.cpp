#include <algorithm>
#include <cmath>
#include <type_traits>

#include "attention/attention_plan.h"
#include "runtime/exponential.h"

// One query row over many keys, as in generation: keys and values are read once, in place, without packing. The query heads of a key/value
// head are computed together, so that each key is loaded and converted once for up to eight of them.

namespace cre::attend {
namespace {

constexpr int kMostHeads = 8;

// Softmax sums of up to eight query heads; output [heads][width].
struct HeadSums {
  int width;
  float scale;
  size_t blockStride;    // elements from a block of keys to the next one
  const float* queries;  // [heads][width]
  float* output;
  float peak[kMostHeads], total[kMostHeads];
  float slope[kMostHeads];
};

// Prefetches a row of a block, or that row of the next block of keys: the blocks of a head are too far apart for the hardware prefetcher.
template <class T>
CRE_INLINE void prefetchRow(const HeadSums& sums, const T* row) {
  for (int c = 0; c < sums.width; c += 64 / static_cast<int>(sizeof(T))) {
    __builtin_prefetch(row + static_cast<size_t>(c / kBlock) * kBlockElements + c % kBlock);
  }
}
template <class T>
CRE_INLINE void prefetchNext(const HeadSums& sums, const T* row) {
  prefetchRow(sums, row + sums.blockStride);
}

// scores[head][key] for keys first..end−1 of a block; `keys` is row 0 of the head's first block column.
template <int kHeads, class T>
CRE_INLINE void scoreBlock(const HeadSums& sums, const T* keys, const T* values, int first, int end, float (*scores)[kBlock]) {
  for (int key = first; key < end; key++) {
    prefetchNext(sums, keys + key * kBlock);
    prefetchNext(sums, values + key * kBlock);
    Floats sum[kHeads];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; h++) sum[h] = zeros();
    for (int c = 0; c < sums.width; c += kLanes) {
      const Floats value = load(keys + static_cast<size_t>(c / kBlock) * kBlockElements + key * kBlock + c % kBlock);
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; h++) sum[h] = multiplyAdd(load(sums.queries + h * sums.width + c), value, sum[h]);
    }
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; h++) scores[h][key] = sumOf(sum[h]);
  }
}

template <int kHeads, class T>
CRE_INLINE void addValues(HeadSums& sums, const T* values, int first, int end, const float (*probabilities)[kBlock]) {
  for (int c = 0; c < sums.width; c += kLanes) {
    const T* column = values + static_cast<size_t>(c / kBlock) * kBlockElements + c % kBlock;
    Floats sum[kHeads];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; h++) sum[h] = load(sums.output + h * sums.width + c);
    for (int key = first; key < end; key++) {
      const Floats value = load(column + key * kBlock);
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; h++) sum[h] = multiplyAdd(broadcast(probabilities[h][key]), value, sum[h]);
    }
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; h++) store(sums.output + h * sums.width + c, sum[h]);
  }
}

// `distance` is query position − position of key 0 of the block.
template <int kHeads, class T>
void attendBlock(HeadSums& sums, const T* keys, const T* values, int first, int end, float distance) {
  alignas(64) float scores[kHeads][kBlock];
  scoreBlock<kHeads>(sums, keys, values, first, end, scores);
  for (int h = 0; h < kHeads; h++) {
    float peak = sums.peak[h];
    for (int key = first; key < end; key++) {
      scores[h][key] = scores[h][key] * sums.scale - sums.slope[h] * std::fabs(distance - static_cast<float>(key));
      peak = std::max(peak, scores[h][key]);
    }
    if (peak > sums.peak[h]) {
      const float correction = std::exp(sums.peak[h] - peak);
      sums.peak[h] = peak;
      sums.total[h] *= correction;
      float* output = sums.output + h * sums.width;
      for (int c = 0; c < sums.width; c += kLanes) store(output + c, load(output + c) * broadcast(correction));
    }
    for (int half = 0; half < kBlock; half += kLanes) {
      const Floats p = keepLanes(exponential(load(scores[h] + half) - broadcast(peak)), first - half, end - half, zeros());
      store(scores[h] + half, p);
      sums.total[h] += sumOf(p);
    }
  }
  addValues<kHeads>(sums, values, first, end, scores);
}

template <int kHeads, class T>
void attendSpan(HeadSums& sums, const T* k, const T* v, int blocks, int column, const KeySpan& span, int position) {
  for (int key = span.start; key < span.start + span.length;) {
    const int first = key % kBlock, end = std::min(kBlock, first + span.start + span.length - key);
    const int keyZeroPosition = span.position + (key - first - span.start);
    const T *keys = rowChunk(k, blocks, key - first, column / kBlock), *values = rowChunk(v, blocks, key - first, column / kBlock);
    if (key == span.start) {
      for (const T* rows : {keys, values}) {
        for (int row = first; row < end; row++) prefetchRow(sums, rows + row * kBlock);
      }
    }
    attendBlock<kHeads>(sums, keys, values, first, end, static_cast<float>(position - keyZeroPosition));
    key += end - first;
  }
}

template <int kHeads, class T>
void attendHeads(const Forward& forward, const AttentionSegment& segment, int keyValueHead, int firstHead, float* space, const T* k,
                 const T* v) {
  const AttentionPlan& plan = forward.plan;
  const int width = plan.headWidth, blocks = forward.k.columnBlocks(), column = keyValueHead * width;
  float *queries = space, *output = space + kHeads * width;
  HeadSums sums{width, plan.scale, static_cast<size_t>(blocks) * kBlockElements, queries, output, {}, {}, {}};
  for (int h = 0; h < kHeads; h++) {
    sums.peak[h] = -1e30f;
    sums.slope[h] = plan.slopes ? plan.slopes[firstHead + h] : 0;
    withElements(forward.q, [&](auto* q) {
      for (int c = 0; c < width; c += kLanes) {
        const int at = (firstHead + h) * width + c;
        store(queries + h * width + c, load(rowChunk(q, forward.q.columnBlocks(), segment.start, at / kBlock) + at % kBlock));
      }
    });
  }
  memset(output, 0, kHeads * width * sizeof(float));
  for (int i = 0; i < segment.spanCount; i++) {
    attendSpan<kHeads>(sums, k, v, blocks, column, plan.spans[segment.firstSpan + i], segment.position);
  }
  attendSpan<kHeads>(sums, k, v, blocks, column, {segment.keyStart, 1, segment.position}, segment.position);
  for (int h = 0; h < kHeads; h++) {
    const Floats share = broadcast(1 / sums.total[h]);
    for (int c = 0; c < width; c += kLanes) store(output + h * width + c, load(output + h * width + c) * share);
    scatterHead(forward.output, segment.start, (firstHead + h) * width, width, output + h * width);
    storeLogSumExp(forward.logSumExp, segment.start, firstHead + h, sums.peak[h] + std::log(sums.total[h]));
  }
}

}  // namespace

void forwardSingleRow(Pool& pool, int thread, const Forward& forward, const JoinedSegment& joined, int keyValueHead) {
  const AttentionPlan& plan = forward.plan;
  const AttentionSegment& segment = plan.segments[joined.firstSegment];
  const int headsPerKey = plan.heads / plan.keyValueHeads, end = (keyValueHead + 1) * headsPerKey;
  auto* space = static_cast<float*>(pool.scratch(thread, 0, 2 * kMostHeads * plan.headWidth * sizeof(float)));
  withElements(forward.k, [&](auto* k) {
    auto* v = static_cast<decltype(k)>(forward.v.data);
    for (int head = end - headsPerKey; head < end; head += kMostHeads) {
      const auto attend = [&](auto heads) { attendHeads<decltype(heads)::value>(forward, segment, keyValueHead, head, space, k, v); };
      switch (std::min(kMostHeads, end - head)) {
        case 1:
          attend(std::integral_constant<int, 1>{});
          break;
        case 2:
          attend(std::integral_constant<int, 2>{});
          break;
        case 3:
          attend(std::integral_constant<int, 3>{});
          break;
        case 4:
          attend(std::integral_constant<int, 4>{});
          break;
        case 5:
          attend(std::integral_constant<int, 5>{});
          break;
        case 6:
          attend(std::integral_constant<int, 6>{});
          break;
        case 7:
          attend(std::integral_constant<int, 7>{});
          break;
        default:
          attend(std::integral_constant<int, kMostHeads>{});
      }
    }
  });
}

}  // namespace cre::attend
