// All kernels of the native backend: signatures, shapes and the memory layout they share.
//
// Every source file that includes this one is compiled for each instruction level (portable, avx2, avx512, avx512bf16, amx) into an addon of its own. A
// level is chosen at run time by loading its addon, and no inline function compiled for one level can end up in another.
//
// Layout of a matrix [rows, columns], wide (float) or narrow (the backend's precision: float, or bf16 on the levels avx512bf16 and amx):
//   blocks of 32 x 32 elements, block row by block row; row-major inside a block. Element (r, c) is at
//   ((r / 32) * columnBlocks + c / 32) * 1024 + (r % 32) * 32 + c % 32.
//   The two halves of a bf16 block (rows 0..15, 16..31) are AMX A-tiles without conversion. Memory is 64-byte aligned.
// Padding rows and columns (up to the next multiple of 32) are ZERO: products contract over them. A kernel writes its whole output, padding
// included (outputs arrive uninitialised; tests poison them with NaN). Exception: a matrix of ONE ROW has undefined padding rows, because
// generation makes hundreds of these for every token and must not write 32 rows each time. Kernels that contract over rows clear them first.
//
// Letters: T tokens, S keys, H query heads, G key/value heads, D head width, C model width, F feed-forward, V vocabulary, O outputs, I inputs.
#pragma once
#include <cstddef>
#include <cstdint>

#include "runtime/threads.h"

namespace cre {

constexpr int kBlock = 32;
constexpr int kBlockElements = kBlock * kBlock;
inline int blocksFor(int n) { return (n + kBlock - 1) / kBlock; }
inline int paddedTo32(int n) { return blocksFor(n) * kBlock; }
// Rows that a kernel writes for an output of `rows` rows.
inline int writtenRows(int rows) { return rows == 1 ? 1 : paddedTo32(rows); }

using bf16 = uint16_t;

struct Matrix {
  void* data = nullptr;
  int rows = 0;
  int columns = 0;
  bool isBf16 = false;         // a narrow matrix in bfloat16 precision; float otherwise
  bf16* narrowCopy = nullptr;  // rounded copy of a float matrix for products, if the kernel that wrote it made one

  int rowBlocks() const { return blocksFor(rows); }
  int columnBlocks() const { return blocksFor(columns); }
  size_t elements() const { return static_cast<size_t>(rowBlocks()) * columnBlocks() * kBlockElements; }
  size_t bytes() const { return elements() * (isBf16 ? 2 : 4); }
  float* f32() const { return static_cast<float*>(data); }
  bf16* b16() const { return static_cast<bf16*>(data); }
};

// A weight w[O,I] as products read it. `forward` serves x·wᵀ, `backward` serves dy·w (a second packed copy; without it, dy·w reads
// `forward`). matmul_*.cpp define their formats, quantized.h those of int8 and nf4, w8a8.h that of w8a8; these
// have `forward` only. `master` is set for trainable
// weights and for vectors: float in matrix layout ([1,C] vectors: plain floats padded with zeros to a multiple of 32).
enum class Storage : int { float32 = 0, bfloat16 = 1, int8 = 2, nf4 = 3, w8a8 = 4 };
constexpr int kStorages = 5;
struct WeightView {
  int rows = 0;     // O
  int columns = 0;  // I
  Storage storage = Storage::float32;
  bool packedBf16 = false;  // precision of the packed copies: bf16 in bfloat16 precision, float otherwise
  void* forward = nullptr;
  void* backward = nullptr;
  float* master = nullptr;
  float* gradient = nullptr;  // layout of master
  float* moment1 = nullptr;
  float* moment2 = nullptr;
  bool isVector() const { return rows == 1; }
  bool isQuantized() const { return !isVector() && (storage == Storage::int8 || storage == Storage::nf4 || storage == Storage::w8a8); }
  bool hasByteProducts() const { return !isVector() && storage == Storage::w8a8; }
  size_t masterElements() const {
    return isVector() ? paddedTo32(columns) : static_cast<size_t>(blocksFor(rows)) * blocksFor(columns) * kBlockElements;
  }
};

// Rotary positions (Su et al. 2021): the pairs (i, i + pairs) of each head's columns, or (2i, 2i + 1), rotate by position · frequencies[i].
// Columns from 2 · pairs on are copied; 0 pairs: no rotation.
struct Rotation {
  const float* frequencies = nullptr;  // [pairs]
  int pairs = 0;
  bool interleaved = false;
  // Whether heads and both halves of their pairs begin at multiples of 32 columns.
  bool isAligned(int headWidth) const { return pairs > 0 && !interleaved && pairs % kBlock == 0 && headWidth % kBlock == 0; }
};
struct Rotary {
  const int32_t* positions;  // [T]
  int heads, headWidth;
  Rotation rotation;
};

// ---- matmul.cpp: the level this file was compiled for
const char* levelName();
bool supportsBf16();

// ---- pack.cpp, matmul.cpp, matmul_float.cpp (all levels), matmul_bf16.cpp (bf16): y = scale · product + bias + residual
// A term scale · x · w of few columns, as the second product of an adapter, that is added to the sums of a float product before the epilogue:
// as a product of its own it would read and write y once more.
struct ThinTerm {
  const float* x;  // row blocks, xRowBlockStride apart
  size_t xRowBlockStride;
  const float* packed;  // panels, panelStride apart
  size_t panelStride;
  int columns;
  float scale;
};
constexpr int kMostThinTerms = 8;
struct ThinTerms {
  ThinTerm terms[kMostThinTerms];
  int count = 0;
};
struct MatmulEpilogue {
  float scale = 1;
  const float* bias = nullptr;       // [O] padded, or null
  const Matrix* residual = nullptr;  // shape of y, either width, or null; may be y itself
  const Rotary* rotary = nullptr;    // y is rotated before it is rounded; without residual and gate, forward only
  // With a gate (matmulSum only): forward, `gated` becomes silu(gate) · y; backward, the product is the gradient of silu(gate) · up, y becomes
  // the gradient of gate and dUp the gradient of up.
  const Matrix* gate = nullptr;
  Matrix* gated = nullptr;
  const Matrix* up = nullptr;
  Matrix* dUp = nullptr;
  const ThinTerms* thin = nullptr;  // matmulSum only; scaled with the product
};
size_t packedBytes(int rows, int columns, bool bf16Precision);  // of one packed copy, forward or backward
// `rounded`: every number is rounded to bf16 first (a weight kept as bfloat16 in float32 precision).
void packForward(Pool&, const float* rowMajor, int rows, int columns, bool bf16Precision, bool rounded, void* packed);
void packBackward(Pool&, const void* forward, int rows, int columns, bool bf16Precision, void* backward);
void packFromMaster(Pool&, const float* master, int rows, int columns, bool bf16Precision, bool rounded, void* forward /* or null */,
                    void* backward /* or null */);
void unpackForward(Pool&, const void* packed, int rows, int columns, bool bf16Precision, float* rowMajor);
void readForwardRow(const void* packed, int rows, int columns, bool bf16Precision, int row, float* out);  // out[paddedTo32(I)]
void prefetchForwardRow(const void* packed, int columns, bool bf16Precision, int row);
// ---- quantize.cpp
size_t quantizedBytes(int rows, int columns, Storage);
void quantize(Pool&, const float* rowMajor, int rows, int columns, Storage, void* quantized);
void unpackQuantized(Pool&, const WeightView& w, float* rowMajor);
void readQuantizedRow(const WeightView& w, int row, float* out);  // out[paddedTo32(I)]
// ---- matmul.cpp
void matmulForward(Pool&, const Matrix& x, const WeightView& w, const MatmulEpilogue&, Matrix& y);          // y[T,O]
void matmulBackwardInput(Pool&, const Matrix& dy, const WeightView& w, const MatmulEpilogue&, Matrix& dx);  // dx[T,I]
void matmulBackwardWeight(Pool&, const Matrix& dy, const Matrix& x, float scale, WeightView& w);            // gradient[O,I] +=
void matmulBackward(Pool&, const Matrix& dy, const Matrix& x, float scale, WeightView& w, Matrix& dx);      // both: dx = scale · dy · w
void biasBackward(Pool&, const Matrix& dy, WeightView& b);

// ---- matmul_sum.cpp: y = the sum of scale · x · wᵀ (backward: scale · x · w) + bias + residual; the epilogue's scale is ignored.
// The residual must not be y.
struct ProductTerm {
  const Matrix* x;
  const WeightView* w;
  float scale;
};
void matmulSum(Pool&, const ProductTerm* terms, int count, bool backward, const MatmulEpilogue&, Matrix& y);

// ---- peak.cpp: operations per second from registers (on zeros) or on numbers from the first-level cache; bytes per second read from memory
double peakFlops(Pool&, double seconds, bool withNumbers);
double readBandwidth(Pool&, double seconds);

// ---- optimizer.cpp
struct AdamW {
  double learningRate, beta1, beta2, epsilon, weightDecay, gradientScale;
  int step;
};
void adamW(Pool&, WeightView& w, const AdamW&);      // updates master and moments; the caller packs again
double gradientSquares(Pool&, const WeightView& w);  // same result for any number of threads: fixed chunks, added in order

// ---- embedding.cpp
void embed(Pool&, const WeightView& table, bool bf16Precision, const int32_t* ids, Matrix& y);  // y[T,C] wide
void embedBackward(Pool&, WeightView& table, const int32_t* ids, const Matrix& dy);
void gatherRows(Pool&, const Matrix& x, const int32_t* rows, Matrix& y);
void gatherRowsBackward(Pool&, const Matrix& dy, const int32_t* rows, Matrix& dx);     // repeated rows add up in order
void copyRows(Pool&, const Matrix& source, const int32_t* rows, Matrix& destination);  // widths may differ

// ---- norm.cpp
void rmsNorm(Pool&, const Matrix& x, const float* g, float epsilon, Matrix& y);
void rmsNormBackward(
    Pool&, const Matrix& x, const float* g, const Matrix& dy, float epsilon, const Matrix* residual, Matrix& dx,
    float* gGradient /* [C] or null, added to; fixed chunks added in order */);  // and dx's narrow copy, if it is allocated

// ---- norm_heads.cpp: RMSNorm over each head of a row, with one g[D] for all heads
void rmsNormHeads(Pool&, const Matrix& x, const float* g, int headWidth, float epsilon, Matrix& y);
void rmsNormHeadsBackward(Pool&, const Matrix& x, const float* g, int headWidth, const Matrix& dy, float epsilon, const Matrix* residual,
                          Matrix& dx, float* gGradient);

// ---- rotary.cpp
void rotary(Pool&, const Matrix& x, const Rotary&, bool backward, Matrix& y);  // y may be x

// ---- elementwise.cpp
void swiglu(Pool&, const Matrix& gate, const Matrix& up, Matrix& h);
void swigluBackward(Pool&, const Matrix& gate, const Matrix& up, const Matrix& dh, Matrix& dGate, Matrix& dUp);
void add(Pool&, const Matrix& a, const Matrix& b, float scale, Matrix& y);           // widths may differ
// The mask of dropoutKeeps in backend.ts. Row r has the number numbers[r], or r where numbers is null.
void dropout(Pool&, const Matrix& x, double probability, uint32_t seed, const int32_t* numbers, Matrix& y);
void fromRowMajor(Pool&, const float* values, Matrix& y);
void toRowMajor(Pool&, const Matrix& x, float* values);

// ---- columns.cpp. A column whose divisor is 0 has the factor 0.
void scaleColumns(Pool&, const Matrix& x, const float* g, const Matrix& divisors /* [1,O] wide */, const float* bias /* or null */,
                  Matrix& y);  // x · g / divisors + bias
void scaleColumnsBackward(Pool&, const Matrix& x, const float* g, const Matrix& divisors, const Matrix& dy, Matrix& dx,
                          float* gGradient /* [O] or null, added to */);
void rowNorms(Pool&, const Matrix& x, Matrix& out);  // out[1,T] wide
void tanh(Pool&, const Matrix& x, Matrix& y);
void tanhBackward(Pool&, const Matrix& y, const Matrix& dy, Matrix& dx);

// ---- attention.cpp
struct KeySpan {
  int start, length, position;
};
struct AttentionSegment {
  int start, length, keyStart, position;
  int bidirectional;         // the first rows that see each other in both directions
  int firstSpan, spanCount;  // context spans in AttentionPlan::spans
};
struct AttentionPlan {
  int segmentCount;
  const AttentionSegment* segments;
  const KeySpan* spans;
  int heads, keyValueHeads, headWidth;
  float scale;
  const float* slopes;  // [H] or null
  Rotation rotary;      // how q and k were rotated before; attentionBackward returns the gradients before the rotation
};
void attention(Pool&, const Matrix& q, const Matrix& k, const Matrix& v, const AttentionPlan&, Matrix& output, Matrix& logSumExp);
// Key rows may be context of several segments; their contributions to dk and dv are added in segment order.
void attentionBackward(Pool&, const Matrix& q, const Matrix& k, const Matrix& v, const Matrix& output, const Matrix& logSumExp,
                       const Matrix& dOutput, const AttentionPlan&, Matrix& dq, Matrix& dk, Matrix& dv);

// ---- loss.cpp
void crossEntropy(Pool&, const Matrix& logits, const int32_t* targets, const float* weights, float labelSmoothing, Matrix& loss,
                  Matrix& dLogits);
void logProbabilities(Pool&, const Matrix& logits, const int32_t* rows, const int32_t* tokens, int count, Matrix& out);  // out[1,N]
void argmaxRows(Pool&, const Matrix& x, Matrix& out);                                                                    // out[T,1]

}  // namespace cre
