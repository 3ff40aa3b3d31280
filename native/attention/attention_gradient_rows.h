// Writes the finished sums of attention's gradients in bf16 to the rows of dq, dk and dv.
#pragma once
#include "attention/attention_tiles.h"
#include "rows/rotary.h"

#ifdef __AVX512BF16__

namespace cre::attend {

class GradientRows {
 public:
  // `groupSums`: see TileBackward.
  GradientRows(const Backward& backward, const JoinedSegment& joined, const GroupPart& part, const int32_t* slotOfRow, float* groupSums)
      : backward_(backward),
        joined_(joined),
        part_(part),
        slotOfRow_(slotOfRow),
        groupSums_(groupSums),
        width_(backward.plan.headWidth),
        parts_(width_ / kBlock),
        pairParts_(backward.rotation.pairs / kBlock) {}

  // Half of the head parts that rotate: part i is rotated together with part i + pairParts.
  int pairParts() const { return pairParts_; }
  // Whether this part of queries and keys rotates: the first half of these parts is finished together with the second.
  bool rotates(int part) const { return part < 2 * pairParts_; }

  // `others`: the finished sums of the part that is rotated together with this one, or null.
  void finishKeys(int key, int part, bool isValue, const float* sums, const float* others) const {
    const Floats factor = broadcast(isValue ? 1 : backward_.plan.scale);
    const int32_t* rows = joined_.keyRow.data() + key * kBlock;
    for (int r = 0; r < kBlock; r++, sums += kBlock) {
      if (rows[r] < 0) continue;
      Floats low = load(sums) * factor, high = load(sums + kLanes) * factor;
      if (others != nullptr) {
        Floats otherLow = load(others + r * kBlock) * factor, otherHigh = load(others + r * kBlock + kLanes) * factor;
        const int slot = joined_.keyRotation[key * kBlock + r];
        rotateBack(slot, part, 0, otherLow, low);
        rotateBack(slot, part, 1, otherHigh, high);
        giveKeyRow(rows[r], part - pairParts_, false, otherLow, otherHigh);
      }
      giveKeyRow(rows[r], part, isValue, low, high);
    }
  }

  void finishQueries(int query, int head, int part, const float* sums, const float* others) const {
    const int32_t* rows = joined_.queryRow.data() + query * kBlock;
    const int blocks = backward_.dq.columnBlocks(), block = head * parts_ + part;
    alignas(64) bf16 gradient[kBlockElements], other[kBlockElements];
    rowsOfQueries(sums, gradient);
    if (others != nullptr) rowsOfQueries(others, other);
    for (int r = 0; r < kBlock; r++) {
      if (rows[r] < 0) continue;
      bf16* to = rowChunk(backward_.dq.b16(), blocks, rows[r], block);
      const bf16 *from = gradient + r * kBlock, *otherFrom = other + r * kBlock;
      if (others == nullptr) {
        storeRow(to, _mm512_load_si512(from), backward_.far);
        continue;
      }
      Floats second[2] = {load(from), load(from + kLanes)}, first[2] = {load(otherFrom), load(otherFrom + kLanes)};
      const int slot = joined_.queryRotation[query * kBlock + r];
      for (int half = 0; half < 2; half++) rotateBack(slot, part, half, first[half], second[half]);
      store(to, second[0], second[1], backward_.far);
      store(to - pairParts_ * kBlockElements, first[0], first[1], backward_.far);
    }
  }

 private:
  // Inverse rotation of half a row of two parts that are rotated together.
  CRE_INLINE void rotateBack(int slot, int part, int half, Floats& first, Floats& second) const {
    const float* cosines = backward_.rotation.cosines(slot) + (part - pairParts_) * kBlock + half * kLanes;
    rotatePairs(second, first, load(cosines), load(cosines + backward_.rotation.pairs));
  }

  CRE_INLINE void giveKeyRow(int row, int part, bool isValue, const Floats& low, const Floats& high) const {
    if (groupSums_ == nullptr) {
      const Matrix& matrix = isValue ? backward_.dv : backward_.dk;
      return store(rowChunk(matrix.b16(), matrix.columnBlocks(), row, part_.keyValueHead * parts_ + part), low, high, backward_.far);
    }
    const size_t slot = slotOfRow_[row] + (isValue ? part_.group->keyRows.size() : 0);
    float* sum = groupSums_ + slot * width_ + part * kBlock;
    store(sum, load(sum) + low);
    store(sum + kLanes, load(sum + kLanes) + high);
  }

  // Writes a block of dqᵀ to rows of dq.
  void rowsOfQueries(const float* sums, bf16* out) const {
    const __m512 factor = _mm512_set1_ps(backward_.plan.scale);
    const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                                           18, 2, 17, 1, 16, 0);
    alignas(64) uint32_t across[256], words[256];  // pairs of columns by queries, queries by pairs of columns
    for (int half = 0; half < 2; half++) {
      for (int pair = 0; pair < 16; pair++) {
        const float* even = sums + 2 * pair * kBlock + half * 16;
        const __m512 first = _mm512_mul_ps(_mm512_load_ps(even), factor), second = _mm512_mul_ps(_mm512_load_ps(even + kBlock), factor);
        _mm512_store_si512(across + pair * 16, _mm512_permutexvar_epi16(pairs, (__m512i)_mm512_cvtne2ps_pbh(second, first)));
      }
      transposeWords(across, 16, words, 16);
      for (int column = 0; column < 16; column++) {
        _mm512_store_si512(out + (column / 4 * 8 + half * 4 + column % 4) * kBlock, _mm512_load_si512(words + column * 16));
      }
    }
  }

  const Backward& backward_;
  const JoinedSegment& joined_;
  const GroupPart& part_;
  const int32_t* slotOfRow_;
  float* groupSums_;
  int width_, parts_, pairParts_;
};

}  // namespace cre::attend

#endif
