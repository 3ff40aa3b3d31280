// Products of 8-bit weights with activations that are quantised to 8 bits for each product (storage w8a8): memory layout and interface.
//
// A group is 128 inputs, of one output in a weight and of one row in an activation, and has one float scale: its largest magnitude is code 64
// in a weight and 127 in an activation. Weights have one bit less because the unsigned bytes of activations, code + 128, times two of them must
// not saturate the 16-bit sums of vpmaddubsw: 255 · 64 · 2 < 2^15. Every instruction then gives the same exact 32-bit sums:
//   Σ code · weight = Σ (code + 128) · weight − 128 · Σ weight, of which the last term is kept with the weight as the start of the sum.
// A group of zeros, or of magnitudes below 1e-30, has scale 0. One with NaN or infinity has scale NaN and codes 0, so its results are NaN.
// src/compute/quantize-bytes.ts does the same in plain TypeScript and is the reference.
//
// Memory of a weight: codes, scales, starts. Block (output block p, input block i) of codes is at index p * columnBlocks + i and has eight
// lines of 128 bytes: line l has inputs 4l .. 4l + 3 of output 0, then of output 1, and so on. Scales (float) and starts (int32) are
// [output block][group][32].
#pragma once
#include "runtime/kernels.h"

namespace cre {

constexpr int kByteGroupBlocks = 4;
constexpr int kByteGroup = kByteGroupBlocks * kBlock;
constexpr int kQuads = kBlock / 4;  // lines of a block
constexpr float kWeightCodes = 64, kActivationCodes = 127;
constexpr int kCodeOffset = 128;  // of the unsigned bytes of activations

struct ByteLayout {
  int columnBlocks, groups;
  size_t scalesAt, startsAt, bytes;

  ByteLayout(int rows, int columns) : columnBlocks(blocksFor(columns)) {
    const size_t rowBlocks = blocksFor(rows);
    groups = (columnBlocks + kByteGroupBlocks - 1) / kByteGroupBlocks;
    scalesAt = rowBlocks * columnBlocks * kBlockElements;
    startsAt = scalesAt + rowBlocks * groups * kBlock * sizeof(float);
    bytes = startsAt + rowBlocks * groups * kBlock * sizeof(int32_t);
  }
  size_t codes(int outputBlock, int inputBlock) const {
    return (static_cast<size_t>(outputBlock) * columnBlocks + inputBlock) * kBlockElements;
  }
  // Index of the first of the 32 scales (starts) of a group.
  size_t scales(int outputBlock, int group) const { return (static_cast<size_t>(outputBlock) * groups + group) * kBlock; }
  // Blocks of a group: the last one may have fewer.
  int blocksOf(int group) const {
    const int left = columnBlocks - group * kByteGroupBlocks;
    return left < kByteGroupBlocks ? left : kByteGroupBlocks;
  }
};

// Quantised activations. In rows: code + 128 of each row's padded groups, then the next row. In tiles: the codes themselves; of each 32 rows,
// the first 64 inputs of every row, then the next 64.
constexpr int kStepInputs = 64;                   // of a tile
constexpr int kStepBytes = kStepInputs * kBlock;  // of 32 rows, or of 32 outputs of a weight
constexpr int kGroupSteps = kByteGroup / kStepInputs;
struct ActivationCodes {
  uint8_t* codes;
  float* scales;  // [row][group]
  int groups;
  bool inTiles;

  size_t rowBytes() const { return static_cast<size_t>(groups) * kByteGroup; }
  // The first 64 codes of a group; the others are `stepStride` bytes later.
  uint8_t* at(int row, int group) const {
    if (!inTiles) return codes + row * rowBytes() + static_cast<size_t>(group) * kByteGroup;
    return codes + row / kBlock * kBlock * rowBytes() + static_cast<size_t>(group) * kGroupSteps * kStepBytes + row % kBlock * kStepInputs;
  }
  size_t stepStride() const { return inTiles ? kStepBytes : kStepInputs; }
  // Of `rows` rows, the padding of the last block included.
  static size_t bytes(int rows, int columns) {
    const size_t groups = (columns + kByteGroup - 1) / kByteGroup;
    return paddedTo32(rows) * groups * (sizeof(float) + kByteGroup);
  }
  // In memory of that size, aligned to 64.
  static ActivationCodes in(void* memory, int rows, int columns, bool inTiles) {
    const int groups = (columns + kByteGroup - 1) / kByteGroup;
    auto* scales = static_cast<float*>(memory);
    return {reinterpret_cast<uint8_t*>(scales + static_cast<size_t>(paddedTo32(rows)) * groups), scales, groups, inTiles};
  }
};

struct RawRows;

// ---- quantize_w8a8.cpp
// Quantises a chunk of the rows of a weight, from row `firstRow` on, a multiple of 32.
void quantizeByteRows(Pool&, const RawRows& chunk, int firstRow, int rows, void* quantized);
void readByteRow(const WeightView& w, int row, float* out);  // out[paddedTo32(I)]
void quantizeActivations(Pool&, const Matrix& x, const ActivationCodes& to);

// ---- matmul_w8a8.cpp
void multiplyBytes(Pool&, const Matrix& x, const WeightView& w, const MatmulEpilogue&, Matrix& y);
// The instructions that multiplyBytes uses here: the fastest that this processor has and whose results agree with a plain loop, which is
// tested at the first call. Empty: none agrees, and multiplyBytes must not be called.
const char* byteInstructions();

}  // namespace cre
