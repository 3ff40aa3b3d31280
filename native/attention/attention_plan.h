// Shared by all paths of attention: joined segments, their masks, groups for the backward pass, access to the rows of a head.
//
// A joined segment consists of consecutive segments with the same context that are computed as one: query rows and own keys of all its
// segments follow each other, so that many short segments fill whole blocks of 32. Keys come in blocks of 32: first the context (spans
// without gaps, the last block partly empty), then the own keys. Own row i sees every context key and the own keys firstKey[i] ..
// endKey[i] − 1: up to itself, or all of the bidirectional rows that it is one of.
#pragma once
#include <vector>

#include "runtime/vector.h"

namespace cre::attend {

constexpr int kMostJoinedRows = 256;  // segments are joined up to this number of rows; a longer segment stays alone

struct JoinedSegment {
  int firstSegment = 0, segmentCount = 0;
  int rows = 0, contextKeys = 0;
  int contextBlocks = 0, ownBlocks = 0;
  std::vector<int32_t> keyRow;       // [keyBlocks · 32] row of the key matrices, −1 where there is no key
  std::vector<float> keyPosition;    // [keyBlocks · 32] relative to the first own row
  std::vector<int32_t> queryRow;     // [ownBlocks · 32] row of the query matrices, −1 where there is none
  std::vector<float> queryPosition;  // [ownBlocks · 32] likewise
  // Own row i sees the own keys firstKey[i] .. endKey[i] − 1; own key i is seen by the rows firstRow[i] .. endRow[i] − 1. All ascending, and
  // [ownBlocks · 32]: rows that do not exist see all keys, keys that do not exist are seen by no row.
  std::vector<int32_t> firstKey, endKey, firstRow, endRow;
  // Positions as integers, because floats are not exact beyond 2^24; makeRotationTables replaces them by slots of its tables.
  std::vector<int32_t> keyRotation;    // [keyBlocks · 32]
  std::vector<int32_t> queryRotation;  // [ownBlocks · 32]

  int keyBlocks() const { return contextBlocks + ownBlocks; }
  // A single query row: its keys are read in place.
  bool isSingleRow() const { return rows == 1; }
  // The own key blocks that a query block sees: [first, end). They are consecutive, and no later query block sees an earlier one.
  int firstOwnBlock(int queryBlock) const { return firstKey[queryBlock * kBlock] / kBlock; }
  int endOwnBlock(int queryBlock) const {
    const int endRow = (queryBlock + 1) * kBlock;
    return blocksFor(endKey[(endRow < rows ? endRow : rows) - 1]);
  }
  // The first query block that sees keys of an own key block.
  int firstQueryBlock(int ownBlock) const { return firstRow[ownBlock * kBlock] / kBlock; }
  // The first of the 32 rows if they are one block row of a matrix of `matrixRows` rows (padding included), else −1.
  static int blockStart(const int32_t* rows, int matrixRows);
  // Lists the key blocks that rows of a query block see, ascending; returns their number.
  int visibleBlocks(int queryBlock, std::vector<int>& blocks) const;
};

// Lanes [first, end) of a row of 32.
struct LaneRange {
  int first, end;
  bool isWhole() const { return first <= 0 && end >= kBlock; }
  bool isEmpty() const { return end <= 0 || first >= kBlock || first >= end; }
  void keep(Floats& low, Floats& high, float outside) const {
    low = keepLanes(low, first, end, broadcast(outside));
    high = keepLanes(high, first - kLanes, end - kLanes, broadcast(outside));
  }
};

// Keys of a block that a query row sees.
inline LaneRange keysSeen(const JoinedSegment& joined, int block, int row) {
  if (block < joined.contextBlocks) return {0, joined.contextKeys - block * kBlock};
  const int start = (block - joined.contextBlocks) * kBlock;
  return {joined.firstKey[row] - start, joined.endKey[row] - start};
}

// Query rows of a query block that see a key of a key block.
inline LaneRange rowsSeeing(const JoinedSegment& joined, int block, int key, int queryBlock) {
  const int start = queryBlock * kBlock;
  if (block < joined.contextBlocks) return {0, block * kBlock + key < joined.contextKeys ? kBlock : 0};
  const int own = (block - joined.contextBlocks) * kBlock + key;
  return {joined.firstRow[own] - start, joined.endRow[own] - start};
}

// The joined segments of the plan, in order, without their arrays.
std::vector<JoinedSegment> joinSegments(const AttentionPlan& plan);
// Fills the arrays of a joined segment.
void layOut(const AttentionPlan& plan, JoinedSegment& joined);

// Rotation of queries and keys: for each slot the cosines of its position's angles, then the sines.
struct RotationTables {
  int pairs = 0;  // of a head; 0: no rotation
  const float* tables = nullptr;
  const float* cosines(int slot) const { return tables + static_cast<size_t>(slot) * 2 * pairs; }
};
// Fills the tables (in slot 1 of shared scratch) and replaces the positions in keyRotation and queryRotation by slots. After layOut.
RotationTables makeRotationTables(Pool& pool, const Rotation& rotary, std::vector<JoinedSegment>& joinedSegments);

// Joined segments that share key rows, directly or through others: one thread handles them one after the other.
struct Group {
  std::vector<int> joinedSegments;  // ascending
  std::vector<int32_t> keyRows;     // ascending
  bool isPlain = false;             // a single joined segment that uses each row once
};
struct Groups {
  std::vector<Group> groups;
  std::vector<int32_t> slotOfRow;  // [S] index within keyRows of the row's group, −1 where no segment has the row
};
Groups findGroups(const std::vector<JoinedSegment>& joinedSegments, int keyRows);

// ---- rows of one head
// out[32][stride] = columns [column, column + width) of the rows; zeros for row −1. Columns from width on are not written.
void gatherHead(const Matrix& matrix, const int32_t* rows, int column, int width, float* out, int stride);
// Writes these columns of one row from `values`, and nothing else of the row.
void scatterHead(Matrix& matrix, int row, int column, int width, const float* values);
float dotOfHeads(const Matrix& a, const Matrix& b, int row, int column, int width);
// Writes zeros to every row that is not in `covered` (padding rows included) and to the padding columns.
void zeroUncovered(Pool& pool, Matrix& matrix, const std::vector<char>& covered);

// Divides one allocation into 64-byte aligned pieces; without an allocation it only counts bytes.
class Carver {
 public:
  explicit Carver(void* memory = nullptr) : base_(static_cast<char*>(memory)) {}
  template <class T>
  T* take(size_t count) {
    T* piece = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

struct Forward {
  const Matrix &q, &k, &v;
  const AttentionPlan& plan;
  Matrix &output, &logSumExp;
  bool far;  // see isFar; only for the paths on tiles
};
struct Backward {
  const Matrix &q, &k, &v, &output, &logSumExp, &dOutput;
  const AttentionPlan& plan;
  Matrix &dq, &dk, &dv;
  bool far;
  RotationTables rotation;  // only for the path on tiles
};

// Query blocks [firstBlock, endBlock) of a joined segment, for all query heads of one key/value head.
struct SegmentPart {
  const JoinedSegment* joined;
  int keyValueHead, firstBlock, endBlock;
};
// Query heads [firstHead, endHead) of one key/value head over a group, or over some joined segments of one. `sums`: partial sums of dk and dv,
// [2][keyRows][headStride], which are added up afterwards; null if these are all heads and segments, and dk and dv are written at once.
struct GroupPart {
  const Group* group;
  int keyValueHead, firstHead, endHead;
  float* sums;
};
// Distance in floats between rows of a head in scratch.
inline int headStride(int headWidth) { return (headWidth + kLanes - 1) / kLanes * kLanes; }

// attention_float.cpp
void forwardFloat(Pool& pool, int thread, const Forward& forward, const SegmentPart& part);
void backwardFloat(Pool& pool, int thread, const Backward& backward, const std::vector<JoinedSegment>& joinedSegments,
                   const std::vector<int32_t>& slotOfRow, const GroupPart& part);
// attention_bf16.cpp, attention_gradient_bf16.cpp: for bfloat16 matrices whose heads are whole blocks of 32 columns
#ifdef __AVX512BF16__
bool tilesFit(const Matrix& q, const Matrix& k, const Matrix& v, int headWidth);
bool gradientTilesFit(const Backward& backward);  // output and its gradient too
// `next`: the likely next item of the thread, for prefetching, or null.
void forwardTiles(Pool& pool, int thread, const Forward& forward, const SegmentPart& part, const SegmentPart* next);
void backwardTiles(Pool& pool, int thread, const Backward& backward, const std::vector<JoinedSegment>& joinedSegments,
                   const std::vector<int32_t>& slotOfRow, const GroupPart& part, const GroupPart* next);
#else
inline bool tilesFit(const Matrix&, const Matrix&, const Matrix&, int) { return false; }
inline bool gradientTilesFit(const Backward&) { return false; }
inline void forwardTiles(Pool&, int, const Forward&, const SegmentPart&, const SegmentPart*) {}
inline void backwardTiles(Pool&, int, const Backward&, const std::vector<JoinedSegment>&, const std::vector<int32_t>&, const GroupPart&,
                          const GroupPart*) {}
#endif
// attention_stream.cpp: a single row whose heads are whole blocks of 32 columns
void forwardSingleRow(Pool& pool, int thread, const Forward& forward, const JoinedSegment& joined, int keyValueHead);

inline float logSumExpAt(const Matrix& logSumExp, int row, int head) {
  return rowChunk(logSumExp.f32(), logSumExp.columnBlocks(), row, head / kBlock)[head % kBlock];
}
inline void storeLogSumExp(Matrix& logSumExp, int row, int head, float value) {
  rowChunk(logSumExp.f32(), logSumExp.columnBlocks(), row, head / kBlock)[head % kBlock] = value;
}

}  // namespace cre::attend
