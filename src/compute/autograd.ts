import type {
  AttentionSegment,
  AttentionSpec,
  Backend,
  RotarySpec,
  Tensor,
  Weight,
} from "./backend.ts";

/** A tensor on a tape. */
export interface Value {
  readonly tensor: Tensor;
  readonly needsGradient: boolean;
}

export interface TapeMatmulOptions {
  bias?: Weight | null;
  residual?: Value | null;
  scale?: number;
  wide?: boolean;
}

/**
 * Runs operations on a backend and owns every tensor they make. A recording tape remembers them, so that `backward` can add to the
 * gradients of the trainable weights; a tape that does not record frees intermediate tensors as soon as their block ends.
 */
export interface Tape {
  readonly backend: Backend;
  readonly recording: boolean;
  /** A tensor from outside as a value without gradient; the caller keeps owning it. */
  constant(tensor: Tensor): Value;
  embed(table: Weight, ids: Int32Array): Value;
  matmul(x: Value, w: Weight, options?: TapeMatmulOptions): Value;
  rmsNorm(x: Value, g: Weight, epsilon: number): Value;
  rotary(x: Value, positions: Int32Array, spec: RotarySpec): Value;
  attention(q: Value, k: Value, v: Value, segments: readonly AttentionSegment[], spec: AttentionSpec): Value;
  swiglu(gate: Value, up: Value): Value;
  add(a: Value, b: Value, options?: { scale?: number; wide?: boolean }): Value;
  dropout(x: Value, probability: number, seed: number): Value;
  gatherRows(x: Value, rows: Int32Array): Value;
  /** The weighted sum of losses [1,1]. */
  crossEntropy(logits: Value, targets: Int32Array, weights: Float32Array, labelSmoothing?: number): Value;
  /**
   * Runs `body` as one block. Not recording: everything made inside is freed but the result. Recording with recomputation: the same, and
   * the backward pass runs `body` again to get the intermediates back (so `body` must issue the same operations every time).
   */
  block(inputs: readonly Value[], body: (inputs: readonly Value[]) => Value): Value;
  /** Adds the gradients of `loss` [1,1] to every trainable weight it depends on, and frees all tensors of the tape but kept ones. */
  backward(loss: Value): void;
  /** Takes a tensor out of the tape: the caller frees it from now on. */
  keep(value: Value): Tensor;
  /** Frees every tensor that the tape still owns. */
  dispose(): void;
}

export interface TapeOptions {
  record: boolean;
  /** Recompute the inside of blocks during the backward pass instead of keeping it: less memory, about a third more time. */
  recompute?: boolean;
}
