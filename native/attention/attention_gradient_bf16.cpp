#include <algorithm>
#include <limits>

#include "attention/attention_gradient_rows.h"

// Attention backward in bf16. Up to kChunk key blocks are combined with up to kChunk query blocks at a time: first the probabilities
// and score gradients of all pairs, with keys as rows and queries as lanes, so that the values of a query stay in registers; then three
// products over them, whose sums stay in tiles. The tiles multiply one pair while the vector units work on the previous one.

namespace cre::attend {

#ifdef __AVX512BF16__
namespace {

constexpr int kChunk = 4;

// Blocks whose sums are not complete yet.
struct Progress {
  int all = 0, done = 0;
};

class TileBackward {
 public:
  // `sums`: of dk and dv, [2][keyRows][headStride] in the order of slotOfRow; null when no other segment uses these keys.
  TileBackward(const Backward& backward, const JoinedSegment& joined, const GroupPart& part, const int32_t* slotOfRow, float* sums,
               const RowsAhead& ahead)
      : backward_(backward),
        joined_(joined),
        part_(part),
        width_(backward.plan.headWidth),
        parts_(width_ / kBlock),
        rows_(backward, joined, part, slotOfRow, sums),
        ahead_(ahead) {}

  size_t carve(Carver carver) {
    const size_t head = static_cast<size_t>(parts_) * kBlockElements, keys = joined_.keyBlocks() * head, queries = joined_.ownBlocks * head;
    for (bf16** piece : {&keys_, &values_, &keysAcross_}) *piece = carver.take<bf16>(keys);
    for (bf16** piece : {&queries_, &queriesAcross_, &dOutputs_, &dOutputsAcross_}) *piece = carver.take<bf16>(queries);
    for (bf16** piece : {&gathered_, &gatheredOutput_}) *piece = carver.take<bf16>(head);
    for (bf16** piece : {&probabilities_, &gradients_, &gradientsRight_}) *piece = carver.take<bf16>(kChunk * kChunk * kBlockElements);
    for (float** piece : {&logSumExp_, &delta_}) *piece = carver.take<float>(joined_.ownBlocks * kBlock);
    scores_ = carver.take<float>(4 * kBlockElements);
    finished_ = carver.take<float>(2 * kBlockElements);
    for (float** piece : {&dKeys_, &dValues_}) *piece = carver.take<float>(keys);
    dQueries_ = carver.take<float>(queries);
    keyBlocks_ = carver.take<const bf16*>(joined_.keyBlocks());
    valueBlocks_ = carver.take<const bf16*>(joined_.keyBlocks());
    keyProgress_ = carver.take<Progress>(joined_.keyBlocks());
    queryProgress_ = carver.take<Progress>(joined_.ownBlocks);
    return carver.used();
  }

  void compute() {
    packKeys();
    for (int head = part_.firstHead; head < part_.endHead; head++) {
      head_ = head;
      for (int q = 0; q < joined_.ownBlocks; q++) {
        queryProgress_[q] = {joined_.contextBlocks + joined_.endOwnBlock(q) - joined_.firstOwnBlock(q), 0};
        packQueries(q, head);
      }
      const int all = joined_.keyBlocks(), keyChunks = (all + kChunk - 1) / kChunk;
      for (int chunk = 0; chunk < keyChunks; chunk++) {
        const int firstKey = all * chunk / keyChunks, endKey = all * (chunk + 1) / keyChunks;
        const int own = firstKey - joined_.contextBlocks, lastOwn = endKey - 1 - joined_.contextBlocks;
        const int first = own < 0 ? 0 : joined_.firstQueryBlock(own);
        int end = first;
        while (end < joined_.ownBlocks && (own < 0 || joined_.firstOwnBlock(end) <= lastOwn)) end++;
        const int queryChunks = (end - first + kChunk - 1) / kChunk;
        for (int i = 0; i < queryChunks; i++) {
          meet(firstKey, endKey, first + (end - first) * i / queryChunks, first + (end - first) * (i + 1) / queryChunks);
        }
      }
    }
  }

 private:
  template <class T>
  T* at(T* packed, int block, int part = 0) const {
    return packed + (static_cast<size_t>(block) * parts_ + part) * kBlockElements;
  }
  template <class T>
  static T* pairAt(T* blocks, int key, int query) {
    return blocks + (key * kChunk + query) * kBlockElements;
  }

  // Whether rows of the query block can see keys of the key block.
  bool sees(int query, int block) const {
    const int own = block - joined_.contextBlocks;
    return own < 0 || (own < joined_.endOwnBlock(query) && own >= joined_.firstOwnBlock(query));
  }

  void packKeys() {
    const int column = part_.keyValueHead * width_, heads = part_.endHead - part_.firstHead;
    for (int b = 0; b < joined_.keyBlocks(); b++) {
      const int32_t* rows = joined_.keyRow.data() + b * kBlock;
      const int start = joined_.blockStart(rows, backward_.k.rows);
      keyBlocks_[b] = headBlocks(backward_.k, start, rows, column, parts_, at(keys_, b));
      valueBlocks_[b] = headBlocks(backward_.v, start, rows, column, parts_, at(values_, b));
      for (int part = 0; part < parts_; part++) transposeBlock(keyBlocks_[b] + part * kBlockElements, at(keysAcross_, b, part));
      keyProgress_[b] = {};
      for (int q = 0; q < joined_.ownBlocks; q++) keyProgress_[b].all += sees(q, b) ? heads : 0;
    }
  }

  void packQueries(int block, int head) {
    const int first = block * kBlock, column = head * width_;
    const int32_t* rows = joined_.queryRow.data() + first;
    const int start = joined_.blockStart(rows, backward_.q.rows);
    const bf16* q = headBlocks(backward_.q, start, rows, column, parts_, gathered_);
    for (int part = 0; part < parts_; part++) {
      interleaveRows(q + part * kBlockElements, at(queries_, block, part));
      packAcross(q + part * kBlockElements, at(queriesAcross_, block, part));
    }
    const bf16* dOutput = headBlocks(backward_.dOutput, start, rows, column, parts_, gathered_);
    const bf16* output = headBlocks(backward_.output, start, rows, column, parts_, gatheredOutput_);
    for (int part = 0; part < parts_; part++) {
      interleaveRows(dOutput + part * kBlockElements, at(dOutputs_, block, part));
      packAcross(dOutput + part * kBlockElements, at(dOutputsAcross_, block, part));
    }
    for (int half = 0; half < kBlock; half += 16) {
      __m512 v[16];
#pragma GCC unroll 16
      for (int r = 0; r < 16; r++) v[r] = _mm512_setzero_ps();
      for (int part = 0; part < parts_; part++) {
        const bf16 *a = dOutput + part * kBlockElements + half * kBlock, *b = output + part * kBlockElements + half * kBlock;
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++) {
          v[r] = _mm512_dpbf16_ps(v[r], (__m512bh)_mm512_load_si512(a + r * kBlock), (__m512bh)_mm512_load_si512(b + r * kBlock));
        }
      }
      _mm512_store_ps(delta_ + first + half, joinRows(v, [](__m512 x, __m512 y) { return _mm512_add_ps(x, y); }));
    }
    for (int r = 0; r < kBlock; r++) {
      const int row = rows[r];
      logSumExp_[first + r] = row < 0 ? std::numeric_limits<float>::infinity() : logSumExpAt(backward_.logSumExp, row, head) * kLog2E;
    }
  }

  void meet(int firstKey, int endKey, int firstQuery, int endQuery) {
    struct Pair {
      int key, query;
    } pairs[kChunk * kChunk];
    int count = 0;
    for (int key = firstKey; key < endKey; key++) {
      for (int query = firstQuery; query < endQuery; query++) {
        if (sees(query, key)) pairs[count++] = {key, query};
      }
    }
    const auto productsOf = [&](int n) {
      const Pair& pair = pairs[n];
      float* scores = scores_ + n % 2 * 2 * kBlockElements;
      return PairProducts{keyBlocks_[pair.key],
                          valueBlocks_[pair.key],
                          at(queriesAcross_, pair.query),
                          at(dOutputsAcross_, pair.query),
                          scores,
                          scores + kBlockElements,
                          parts_};
    };
    PairProducts next = productsOf(0);
    for (int step = 0; step < kBlock / 2; step++) next.step(step);
    const float slope = backward_.plan.slopes ? backward_.plan.slopes[head_] : 0;
    for (int n = 0; n < count; n++) {
      const PairProducts present = next;
      const bool more = n + 1 < count;
      if (more) next = productsOf(n + 1);
      const int key = pairs[n].key, query = pairs[n].query;
      const int place = (key - firstKey) * kChunk + query - firstQuery;
      const PairProducts* ahead = more ? &next : nullptr;
      if (slope != 0) scoreGradient<true, true>(key, query, place, present, ahead, slope);
      else if (isMasked(key, query)) scoreGradient<true, false>(key, query, place, present, ahead, slope);
      else scoreGradient<false, false>(key, query, place, present, ahead, slope);
    }
    for (int key = firstKey; key < endKey; key++) addKeys(key, firstKey, firstQuery, endQuery);
    for (int query = firstQuery; query < endQuery; query++) addQueries(query, firstKey, endKey, firstQuery);
    finishPending();
  }

  bool isMasked(int key, int query) const {
    return !rowsSeeing(joined_, key, 0, query).isWhole() || !rowsSeeing(joined_, key, kBlock - 1, query).isWhole();
  }

  // Probabilities and score gradients (without the scale) of a pair, as left factors; the gradients also as right factor, whose columns
  // 4g + i of tile h are the queries 8g + 4h + i. The tiles compute the products of the next pair at the same time.
  template <bool kMasked, bool kBias>
  void scoreGradient(int key, int query, int place, const PairProducts& present, const PairProducts* ahead, float slope) {
    const float *scores = present.scores, *products = present.products;
    bf16* probabilities = probabilities_ + place * kBlockElements;
    bf16* gradients = gradients_ + place * kBlockElements;
    bf16* right = gradientsRight_ + place * kBlockElements;
    const float* logSumExp = logSumExp_ + query * kBlock;
    const float* delta = delta_ + query * kBlock;
    const __m512 factor = _mm512_set1_ps(backward_.plan.scale * kLog2E), tilt = _mm512_set1_ps(-slope * kLog2E);
    const __m512 minus[2] = {_mm512_load_ps(logSumExp), _mm512_load_ps(logSumExp + 16)};
    const __m512 deltas[2] = {_mm512_load_ps(delta), _mm512_load_ps(delta + 16)};
    const float* here = joined_.queryPosition.data() + query * kBlock;
    const float* there = joined_.keyPosition.data() + key * kBlock;
    for (int row = 0; row < kBlock; row += 2) {
      if (ahead != nullptr) ahead->step(row / 2);
      ahead_.step();
      __m512i words[2];
#pragma GCC unroll 2
      for (int odd = 0; odd < 2; odd++) {
        uint32_t mask = ~0u;
        if constexpr (kMasked) {
          const LaneRange seen = rowsSeeing(joined_, key, row + odd, query);
          mask = laneMask(seen.first, seen.end);
        }
        __m512 p[2], g[2];
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
          const int lane = (row + odd) * kBlock + half * 16;
          __m512 x = _mm512_fmsub_ps(_mm512_load_ps(scores + lane), factor, minus[half]);
          if constexpr (kBias) {
            x = _mm512_fmadd_ps(_mm512_abs_ps(_mm512_sub_ps(_mm512_loadu_ps(here + half * 16), _mm512_set1_ps(there[row + odd]))), tilt, x);
          }
          p[half] = powerOfTwo(x);
          g[half] = _mm512_mul_ps(p[half], _mm512_sub_ps(_mm512_load_ps(products + lane), deltas[half]));
          if constexpr (kMasked) {
            const auto kept = static_cast<__mmask16>(mask >> half * 16);
            p[half] = _mm512_maskz_mov_ps(kept, p[half]);
            g[half] = _mm512_maskz_mov_ps(kept, g[half]);
          }
        }
        _mm512_store_si512(probabilities + (row + odd) * kBlock, (__m512i)_mm512_cvtne2ps_pbh(p[1], p[0]));
        words[odd] = (__m512i)_mm512_cvtne2ps_pbh(g[1], g[0]);
        _mm512_store_si512(gradients + (row + odd) * kBlock, words[odd]);
      }
      _mm512_store_si512(right + row / 2 * kBlock, _mm512_unpacklo_epi16(words[0], words[1]));
      _mm512_store_si512(right + 512 + row / 2 * kBlock, _mm512_unpackhi_epi16(words[0], words[1]));
    }
  }

  // dv += pᵀ · dOutput and dk += gᵀ · q over the query blocks of a chunk.
  void addKeys(int key, int firstKey, int firstQuery, int endQuery) {
    Progress& progress = keyProgress_[key];
    const int before = progress.done;
    for (int query = firstQuery; query < endQuery; query++) progress.done += sees(query, key);
    if (progress.done == before) return;
    const bool fresh = before == 0;
    const bool complete = progress.done == progress.all;
    for (const bool isValue : {true, false}) {
      const bf16 *left = isValue ? probabilities_ : gradients_, *right = isValue ? dOutputs_ : queries_;
      for (int part = 0; part < parts_; part++) {
        const bool alone = isValue || !rows_.rotates(part);
        float* sums = fresh && complete && alone ? otherFinished() : at(isValue ? dValues_ : dKeys_, key, part);
        BlockPair pairs[kChunk];
        int count = 0;
        for (int query = firstQuery; query < endQuery; query++) {
          if (sees(query, key)) pairs[count++] = {pairAt(left, key - firstKey, query - firstQuery), at(right, query, part)};
        }
        addProducts(pairs, count, fresh, sums, [this] { finishPending(); });
        if (complete && (alone || part >= rows_.pairParts())) pending_ = {sums, key, part, isValue ? Part::value : Part::key};
      }
    }
  }

  // A block is finished while the tiles are busy with the next one.
  void finishPending() {
    if (pending_.sums == nullptr) return;
    const int block = pending_.block, part = pending_.part, first = part - rows_.pairParts();
    const bool rotates = pending_.kind != Part::value && rows_.rotates(part);
    if (pending_.kind == Part::query)
      rows_.finishQueries(block, head_, part, pending_.sums, rotates ? at(dQueries_, block, first) : nullptr);
    else rows_.finishKeys(block, part, pending_.kind == Part::value, pending_.sums, rotates ? at(dKeys_, block, first) : nullptr);
    pending_.sums = nullptr;
  }
  float* otherFinished() {
    finishedIndex_ ^= 1;
    return finished_ + finishedIndex_ * kBlockElements;
  }

  // dqᵀ += kᵀ · g over the key blocks of a chunk.
  void addQueries(int query, int firstKey, int endKey, int firstQuery) {
    Progress& progress = queryProgress_[query];
    const int before = progress.done;
    for (int key = firstKey; key < endKey; key++) progress.done += sees(query, key);
    if (progress.done == before) return;
    const bool fresh = before == 0;
    const bool complete = progress.done == progress.all;
    for (int part = 0; part < parts_; part++) {
      float* sums = fresh && complete && !rows_.rotates(part) ? otherFinished() : at(dQueries_, query, part);
      BlockPair pairs[kChunk];
      int count = 0;
      for (int key = firstKey; key < endKey; key++) {
        if (sees(query, key)) pairs[count++] = {at(keysAcross_, key, part), pairAt(gradientsRight_, key - firstKey, query - firstQuery)};
      }
      addProducts(pairs, count, fresh, sums, [this] { finishPending(); });
      if (complete && (!rows_.rotates(part) || part >= rows_.pairParts())) pending_ = {sums, query, part, Part::query};
    }
  }

  const Backward& backward_;
  const JoinedSegment& joined_;
  const GroupPart& part_;
  int width_, parts_;
  GradientRows rows_;
  bf16 *keys_, *values_, *keysAcross_;      // gathered unless they already are blocks; left factor kᵀ
  const bf16 **keyBlocks_, **valueBlocks_;  // left factors k, v
  bf16 *queries_, *dOutputs_;               // right factors q, dOutput
  bf16 *queriesAcross_, *dOutputsAcross_;   // right factors qᵀ, dOutputᵀ
  bf16 *gathered_, *gatheredOutput_;
  bf16 *probabilities_, *gradients_, *gradientsRight_;  // of the pairs of a chunk
  float *logSumExp_, *delta_;                           // [ownBlocks · 32], logSumExp in powers of two
  float *scores_, *finished_;                           // two pairs of blocks; blocks that are complete
  float *dKeys_, *dValues_, *dQueries_;                 // incomplete sums
  Progress *keyProgress_, *queryProgress_;
  enum class Part { key, value, query };
  struct Pending {
    const float* sums = nullptr;
    int block, part;
    Part kind;
  } pending_;
  int finishedIndex_ = 0, head_ = 0;
  RowsAhead ahead_;
};

}  // namespace

bool gradientTilesFit(const Backward& backward) {
  return tilesFit(backward.q, backward.k, backward.v, backward.plan.headWidth) && backward.output.isBf16 && backward.dOutput.isBf16;
}

void backwardTiles(Pool& pool, int thread, const Backward& backward, const std::vector<JoinedSegment>& joinedSegments,
                   const std::vector<int32_t>& slotOfRow, const GroupPart& part, const GroupPart* next) {
  const Group& group = *part.group;
  const int width = backward.plan.headWidth;
  const size_t sumFloats = group.keyRows.size() * width;
  const auto fetched = [&](const JoinedSegment& joined, const GroupPart& of) {
    RowsAhead ahead;
    for (const Matrix* x : {&backward.k, &backward.v}) ahead.add(*x, joined.keyRow, of.keyValueHead * width, width);
    const int column = of.firstHead * width, columns = (of.endHead - of.firstHead) * width;
    for (const Matrix* x : {&backward.q, &backward.dOutput, &backward.output}) ahead.add(*x, joined.queryRow, column, columns);
    return ahead;
  };
  float* sums = part.sums;
  if (sums == nullptr && !group.isPlain) sums = static_cast<float*>(pool.scratch(thread, 1, 2 * sumFloats * sizeof(float)));
  if (sums != nullptr) memset(sums, 0, 2 * sumFloats * sizeof(float));
  for (size_t i = 0; i < group.joinedSegments.size(); i++) {
    const JoinedSegment& joined = joinedSegments[group.joinedSegments[i]];
    RowsAhead ahead;
    if (i + 1 < group.joinedSegments.size()) ahead = fetched(joinedSegments[group.joinedSegments[i + 1]], part);
    else if (next != nullptr) ahead = fetched(joinedSegments[next->group->joinedSegments[0]], *next);
    TileBackward engine(backward, joined, part, slotOfRow.data(), sums, ahead);
    const size_t bytes = engine.carve(Carver());
    engine.carve(Carver(pool.scratch(thread, 0, bytes)));
    engine.compute();
  }
  if (backward.far) finishFarStores();
  if (sums == nullptr || part.sums != nullptr) return;
  for (size_t slot = 0; slot < group.keyRows.size(); slot++) {
    scatterHead(backward.dk, group.keyRows[slot], part.keyValueHead * width, width, sums + slot * width);
    scatterHead(backward.dv, group.keyRows[slot], part.keyValueHead * width, width, sums + sumFloats + slot * width);
  }
}

#endif

}  // namespace cre::attend
