// What attention shares between its paths: runs of segments, their masks, groups for the backward pass, access to the rows of a head.
//
// A run is a stretch of segments with the same context, attended as if they were one: query rows and own keys of all its segments stand
// one after the other, so that many short segments fill whole blocks of 32. Keys come in blocks of 32: first the context (its spans closed
// up, the last block partly empty), then the own keys. Own row i sees every context key and the own keys firstKey[i] .. i.
#pragma once
#include <vector>

#include "runtime/vector.h"

namespace cre::attend {

constexpr int kMostJoinedRows = 256;  // segments are joined up to this many rows; a longer segment is a run by itself

struct JoinedSegment {
  int firstSegment = 0, segmentCount = 0;
  int rows = 0, contextKeys = 0;
  int contextBlocks = 0, ownBlocks = 0;
  std::vector<int32_t> keyRow;       // [keyBlocks · 32] row of the key matrices, −1 where there is no key
  std::vector<float> keyPosition;    // [keyBlocks · 32] from the position of the run's first own row on
  std::vector<int32_t> queryRow;     // [ownBlocks · 32] row of the query matrices, −1 where there is none
  std::vector<float> queryPosition;  // [ownBlocks · 32] likewise
  std::vector<int32_t> firstKey;     // [ownBlocks · 32] first own key that the row sees; ascending
  std::vector<int32_t> endRow;       // [ownBlocks · 32] own key i is seen by the rows i .. endRow[i] − 1
  // Whole positions, which floats do not tell apart beyond 2^24; after makeRotationTables the slots of their tables.
  std::vector<int32_t> keyRotation;    // [keyBlocks · 32]
  std::vector<int32_t> queryRotation;  // [ownBlocks · 32]

  int keyBlocks() const { return contextBlocks + ownBlocks; }
  // One query row alone: its keys are read where they are.
  bool isSingleRow() const { return rows == 1; }
  // First own block that a query block looks at.
  int firstOwnBlock(int queryBlock) const { return firstKey[queryBlock * kBlock] / kBlock; }
  // The first of the 32 rows when they are one block row of a matrix of `matrixRows` rows, whose padding they may include; else −1.
  static int blockStart(const int32_t* rows, int matrixRows);
  // The key blocks that rows of a query block see, ascending, and how many.
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

// Keys of a block that a query row of the run sees.
inline LaneRange keysSeen(const JoinedSegment& joined, int block, int row) {
  if (block < joined.contextBlocks) return {0, joined.contextKeys - block * kBlock};
  const int start = (block - joined.contextBlocks) * kBlock;
  return {joined.firstKey[row] - start, row + 1 - start};
}

// Query rows of a query block that see a key of a key block.
inline LaneRange rowsSeeing(const JoinedSegment& joined, int block, int key, int queryBlock) {
  const int start = queryBlock * kBlock;
  if (block < joined.contextBlocks) return {0, block * kBlock + key < joined.contextKeys ? kBlock : 0};
  const int own = (block - joined.contextBlocks) * kBlock + key;
  return {own - start, joined.endRow[own] - start};  // endRow is 0 where there is no key
}

// Runs of the plan, in order, without their arrays.
std::vector<JoinedSegment> joinSegments(const AttentionPlan& plan);
// Fills the arrays of a run.
void layOut(const AttentionPlan& plan, JoinedSegment& joined);

// What turned queries and keys before: for each slot the cosines of its position's angles, then the sines.
struct RotationTables {
  int pairs = 0;  // of a head; 0: nothing turns
  const float* tables = nullptr;
  const float* cosines(int slot) const { return tables + static_cast<size_t>(slot) * 2 * pairs; }
};
// Fills the tables, and puts slots in the place of the positions of runs that are laid out. The tables stand in slot 1 of shared scratch.
RotationTables makeRotationTables(Pool& pool, const Rotation& rotary, std::vector<JoinedSegment>& joinedSegments);

// Runs whose key rows meet, directly or through others: one thread treats them one after the other.
struct Group {
  std::vector<int> joinedSegments;  // ascending
  std::vector<int32_t> keyRows;     // ascending
  bool isPlain = false;             // one run that has each row once
};
struct Groups {
  std::vector<Group> groups;
  std::vector<int32_t> slotOfRow;  // [S] index within keyRows of the row's group, −1 where no run has the row
};
Groups findGroups(const std::vector<JoinedSegment>& joinedSegments, int keyRows);

// ---- rows of one head
// out[32][stride] = columns [column, column + width) of the rows; zeros for row −1. Columns from width on are left alone.
void gatherHead(const Matrix& matrix, const int32_t* rows, int column, int width, float* out, int stride);
// The same columns of one row from `values`; nothing else of the row is touched.
void scatterHead(Matrix& matrix, int row, int column, int width, const float* values);
float dotOfHeads(const Matrix& a, const Matrix& b, int row, int column, int width);
// Zeros in every row that is not in `covered` (padding rows among them) and in the padding columns.
void zeroUncovered(Pool& pool, Matrix& matrix, const std::vector<char>& covered);

// Hands out 64-byte aligned pieces of one allocation; without one it only counts.
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
  bool far;  // see isFar; the paths on tiles only
};
struct Backward {
  const Matrix &q, &k, &v, &output, &logSumExp, &dOutput;
  const AttentionPlan& plan;
  Matrix &dq, &dk, &dv;
  bool far;
  RotationTables rotation;  // the path on tiles only
};

// Query blocks [firstBlock, endBlock) of a run, for all query heads of one key/value head.
struct SegmentPart {
  const JoinedSegment* joined;
  int keyValueHead, firstBlock, endBlock;
};
// Query heads [firstHead, endHead) of one key/value head over the runs of a group. Sums of dk and dv, [2][keyRows][headStride], go to
// `sums`, whose parts are added up afterwards; when it is null these heads are all, and dk and dv are finished.
struct GroupPart {
  const Group* group;
  int keyValueHead, firstHead, endHead;
  float* sums;
};
// Floats from row to row where heads stand in scratch.
inline int headStride(int headWidth) { return (headWidth + kLanes - 1) / kLanes * kLanes; }

// attention_float.cpp
void forwardFloat(Pool& pool, int thread, const Forward& forward, const SegmentPart& part);
void backwardFloat(Pool& pool, int thread, const Backward& backward, const std::vector<JoinedSegment>& joinedSegments,
                   const std::vector<int32_t>& slotOfRow, const GroupPart& part);
// attention_amx.cpp, attention_gradient_amx.cpp; only for bfloat16 matrices whose heads are whole blocks of 32 columns
#ifdef __AMX_BF16__
bool tilesFit(const Matrix& q, const Matrix& k, const Matrix& v, int headWidth);
bool gradientTilesFit(const Backward& backward);  // output and its gradient too
// `next`: what the thread will probably do next, or null.
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
// attention_stream.cpp; a run of a single row whose heads are whole blocks of 32 columns
void forwardSingleRow(Pool& pool, int thread, const Forward& forward, const JoinedSegment& joined, int keyValueHead);

inline float logSumExpAt(const Matrix& logSumExp, int row, int head) {
  return rowChunk(logSumExp.f32(), logSumExp.columnBlocks(), row, head / kBlock)[head % kBlock];
}
inline void storeLogSumExp(Matrix& logSumExp, int row, int head, float value) {
  rowChunk(logSumExp.f32(), logSumExp.columnBlocks(), row, head / kBlock)[head % kBlock] = value;
}

}  // namespace cre::attend
