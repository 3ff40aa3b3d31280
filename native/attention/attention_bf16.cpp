#include <algorithm>
#include <limits>

#include "attention/attention_tiles.h"
#include "runtime/exponential.h"

// Attention forward in bf16, after Dao et al. 2022 (FlashAttention). A query block is multiplied with up to kChunkBlocks key blocks at
// a time. If that covers all keys (sequences of up to 256 rows), no correction is needed and the output sums stay in the first-level cache.

namespace cre::attend {

#ifdef __AVX512BF16__
namespace {

constexpr int kChunkBlocks = 8;
constexpr float kLowestScore = -1e30f;

struct Rows {
  alignas(64) float peak[kBlock], total[kBlock], factor[kBlock];  // factor: correction of the previous sums
};

class TileForward {
 public:
  TileForward(const Forward& forward, const SegmentPart& part, const SegmentPart* next)
      : forward_(forward), joined_(*part.joined), part_(part), parts_(forward.plan.headWidth / kBlock) {
    if (next == nullptr) return;
    const int width = forward.plan.headWidth, headsPerKey = forward.plan.heads / forward.plan.keyValueHeads;
    const int column = next->keyValueHead * width;
    for (const Matrix* x : {&forward.k, &forward.v}) ahead_.add(*x, next->joined->keyRow, column, width);
    ahead_.add(forward.q, next->joined->queryRow, column * headsPerKey, width * headsPerKey);
  }

  size_t carve(Carver carver) {
    const size_t head = static_cast<size_t>(parts_) * kBlockElements;
    const int blocks = endKeyBlock();
    keys_ = carver.take<bf16>(blocks * head);
    values_ = carver.take<bf16>(blocks * head);
    queries_ = carver.take<bf16>(head);
    probabilities_ = carver.take<bf16>(kChunkBlocks * kBlockElements);
    scores_ = carver.take<float>(kChunkBlocks * kBlockElements);
    sums_ = carver.take<float>(head);
    return carver.used();
  }

  void compute() {
    const AttentionPlan& plan = forward_.plan;
    const int headsPerKey = plan.heads / plan.keyValueHeads;
    packKeys();
    for (int queryBlock = part_.firstBlock; queryBlock < part_.endBlock; queryBlock++) {
      for (int head = part_.keyValueHead * headsPerKey; head < (part_.keyValueHead + 1) * headsPerKey; head++) {
        attend(queryBlock, head);
      }
    }
  }

 private:
  bf16* at(bf16* packed, int block, int part) const { return packed + (static_cast<size_t>(block) * parts_ + part) * kBlockElements; }

  // Skips own key blocks that no query block of this part sees.
  int firstOwnBlock() const { return joined_.contextBlocks + joined_.firstOwnBlock(part_.firstBlock); }
  int endKeyBlock() const { return joined_.contextBlocks + joined_.endOwnBlock(part_.endBlock - 1); }

  void packKeys() {
    const int column = part_.keyValueHead * forward_.plan.headWidth;
    for (int b = 0, end = endKeyBlock(); b < end; b++) {
      if (b == joined_.contextBlocks) b = firstOwnBlock();
      const int32_t* rows = joined_.keyRow.data() + b * kBlock;
      const int start = joined_.blockStart(rows, forward_.k.rows);
      const bf16* k = headBlocks(forward_.k, start, rows, column, parts_, queries_);
      for (int part = 0; part < parts_; part++) packAcross(k + part * kBlockElements, at(keys_, b, part));
      const bf16* v = headBlocks(forward_.v, start, rows, column, parts_, queries_);
      for (int part = 0; part < parts_; part++) interleaveRows(v + part * kBlockElements, at(values_, b, part));
    }
  }

  void attend(int queryBlock, int head) {
    const AttentionPlan& plan = forward_.plan;
    const int first = queryBlock * kBlock, rowCount = std::min(kBlock, joined_.rows - first);
    const int32_t* queryRows = joined_.queryRow.data() + first;
    const int start = joined_.blockStart(queryRows, forward_.q.rows), column = head * plan.headWidth;
    const bf16* q = headBlocks(forward_.q, start, queryRows, column, parts_, queries_);
    const float slope = plan.slopes ? plan.slopes[head] : 0;
    // The scale is applied in the exponent; scores that also need a bias or a mask are prepared first.
    const bool prepared = slope != 0 || !(plan.scale > 0);
    const float toExponent = prepared ? kLog2E : plan.scale * kLog2E;
    const int firstOwn = joined_.contextBlocks + joined_.firstOwnBlock(queryBlock);
    const int count = joined_.contextBlocks + joined_.endOwnBlock(queryBlock) - joined_.firstOwnBlock(queryBlock);
    const auto blockOf = [&](int i) { return i < joined_.contextBlocks ? i : firstOwn + i - joined_.contextBlocks; };
    Rows rows;
    for (int begin = 0; begin < count; begin += kChunkBlocks) {
      const int end = std::min(count, begin + kChunkBlocks);
      for (int i = begin; i < end; i++) {
        multiplyHeads(q, at(keys_, blockOf(i), 0), parts_, scores_ + (i - begin) * kBlockElements);
      }
      for (int i = begin; i < end; i++) prepare(blockOf(i), queryBlock, slope, prepared, scores_ + (i - begin) * kBlockElements);
      const bool fresh = begin == 0;
      for (int half = 0; half < kBlock; half += 16) softmax(end - begin, half, toExponent, fresh, rows);
      for (int part = 0; part < parts_; part++) {
        float* sums = sums_ + part * kBlockElements;
        if (!fresh) correct(rows.factor, sums);
        BlockPair pairs[kChunkBlocks];
        for (int i = begin; i < end; i++) pairs[i - begin] = {probabilities_ + (i - begin) * kBlockElements, at(values_, blockOf(i), part)};
        addProducts(pairs, end - begin, fresh, sums, [] {});
      }
    }
    finish(queryRows, rowCount, head, prepared ? 1 : plan.scale, rows);
  }

  // Applies scale and bias unless the exponent does it; −∞ for keys that a row does not see.
  void prepare(int block, int queryBlock, float slope, bool prepared, float* scores) const {
    const int first = queryBlock * kBlock;
    const bool whole = keysSeen(block, first).isWhole() && keysSeen(block, std::min(first + kBlock, joined_.rows) - 1).isWhole();
    if (whole && !prepared) return;
    const __m512 factor = _mm512_set1_ps(prepared ? forward_.plan.scale : 1), minus = _mm512_set1_ps(-slope);
    const __m512 unseen = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    const float* positions = joined_.keyPosition.data() + block * kBlock;
    for (int r = 0; r < kBlock; r++) {
      const LaneRange seen = keysSeen(block, first + r);
      const uint32_t mask = laneMask(seen.first, seen.end);
      const __m512 here = _mm512_set1_ps(joined_.queryPosition[first + r]);
#pragma GCC unroll 2
      for (int half = 0; half < 2; half++) {
        float* s = scores + r * kBlock + half * 16;
        __m512 score = _mm512_mul_ps(_mm512_load_ps(s), factor);
        if (prepared) score = _mm512_fmadd_ps(_mm512_abs_ps(_mm512_sub_ps(here, _mm512_loadu_ps(positions + half * 16))), minus, score);
        _mm512_store_ps(s, _mm512_mask_mov_ps(unseen, static_cast<__mmask16>(mask >> half * 16), score));
      }
    }
  }
  LaneRange keysSeen(int block, int row) const { return attend::keysSeen(joined_, block, row); }

  // Turns scores of 16 rows into probabilities relative to the largest score so far.
  CRE_INLINE void softmax(int count, int half, float toExponent, bool fresh, Rows& rows) {
    const float* scores = scores_ + half * kBlock;
    bf16* probabilities = probabilities_ + half * kBlock;
    __m512 v[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) v[r] = _mm512_max_ps(_mm512_load_ps(scores + r * kBlock), _mm512_load_ps(scores + r * kBlock + 16));
    for (int j = 1; j < count; j++) {
      const float* s = scores + j * kBlockElements;
#pragma GCC unroll 16
      for (int r = 0; r < 16; r++) {
        v[r] = _mm512_max_ps(v[r], _mm512_max_ps(_mm512_load_ps(s + r * kBlock), _mm512_load_ps(s + r * kBlock + 16)));
      }
    }
    const __m512 largest = joinRows(v, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
    const __m512 before = fresh ? _mm512_set1_ps(kLowestScore) : _mm512_load_ps(rows.peak + half);
    const __m512 peak = _mm512_max_ps(largest, before), factor = _mm512_set1_ps(toExponent);
    alignas(64) float shift[16];
    _mm512_store_ps(shift, _mm512_mul_ps(peak, factor));
    for (int r = 0; r < 16; r++) {
      ahead_.step();
      const __m512 minus = _mm512_set1_ps(shift[r]);
      __m512 sum = _mm512_setzero_ps();
      for (int j = 0; j < count; j++) {
        const float* s = scores + j * kBlockElements + r * kBlock;
        const __m512 low = powerOfTwo(_mm512_fmsub_ps(_mm512_load_ps(s), factor, minus));
        const __m512 high = powerOfTwo(_mm512_fmsub_ps(_mm512_load_ps(s + 16), factor, minus));
        sum = _mm512_add_ps(sum, _mm512_add_ps(low, high));
        _mm512_store_si512(probabilities + j * kBlockElements + r * kBlock, (__m512i)_mm512_cvtne2ps_pbh(high, low));
      }
      rowSums_[r] = sum;
    }
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) v[r] = rowSums_[r];
    __m512 total = joinRows(v, [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); });
    if (!fresh) {
      const __m512 correction = powerOfTwo(_mm512_mul_ps(_mm512_sub_ps(before, peak), factor));
      _mm512_store_ps(rows.factor + half, correction);
      total = _mm512_fmadd_ps(_mm512_load_ps(rows.total + half), correction, total);
    }
    _mm512_store_ps(rows.peak + half, peak);
    _mm512_store_ps(rows.total + half, total);
  }

  static void correct(const float* factor, float* sums) {
    for (int r = 0; r < kBlock; r++, sums += kBlock) {
      const __m512 by = _mm512_set1_ps(factor[r]);
      _mm512_store_ps(sums, _mm512_mul_ps(_mm512_load_ps(sums), by));
      _mm512_store_ps(sums + 16, _mm512_mul_ps(_mm512_load_ps(sums + 16), by));
    }
  }

  void finish(const int32_t* queryRows, int rowCount, int head, float scale, Rows& rows) {
    Matrix& output = forward_.output;
    const int blocks = output.columnBlocks(), block = head * parts_;
    for (int half = 0; half < kBlock; half += 16) {
      const __m512 total = _mm512_load_ps(rows.total + half);
      const __m512 peak = _mm512_mul_ps(_mm512_load_ps(rows.peak + half), _mm512_set1_ps(scale));
      _mm512_store_ps(rows.factor + half, _mm512_div_ps(_mm512_set1_ps(1), total));
      _mm512_store_ps(rows.peak + half, _mm512_add_ps(peak, logarithm(total)));
    }
    for (int r = 0; r < rowCount; r++) {
      const __m512 share = _mm512_set1_ps(rows.factor[r]);
      bf16* to = rowChunk(output.b16(), blocks, queryRows[r], block);
      for (int part = 0; part < parts_; part++, to += kBlockElements) {
        const float* sums = sums_ + part * kBlockElements + r * kBlock;
        const __m512 low = _mm512_mul_ps(_mm512_load_ps(sums), share), high = _mm512_mul_ps(_mm512_load_ps(sums + 16), share);
        storeRow(to, (__m512i)_mm512_cvtne2ps_pbh(high, low), forward_.far);
      }
      storeLogSumExp(forward_.logSumExp, queryRows[r], head, rows.peak[r]);
    }
  }

  const Forward& forward_;
  const JoinedSegment& joined_;
  const SegmentPart& part_;
  int parts_;
  bf16 *keys_, *values_;  // right factors kᵀ and v
  bf16 *queries_, *probabilities_;
  float *scores_, *sums_;
  __m512 rowSums_[16];
  RowsAhead ahead_;
};

}  // namespace

bool tilesFit(const Matrix& q, const Matrix& k, const Matrix& v, int headWidth) {
  return q.isBf16 && k.isBf16 && v.isBf16 && headWidth % kBlock == 0;
}

void forwardTiles(Pool& pool, int thread, const Forward& forward, const SegmentPart& part, const SegmentPart* next) {
  TileForward engine(forward, part, next);
  const size_t bytes = engine.carve(Carver());
  engine.carve(Carver(pool.scratch(thread, 0, bytes)));
  engine.compute();
  if (forward.far) finishFarStores();
}

#endif

}  // namespace cre::attend
