import type {
  AdamWSettings,
  AttentionSegment,
  AttentionSpec,
  KernelPolicy,
  MuonSettings,
  Precision,
  RawType,
  RotarySpec,
  Rotation,
  RowPositions,
  Tensor,
  Values,
  Weight,
  WeightPart,
  WeightSpec,
} from "./backend.ts";
import type { ByteCount } from "./byte-count.ts";

// What a new backend supplies. `createBackend` (shell.ts) makes a Backend of it: it checks arguments, keeps track of tensors and weights,
// and derives the fused kernels that are not supplied (derived.ts). src/compute/backend.ts states what each operation computes.

/** A tensor as kernels get it; `data` is what the kernel that made it returned. */
export interface Operand<D> extends Tensor {
  readonly data: D;
}

/** A weight as kernels get it; `data` is what `weight` returned. */
export interface WeightOperand<E> extends Weight {
  readonly data: E;
}

/** One product of a sum: scale · x · wᵀ, or scale · x · w backward, where x is the gradient of that product's result. */
export interface Term<D, E> {
  x: Operand<D>;
  w: WeightOperand<E>;
  scale: number;
}

/** The terms that are added to products, and the width of the result. */
export interface Added<D, E> {
  /** b[1,O]; always null backward. */
  bias: WeightOperand<E> | null;
  /** Of the result's shape and of either width. */
  residual: Operand<D> | null;
  wide: boolean;
}

export interface AttentionInputs<D> {
  q: Operand<D>;
  k: Operand<D>;
  v: Operand<D>;
}

export interface AttentionForward<D> extends AttentionInputs<D> {
  output: Operand<D>;
  logSumExp: Operand<D>;
}

/** A weight that is filled row by row, from chunks of raw rows in order. */
export interface StreamedWeights<E> {
  /** A weight whose rows follow. */
  start(spec: WeightSpec): E;
  /** Resolves when `chunk` was read; with `normalized` every row is divided by its length. */
  write(weight: WeightOperand<E>, chunk: Uint8Array, type: RawType, normalized: boolean): Promise<void>;
}

/**
 * The basic kernels of a backend, a plain object. D is the data of a tensor, E the data of a weight; both are opaque to everyone else.
 * Arguments are checked already. A kernel returns the data of its result; its shape and width follow from the operation (backend.ts).
 * Narrow results are rounded to `precision`, wide ones to float32 or finer.
 */
export interface BasicKernels<D, E> {
  readonly name: string;
  readonly description: string;
  readonly arithmetic: string;
  readonly precision: Precision;

  // ---- tensors and weights
  /** Copies row-major values; zeros for null. */
  tensor(values: ArrayLike<number> | null, rows: number, columns: number, wide: boolean): D;
  /** A copy of the values, row-major, as they are at the call. */
  read(x: Operand<D>): Values | Promise<Values>;
  /** Bytes of a tensor of this shape and width. */
  tensorBytes(x: Tensor): number;
  /** Copies row-major values; zeros for null. Matrices are rounded as their storage says (quantize.ts), vectors are not. */
  weight(spec: WeightSpec, values: ArrayLike<number> | null): E;
  writeWeight(w: WeightOperand<E>, values: ArrayLike<number>, part: WeightPart): void;
  readWeight(w: WeightOperand<E>, part: WeightPart): Values | Promise<Values>;
  /** Bytes that a weight has now. */
  weightBytes(w: WeightOperand<E>): number;

  // ---- operations
  embed(table: WeightOperand<E>, ids: Int32Array): D;
  embedBackward(table: WeightOperand<E>, ids: Int32Array, dy: Operand<D>): void;
  /** scale · x · wᵀ + bias + residual. */
  matmul(product: Term<D, E>, added: Added<D, E>): D;
  /** scale · x · w + residual. */
  matmulBackwardInput(product: Term<D, E>, added: Added<D, E>): D;
  matmulBackwardWeight(dy: Operand<D>, x: Operand<D>, w: WeightOperand<E>, scale: number): void;
  biasBackward(dy: Operand<D>, b: WeightOperand<E>): void;
  rmsNorm(x: Operand<D>, g: WeightOperand<E>, epsilon: number): D;
  rmsNormBackward(x: Operand<D>, g: WeightOperand<E>, dy: Operand<D>, epsilon: number, residual: Operand<D> | null): D;
  rotary(x: Operand<D>, positions: Int32Array, spec: RotarySpec, direction: "forward" | "backward"): D;
  /** `spec.rotary` has no part in it. */
  attention(
    inputs: AttentionInputs<D>,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { output: D; logSumExp: D };
  /** Gradients of q, k and v as attention read them: `spec.rotary` has no part in it. */
  attentionBackward(
    forward: AttentionForward<D>,
    dOutput: Operand<D>,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { dq: D; dk: D; dv: D };
  swiglu(gate: Operand<D>, up: Operand<D>): D;
  swigluBackward(gate: Operand<D>, up: Operand<D>, dh: Operand<D>): { dGate: D; dUp: D };
  add(a: Operand<D>, b: Operand<D>, scale: number, wide: boolean): D;
  dropout(x: Operand<D>, probability: number, seed: number, numbers: Int32Array | null): D;
  scaleColumns(x: Operand<D>, g: WeightOperand<E>, divisors: Operand<D>, bias: WeightOperand<E> | null): D;
  scaleColumnsBackward(x: Operand<D>, g: WeightOperand<E>, divisors: Operand<D>, dy: Operand<D>): D;
  rowNorms(x: Operand<D>): D;
  tanh(x: Operand<D>): D;
  tanhBackward(y: Operand<D>, dy: Operand<D>): D;
  gatherRows(x: Operand<D>, rows: Int32Array): D;
  gatherRowsBackward(dy: Operand<D>, rows: Int32Array, totalRows: number): D;
  copyRows(source: Operand<D>, destination: Operand<D>, rows: Int32Array): void;
  crossEntropy(
    logits: Operand<D>,
    targets: Int32Array,
    weights: Float32Array,
    labelSmoothing: number,
  ): { loss: D; dLogits: D };
  logProbabilities(logits: Operand<D>, rows: Int32Array, tokens: Int32Array): D;
  argmax(x: Operand<D>): D;

  // ---- training
  zeroGradients(weights: readonly WeightOperand<E>[]): void;
  gradientNorm(weights: readonly WeightOperand<E>[]): D;
  adamW(weights: readonly WeightOperand<E>[], settings: AdamWSettings): void;
}

/** Kernels that can be derived from basic ones; a backend supplies those it computes faster or more exactly. */
export interface FusedKernels<D, E> {
  /** `matmul` of a sum of products, which is rounded once. */
  matmulSum(terms: readonly Term<D, E>[], added: Added<D, E>): D;
  /** `matmulBackwardInput` of a sum of products, which is rounded once. */
  matmulBackwardSum(terms: readonly Term<D, E>[], added: Added<D, E>): D;
  /** `rotary` of a sum of products. */
  matmulRotary(terms: readonly Term<D, E>[], added: Added<D, E>, rotary: RotarySpec & RowPositions): D;
  /** up = a sum of products, and h = silu(gate) · up. */
  matmulSwiglu(gate: Operand<D>, terms: readonly Term<D, E>[], bias: WeightOperand<E> | null): { up: D; h: D };
  /** `swigluBackward` for a dh that is a backward sum of products and is not kept. */
  matmulBackwardSwiglu(gate: Operand<D>, up: Operand<D>, terms: readonly Term<D, E>[]): { dGate: D; dUp: D };
  /** `matmulBackwardWeight`, and the wide result of `matmulBackwardInput`. */
  matmulBackward(dy: Operand<D>, x: Operand<D>, w: WeightOperand<E>, scale: number): D;
  /** `attentionBackward`, with dq and dk rotated back to the gradients of what was rotated. */
  attentionBackwardRotary(
    forward: AttentionForward<D>,
    dOutput: Operand<D>,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
    rotation: Rotation,
  ): { dq: D; dk: D; dv: D };
}

/** What a backend has only where it needs it. */
interface OptionalKernels<D, E> {
  /** What autograd asks; by default sums of 16 products, and no gain from `matmulBackward`. */
  readonly policy?: KernelPolicy;
  /** For backends that pretrain. */
  muon?(weights: readonly WeightOperand<E>[], settings: MuonSettings): void;
  /** Shared with kernels that make further copies of weights and count them; the shell counts everything else. */
  readonly bytes?: ByteCount;
  /** Without it, all rows of a chunked matrix are decoded first and go to `weight` together. */
  readonly streamedWeights?: StreamedWeights<E>;
  /** Free memory that JavaScript's garbage collector does not. */
  free?(x: Operand<D>): void;
  freeWeight?(w: WeightOperand<E>): void;
  /** For kernels that return before their work is done. */
  sync?(): Promise<void>;
  close?(): Promise<void>;
}

export type Kernels<D, E> = BasicKernels<D, E> & Partial<FusedKernels<D, E>> & OptionalKernels<D, E>;
