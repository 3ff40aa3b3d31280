import type { AttentionSegment, AttentionSpec, RotarySpec, RowPositions } from "../backend.ts";

/** Handles are positive whole numbers. The arguments of each call are described above its definition in native/binding/. */
export interface Engine {
  tensor(values: Float32Array | null, rows: number, columns: number, wide: boolean): number;
  read(tensor: number): Promise<Float32Array>;
  free(tensor: number): void;
  /** Null for zeros, undefined for a weight whose rows follow by `writeRows`. */
  weight(
    values: Float32Array | null | undefined,
    rows: number,
    columns: number,
    storage: number,
    trainable: boolean,
  ): number;
  /** The next rows, raw; resolves when `bytes` was read. */
  writeRows(weight: number, bytes: Uint8Array, type: number, normalized: boolean): Promise<void>;
  writeWeight(weight: number, values: Float32Array, part: number): void;
  readWeight(weight: number, part: number): Promise<Float32Array>;
  freeWeight(weight: number): void;
  sync(): Promise<void>;
  close(): Promise<void>;
  /** Times everything issued from now on as this kind; 0 stops timing. */
  label(kind: number): void;
  /**
   * In 10⁹ per second: operations from registers alone (on zeros), bytes read from memory (when `reads`; needs 1 GB), and operations on
   * numbers from the first-level cache.
   */
  peak(seconds: number, reads: boolean): Promise<Float32Array>;
  /** Calls, seconds and processor seconds of each kind. */
  spent(): Float64Array;

  embed(table: number, ids: Int32Array): number;
  embedBackward(table: number, ids: Int32Array, dy: number): void;
  matmul(
    x: number,
    w: number,
    bias: number | null,
    residual: number | null,
    scale: number,
    wide: boolean,
    ...rotary: RotaryPlan | []
  ): number;
  matmulSum(
    xs: Int32Array,
    ws: Int32Array,
    scales: Float32Array,
    /** Null forward; backward, whether each weight has a second copy. */
    secondCopies: Int32Array | null,
    bias: number | null,
    residual: number | null,
    wide: boolean,
    ...rotary: RotaryPlan | []
  ): number;
  /** Forward: up = the sum, and silu(gate) · up. Backward, with `up`: the gradients of gate and up. */
  matmulSwiglu(
    xs: Int32Array,
    ws: Int32Array,
    scales: Float32Array,
    secondCopies: Int32Array | null,
    bias: number | null,
    gate: number,
    up: number | null,
  ): [first: number, second: number];
  matmulBackwardInput(
    dy: number,
    w: number,
    residual: number | null,
    scale: number,
    wide: boolean,
    secondCopy: boolean,
  ): number;
  matmulBackwardWeight(dy: number, x: number, w: number, scale: number): void;
  matmulBackward(dy: number, x: number, w: number, scale: number): number;
  biasBackward(dy: number, b: number): void;
  gatherRows(x: number, rows: Int32Array): number;
  gatherRowsBackward(dy: number, rows: Int32Array, totalRows: number): number;
  copyRows(source: number, destination: number, rows: Int32Array): void;
  rmsNorm(x: number, g: number, epsilon: number): number;
  rmsNormBackward(x: number, g: number, dy: number, epsilon: number, residual: number | null): number;
  rotary(x: number, backward: boolean, ...rotary: RotaryPlan): number;
  attention(q: number, k: number, v: number, ...plan: AttentionPlan): [output: number, logSumExp: number];
  attentionBackward(
    q: number,
    k: number,
    v: number,
    output: number,
    logSumExp: number,
    dOutput: number,
    ...plan: AttentionPlan
  ): [dq: number, dk: number, dv: number];
  swiglu(gate: number, up: number): number;
  swigluBackward(gate: number, up: number, dh: number): [dGate: number, dUp: number];
  add(a: number, b: number, scale: number, wide: boolean): number;
  dropout(x: number, probability: number, seed: number, numbers: Int32Array | null): number;
  scaleColumns(x: number, g: number, divisors: number, bias: number | null): number;
  scaleColumnsBackward(x: number, g: number, divisors: number, dy: number): number;
  rowNorms(x: number): number;
  tanh(x: number): number;
  tanhBackward(y: number, dy: number): number;
  crossEntropy(
    logits: number,
    targets: Int32Array,
    weights: Float32Array,
    labelSmoothing: number,
  ): [loss: number, dLogits: number];
  logProbabilities(logits: number, rows: Int32Array, tokens: Int32Array): number;
  argmax(x: number): number;
  zeroGradients(weights: Int32Array): void;
  gradientNorm(weights: Int32Array): number;
  adamW(weights: Int32Array, settings: Float64Array): void;
  /** Not in every engine. */
  muon?(weights: Int32Array, learningRate: number, momentum: number, weightDecay: number): void;
}

/** The rotation of a result, for native/binding/binding_products.cpp. */
export type RotaryPlan = [
  positions: Int32Array,
  heads: number,
  headWidth: number,
  frequencies: Float32Array,
  interleaved: boolean,
];

export function rotaryPlan({
  positions,
  heads,
  headWidth,
  frequencies,
  layout,
}: RotarySpec & RowPositions): RotaryPlan {
  return [positions, heads, headWidth, frequencies, layout === "interleaved"];
}

/** Attention for native/binding/binding_rows.cpp: seven numbers per segment, three per span. */
export type AttentionPlan = [
  heads: number,
  keyValueHeads: number,
  headWidth: number,
  scale: number,
  slopes: Float32Array | null,
  segments: Int32Array,
  spans: Int32Array,
  rotaryFrequencies: Float32Array | null,
  interleaved: boolean,
];

export function attentionPlan(segments: readonly AttentionSegment[], spec: AttentionSpec): AttentionPlan {
  const segmentNumbers: number[] = [];
  const spanNumbers: number[] = [];
  for (const { start, length, keyStart, position, context, bidirectional = 0 } of segments) {
    segmentNumbers.push(start, length, keyStart, position, bidirectional, spanNumbers.length / 3, context.length);
    for (const span of context) spanNumbers.push(span.start, span.length, span.position);
  }
  const { heads, keyValueHeads, headWidth, scale, slopes, rotary } = spec;
  const numbers = [Int32Array.from(segmentNumbers), Int32Array.from(spanNumbers)] as const;
  const rotation = [rotary?.frequencies ?? null, rotary?.layout === "interleaved"] as const;
  return [heads, keyValueHeads, headWidth, scale, slopes, ...numbers, ...rotation];
}
