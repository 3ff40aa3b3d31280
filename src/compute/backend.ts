/**
 * The contract of a backend: the operations that compute and train models. A new backend supplies the kernels of kernels.ts, and
 * `createBackend` of shell.ts does the rest.
 *
 * Shape letters: B batch, T tokens, S cached, H query heads, G key/value heads, D head width, C model width, F feed-forward, V vocabulary,
 * R rank; for weights O outputs and I inputs.
 *
 * Rules that every backend keeps (src/compute/contract/backend.contract.ts tests them):
 * 1. A tensor is an opaque matrix [rows, columns]; its memory layout belongs to its backend. Tokens of a batch are packed as rows, without padding.
 * 2. Operations are issued in order and take effect in order; they return at once. Only `read*`, `sync`, `close` and `weightFromChunks` are
 *    awaited.
 * 3. A tensor does not change after it was made, except by operations that say so (`copyRows`). The caller frees every tensor it gets;
 *    freeing is in order too, so an operation issued before keeps its operands.
 * 4. A narrow tensor has the backend's precision (activations), a wide tensor always has float32 (residual stream, its gradient, losses).
 *    Operations accept either width; each says what it returns.
 * 5. The same operations give the same numbers: results do not depend on the number of threads or on timing.
 * 6. Misuse (shapes that do not fit, a freed tensor, an id out of range) throws an Error at the call that made the mistake.
 */

/** Row-major numbers on the JavaScript side; the float64 reference gives Float64Array. */
export type Values = Float32Array | Float64Array;

export type Precision = "float32" | "bfloat16" | "float64";

/**
 * The number format of a weight; products of "w8a8" quantise their activations too and multiply 8-bit numbers, forward only. It belongs to the weight, never to the model or the method.
 */
export type WeightStorage = "float32" | "bfloat16" | "int8" | "nf4" | "w8a8";

/** An opaque matrix [rows, columns] on a backend. */
export interface Tensor {
  readonly rows: number;
  readonly columns: number;
  readonly wide: boolean;
}

/** An opaque weight w[O,I] on a backend, kept ready for products; a vector (norm, bias) is [1,C]. */
export interface Weight {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly storage: WeightStorage;
  /** A trainable weight has a float32 master, a gradient and two moments, in addition to the copy that products read. */
  readonly trainable: boolean;
  /** Counts the changes of its value: what was computed from the value holds while this is the same. */
  readonly revision: number;
}

export interface WeightSpec {
  name: string;
  rows: number;
  columns: number;
  storage: WeightStorage;
  trainable: boolean;
}

/** Element types of numbers in files, little-endian. */
export type RawType = "F32" | "F16" | "BF16";

/** A matrix as it is in a file: raw elements, row-major, in chunks of whole rows; every chunk but the last has a multiple of 32 rows. */
export interface RawMatrix {
  type: RawType;
  /** The source may overwrite a chunk's memory when it is asked for the second chunk after it. */
  chunks: AsyncIterable<Uint8Array>;
  /** Divides every row by its length (torch.nn.functional.normalize). */
  normalized?: boolean;
}

/** The parts of a trainable weight. */
export type WeightPart = "value" | "gradient" | "moment1" | "moment2";

/** Consecutive rows of a key tensor. `position` is the sequence position of the first one (ALiBi and rotary embedding need it). */
export interface KeySpan {
  start: number;
  length: number;
  position: number;
}

/**
 * Consecutive query rows of one sequence. Row i sees every row of every context span, and rows 0..i of the segment's own keys; the first
 * `bidirectional` rows also see each other. Shared prefixes, label tries and caches are all context spans.
 */
export interface AttentionSegment {
  /** First query row, number of rows. */
  start: number;
  length: number;
  /** Where the segment's own keys start in the key tensor (equal to `start` unless keys are cached). */
  keyStart: number;
  /** Sequence position of the first row. */
  position: number;
  context: readonly KeySpan[];
  /** How many of the first rows see each other in both directions, as the prefix of a prefix LM (Raffel et al. 2020); absent: none. */
  bidirectional?: number;
}

export interface AttentionSpec {
  heads: number; // H
  keyValueHeads: number; // G, divides H
  headWidth: number; // D
  /** Factor on q·k, usually 1/√D. */
  scale: number;
  /** ALiBi slopes, one per head: −slope · |query position − key position| is added to the scaled score; null without ALiBi. */
  slopes: Float32Array | null;
  /**
   * The rotation that q and k went through, by the positions of their segments and spans. With it, `attentionBackward` rotates dq and dk
   * back and returns the gradients of queries and keys before the rotation; then a key row has one position in all segments that see it.
   * Absent or null: the gradients of q and k as given.
   */
  rotary?: Rotation | null;
}

/** Rotary embedding: pairs of a head's columns rotate by a token's position (Su et al. 2021). */
export interface Rotation {
  /** Angle per position of each pair; 2 × length is the rotated width, the rest of a head passes through. */
  frequencies: Float32Array;
  /** interleaved: pairs (2i, 2i+1), as in llama2.c and ChatGLM; halves: pairs (i, i + width/2), as in Hugging Face. */
  layout: "interleaved" | "halves";
}

export interface RotarySpec extends Rotation {
  heads: number;
  headWidth: number; // D
}

export interface RowPositions {
  /** The position of each row. */
  positions: Int32Array;
}

/** A further product of a sum: scale · x · wᵀ, or scale · x · w backward, where x is the gradient of that product's result. */
export interface ProductTerm {
  x: Tensor;
  w: Weight;
  scale?: number;
}

export interface MatmulOptions {
  /** b[1,O], added once. */
  bias?: Weight | null;
  /** Added after the product, of the result's shape. */
  residual?: Tensor | null;
  /** Factor on the product only (not on bias or residual); 1 by default. */
  scale?: number;
  /** Width of the result; narrow by default. */
  wide?: boolean;
  /** Products of the result's shape; the sum is rounded once. With the first product at most `policy.sumTerms`. */
  plus?: readonly ProductTerm[];
  /** Rotates the result as `rotary` does (forward, without residual). */
  rotary?: (RotarySpec & RowPositions) | null;
}

/** Options of a product with a gate, a part of {@link MatmulOptions}. */
export type GatedOptions = Pick<MatmulOptions, "bias" | "scale" | "plus">;

export interface SwigluGradients {
  dGate: Tensor;
  dUp: Tensor;
}

export interface AdamWSettings {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  /** Decoupled decay: w ← w − learningRate · weightDecay · w (Loshchilov & Hutter 2019). */
  weightDecay: number;
  /** Number of this update, counted from 1, for the bias correction. */
  step: number;
  /** Factor on the gradient (clipping, accumulation). */
  gradientScale: number;
}

export interface MuonSettings {
  learningRate: number;
  /** Decay of the mean gradient, with Nesterov's look ahead. */
  momentum: number;
  /** Decoupled decay, as that of AdamW. */
  weightDecay: number;
}

export interface MemoryUse {
  bytes: number;
  peakBytes: number;
  /** Tensors and weights that are alive, for leak tests. */
  tensors: number;
  weights: number;
}

/** What autograd asks a backend before it chooses between operations that give the same numbers. */
export interface KernelPolicy {
  /** Most products in one sum: the first one and `plus`. */
  readonly sumTerms: number;
  /** `matmulBackward` is faster than its two halves for weights up to this number of columns; 0 where it never is. */
  readonly thinColumns: number;
}

export interface Backend {
  /** "reference" or "native". */
  readonly name: string;
  /** For people: instruction set, threads, precision. */
  readonly description: string;
  /** Instruction set and precision. Backends of another arithmetic round in another order: their numbers differ in the last digits. */
  readonly arithmetic: string;
  readonly precision: Precision;
  readonly policy: KernelPolicy;
  /** Whether it has the operation `muon`. */
  readonly hasMuon: boolean;

  // ---- tensors
  /** A tensor from row-major values [rows, columns]. */
  tensor(values: ArrayLike<number>, rows: number, columns: number, options?: { wide?: boolean }): Tensor;
  zeros(rows: number, columns: number, options?: { wide?: boolean }): Tensor;
  /** The values, row-major [rows, columns]. */
  read(tensor: Tensor): Promise<Values>;
  free(tensor: Tensor): void;

  // ---- weights
  /** A weight from row-major values [O,I]; zeros without values. */
  weight(spec: WeightSpec, values?: ArrayLike<number>): Weight;
  /** A weight whose values come in chunks of rows; keeps no copy of the chunks. Rejects when rows are missing or too many. */
  weightFromChunks(spec: WeightSpec, matrix: RawMatrix): Promise<Weight>;
  /** Replaces one part; "value" also renews the copy that products read. */
  writeWeight(weight: Weight, values: ArrayLike<number>, part?: WeightPart): void;
  /** One part, row-major [O,I]. */
  readWeight(weight: Weight, part?: WeightPart): Promise<Values>;
  freeWeight(weight: Weight): void;

  // ---- operations
  /** y[T,C] = rows `ids` of table[V,C]; wide. */
  embed(table: Weight, ids: Int32Array): Tensor;
  /** table.gradient[ids[t]] += dy[t]. */
  embedBackward(table: Weight, ids: Int32Array, dy: Tensor): void;

  /** y[T,O] = scale · x[T,I] · wᵀ + plus + bias + residual. */
  matmul(x: Tensor, w: Weight, options?: MatmulOptions): Tensor;
  /** dx[T,I] = scale · dy[T,O] · w + plus + residual (bias is not allowed here). */
  matmulBackwardInput(dy: Tensor, w: Weight, options?: MatmulOptions): Tensor;
  /** w.gradient[O,I] += scale · dyᵀ · x. */
  matmulBackwardWeight(dy: Tensor, x: Tensor, w: Weight, scale?: number): void;
  /** matmulBackwardWeight, and the wide result of matmulBackwardInput; one pass over dy where `policy.thinColumns` says so. */
  matmulBackward(dy: Tensor, x: Tensor, w: Weight, scale?: number): Tensor;
  /** b.gradient[1,O] += column sums of dy[T,O]. */
  biasBackward(dy: Tensor, b: Weight): void;

  /** y = x / √(mean(x²) + epsilon) · g[1,C], row by row; with g[1,D] for x[T,H·D] head by head; narrow. */
  rmsNorm(x: Tensor, g: Weight, epsilon: number): Tensor;
  /** dx (+ residual), wide; adds to g.gradient when g is trainable. */
  rmsNormBackward(x: Tensor, g: Weight, dy: Tensor, epsilon: number, residual?: Tensor | null): Tensor;

  /** x[T,H·D] with each head's pairs rotated by position · frequency, or back for the gradient; narrow. */
  rotary(x: Tensor, positions: Int32Array, spec: RotarySpec, direction?: "forward" | "backward"): Tensor;

  /**
   * Softmax attention of q[T,H·D] over k, v[S,G·D], segment by segment; query head h reads key/value head ⌊h·G/H⌋.
   * Query rows outside of all segments give zeros. `output` [T,H·D] narrow; `logSumExp` [T,H] wide, for the backward pass.
   */
  attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { output: Tensor; logSumExp: Tensor };
  /** Gradients of q, k, v (narrow). */
  attentionBackward(
    forward: { q: Tensor; k: Tensor; v: Tensor; output: Tensor; logSumExp: Tensor },
    dOutput: Tensor,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { dq: Tensor; dk: Tensor; dv: Tensor };

  /** h[T,F] = silu(gate) · up; narrow. */
  swiglu(gate: Tensor, up: Tensor): Tensor;
  swigluBackward(gate: Tensor, up: Tensor, dh: Tensor): SwigluGradients;
  /** up = matmul(x, w, options) and h = silu(gate) · up in one pass; narrow. */
  matmulSwiglu(gate: Tensor, x: Tensor, w: Weight, options?: GatedOptions): { up: Tensor; h: Tensor };
  /** swigluBackward(gate, up, dh) for dh = matmulBackwardInput(dy, w, options), which is not stored (bias is not allowed here). */
  matmulBackwardSwiglu(gate: Tensor, up: Tensor, dy: Tensor, w: Weight, options?: GatedOptions): SwigluGradients;

  /** a + scale · b; width of `a` by default. */
  add(a: Tensor, b: Tensor, options?: { scale?: number; wide?: boolean }): Tensor;
  /**
   * Zeroes elements of x with the given probability and divides the others by (1 − probability); width of x. {@link dropoutKeeps} decides
   * by (seed, row, column) alone, so the same call on dy gives the gradient. The row is `numbers[r]` of `numbers` [T], else r: with numbers a
   * row keeps its mask wherever it is packed.
   */
  dropout(x: Tensor, probability: number, seed: number, numbers?: Int32Array | null): Tensor;

  /** y[T,O] = x · g / divisors + bias, column by column, with g[1,O] and wide divisors[1,O]; a divisor of 0 gives the factor 0; narrow. */
  scaleColumns(x: Tensor, g: Weight, divisors: Tensor, bias?: Weight | null): Tensor;
  /** dx (narrow); adds to g.gradient when g is trainable. */
  scaleColumnsBackward(x: Tensor, g: Weight, divisors: Tensor, dy: Tensor): Tensor;
  /** out[1,T] = √ of the sum of the squares of each row of x; wide. */
  rowNorms(x: Tensor): Tensor;
  /** y = tanh(x); narrow. */
  tanh(x: Tensor): Tensor;
  /** dx = dy · (1 − y²), with y = tanh(x); narrow. */
  tanhBackward(y: Tensor, dy: Tensor): Tensor;

  /** y[i] = x[rows[i]]; width of x. */
  gatherRows(x: Tensor, rows: Int32Array): Tensor;
  /** dx[totalRows, C] with dx[rows[i]] += dy[i], zeros elsewhere; width of dy. */
  gatherRowsBackward(dy: Tensor, rows: Int32Array, totalRows: number): Tensor;
  /** destination[rows[i]] = source[i], in place; writes keys and values to a cache. */
  copyRows(source: Tensor, destination: Tensor, rows: Int32Array): void;

  /**
   * loss[1,1] = Σ weights[t] · −log softmax(logits[t])[targets[t]] (wide) and its gradient dLogits[T,V] (narrow).
   * With label smoothing ε the target is (1 − ε) on the token and ε/V on every token.
   */
  crossEntropy(
    logits: Tensor,
    targets: Int32Array,
    weights: Float32Array,
    labelSmoothing?: number,
  ): { loss: Tensor; dLogits: Tensor };
  /** out[1,N] = log softmax(logits[rows[n]])[tokens[n]]; wide. */
  logProbabilities(logits: Tensor, rows: Int32Array, tokens: Int32Array): Tensor;
  /** out[T,1] = index of the largest value of each row, the first one on ties; wide. */
  argmax(x: Tensor): Tensor;

  // ---- training
  zeroGradients(weights: readonly Weight[]): void;
  /** out[1,1] = √ of the sum of all squared gradient elements; wide. */
  gradientNorm(weights: readonly Weight[]): Tensor;
  /** One AdamW update of master values and moments; renews the copy that products read. */
  adamW(weights: readonly Weight[], settings: AdamWSettings): void;

  /**
   * One Muon update of the master values of matrices of at least 2 × 2 (Jordan 2024; scale and decay of Liu et al. 2025, arXiv:2502.16982):
   * m ← momentum · m + (1 − momentum) · gradient in moment1, u = (1 − momentum) · gradient + momentum · m,
   * w ← w − learningRate · (0.2 · √max(O,I) · orthogonal(u) + weightDecay · w), where orthogonal is five Newton-Schulz steps from u / |u|.
   * Leaves moment2 alone; renews the copy that products read. Throws an Error where `hasMuon` is false.
   */
  muon(weights: readonly Weight[], settings: MuonSettings): void;

  memory(): MemoryUse;
  /** Resolves when everything issued so far has taken effect. */
  sync(): Promise<void>;
  /** Frees everything; any later use throws. */
  close(): Promise<void>;
}

/** Whether dropout keeps element (row, column): compares a 32-bit mix (murmur3 finaliser) with probability · 2³². The same on all backends. */
export function dropoutKeeps(seed: number, row: number, column: number, probability: number): boolean {
  let hash = (seed ^ Math.imul(row, 0x9e3779b1) ^ Math.imul(column, 0x85ebca77)) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  hash = (hash ^ (hash >>> 16)) >>> 0;
  return hash >= Math.floor(probability * 4294967296);
}

/** Rounds to the nearest bfloat16 value (ties to even), kept as a number. */
export function roundToBfloat16(value: number): number {
  float[0] = value;
  if (Number.isNaN(value)) return value;
  bits[0] = (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & 0xffff0000;
  return float[0];
}
const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
