import type {
  AttentionSegment,
  AttentionSpec,
  Backend,
  GatedOptions,
  RotarySpec,
  RowPositions,
  SwigluGradients,
  Tensor,
  Weight,
} from "./backend.ts";
import { GradientGraph, type Node, type Value } from "./gradient-graph.ts";

export type { Value } from "./gradient-graph.ts";

export interface TapeMatmulOptions {
  bias?: Weight | null;
  residual?: Value | null;
  scale?: number;
  wide?: boolean;
  /** Further products of the same shape; the sum is rounded once. */
  plus?: readonly { x: Value; w: Weight; scale?: number }[];
  /** Rotates the result as `rotary` does. */
  rotary?: (RotarySpec & RowPositions) | null;
}

/** Options of a product with a gate. */
export type TapeGatedOptions = Pick<TapeMatmulOptions, "bias" | "scale" | "plus">;

const numbersFrom = (start: number, count: number) => Int32Array.from({ length: count }, (_, i) => start + i);

/** A product of a sum, with the node of its x. */
interface Term {
  x: Value;
  w: Weight;
  scale: number;
  input: Node;
}

function productOptions([first, ...plus]: readonly Term[], { bias }: TapeMatmulOptions): GatedOptions {
  return { bias, scale: first.scale, plus: plus.map(({ x, w, scale }) => ({ x: x.tensor, w, scale })) };
}

/**
 * Runs operations on a backend and owns every tensor they make. A recording tape keeps a record of them, so that `backward` can add to
 * the gradients of the trainable weights; a tape that does not record frees intermediate tensors at the end of their block.
 */
export interface Tape {
  readonly backend: Backend;
  readonly recording: boolean;
  /** A tensor from outside as a value without gradient; the caller still owns it. */
  constant(tensor: Tensor): Value;
  embed(table: Weight, ids: Int32Array): Value;
  matmul(x: Value, w: Weight, options?: TapeMatmulOptions): Value;
  rmsNorm(x: Value, g: Weight, epsilon: number): Value;
  /** Rotated queries or keys, for attention with the same `rotary` only: its backward pass gives the gradients before the rotation. */
  rotary(x: Value, positions: Int32Array, spec: RotarySpec): Value;
  attention(q: Value, k: Value, v: Value, segments: readonly AttentionSegment[], spec: AttentionSpec): Value;
  swiglu(gate: Value, up: Value): Value;
  /** swiglu(gate, matmul(x, w, options)) in one pass. */
  matmulSwiglu(gate: Value, x: Value, w: Weight, options?: TapeGatedOptions): Value;
  add(a: Value, b: Value, options?: { scale?: number; wide?: boolean }): Value;
  /** `numbers` [T]: of the rows, for the mask; their places by default. */
  dropout(x: Value, probability: number, seed: number, numbers?: Int32Array | null): Value;
  gatherRows(x: Value, rows: Int32Array): Value;
  /** x · g / divisors + bias, column by column; the wide `divisors` [1,O] get no gradient. */
  scaleColumns(x: Value, g: Weight, divisors: Value, bias?: Weight | null): Value;
  tanh(x: Value): Value;
  /**
   * The rows of x and those of `rows` below them; narrow. With `rotary`, x is rotated and `rows` are keys as attention reads them, at the
   * positions 0, 1, …: attention rotates their gradients back with those of x, and this rotates them forward again.
   */
  appendRows(x: Value, rows: Value, rotary?: RotarySpec | null): Value;
  /** The weighted sum of losses [1,1]. Losses can be added to each other, nothing else. */
  crossEntropy(logits: Value, targets: Int32Array, weights: Float32Array, labelSmoothing?: number): Value;
  /**
   * Runs `body` as one block, which may use its inputs, constants and the values it makes itself. Without recording, everything made
   * inside is freed except the result. Recording with recomputation frees it too, and the backward pass runs `body` again to get the
   * intermediates back, so `body` must issue the same operations every time.
   */
  block(inputs: readonly Value[], body: (inputs: readonly Value[]) => Value): Value;
  /** Adds the gradients of `loss` [1,1] to every trainable weight it depends on, and frees all tensors of the tape except kept ones. */
  backward(loss: Value): void;
  /** Removes a tensor from the tape: from now on the caller owns it. */
  keep(value: Value): Tensor;
  /** Frees every tensor that the tape still owns. */
  dispose(): void;
}

export interface TapeOptions {
  record: boolean;
  /** Recompute the inside of blocks during the backward pass instead of keeping it: less memory, about a third more time. */
  recompute?: boolean;
}

/** Starts a tape on a backend. The caller must call `dispose`, also after an error, before it closes the backend. */
export function createTape(backend: Backend, options: TapeOptions): Tape {
  return new BackendTape(backend, options);
}

class BackendTape implements Tape {
  readonly backend: Backend;
  readonly recording: boolean;
  readonly #recompute: boolean;
  readonly #graph: GradientGraph;

  constructor(backend: Backend, options: TapeOptions) {
    this.backend = backend;
    this.recording = options.record;
    this.#recompute = options.recompute ?? false;
    this.#graph = new GradientGraph(backend, options.record);
  }

  constant(tensor: Tensor): Value {
    return this.#graph.constant(tensor);
  }

  embed(table: Weight, ids: Int32Array): Value {
    return this.#graph.result(this.backend.embed(table, ids), {
      inputs: [],
      weights: [table],
      backward: (dy) => this.backend.embedBackward(table, ids, dy.tensor),
    });
  }

  matmul(x: Value, w: Weight, options: TapeMatmulOptions = {}): Value {
    const terms = this.#termsOf(x, w, options);
    const residual = options.residual ? this.#graph.use(options.residual) : null;
    const y = this.backend.matmul(x.tensor, w, {
      ...productOptions(terms, options),
      residual: residual?.tensor,
      wide: options.wide,
      rotary: options.rotary,
    });
    return this.#product(y, terms, options.bias ?? null, residual, Boolean(options.rotary));
  }

  matmulSwiglu(gate: Value, x: Value, w: Weight, options: TapeGatedOptions = {}): Value {
    const terms = this.#termsOf(x, w, options);
    const gateNode = this.#graph.use(gate);
    const made = this.backend.matmulSwiglu(gate.tensor, x.tensor, w, productOptions(terms, options));
    return this.#swiglu(made.h, gateNode, this.#product(made.up, terms, options.bias ?? null, null));
  }

  #termsOf(x: Value, w: Weight, { scale = 1, plus = [] }: TapeMatmulOptions): Term[] {
    return [{ x, w, scale }, ...plus].map((term) => ({ scale: 1, ...term, input: this.#graph.use(term.x) }));
  }

  /** The value of a sum of products (+ bias + residual). */
  #product(y: Tensor, terms: readonly Term[], bias: Weight | null, residual: Node | null, rotated = false): Node {
    const inputs = terms.map((term) => term.input);
    const { thinColumns } = this.backend.policy;
    return this.#graph.result(y, {
      rotated,
      inputs: residual ? [...inputs, residual] : inputs,
      weights: [bias, ...terms.map((term) => term.w)],
      saved: terms.filter((term) => term.w.trainable).map((term) => term.input),
      backward: (dy) => {
        if (bias?.trainable) this.backend.biasBackward(dy.tensor, bias);
        for (const { input, w, scale } of terms) {
          if (w.trainable && w.columns <= thinColumns && this.#graph.needsOnly(input)) {
            this.#graph.give(input, this.backend.matmulBackward(dy.tensor, input.tensor, w, scale));
            continue;
          }
          if (w.trainable) this.backend.matmulBackwardWeight(dy.tensor, input.tensor, w, scale);
          this.#graph.giveProduct(input, { dy, w, scale });
        }
        if (residual) this.#graph.share(residual, dy);
      },
    });
  }

  rmsNorm(x: Value, g: Weight, epsilon: number): Value {
    const input = this.#graph.use(x);
    return this.#graph.result(this.backend.rmsNorm(x.tensor, g, epsilon), {
      inputs: [input],
      weights: [g],
      saved: [input],
      backward: (dy) => {
        const undo = (sum: Tensor | null) => this.backend.rmsNormBackward(x.tensor, g, dy.tensor, epsilon, sum);
        if (input.needsGradient) this.#graph.fold(input, undo);
        else this.backend.free(undo(null));
      },
    });
  }

  rotary(x: Value, positions: Int32Array, spec: RotarySpec): Value {
    const input = this.#graph.use(x);
    return this.#graph.result(this.backend.rotary(x.tensor, positions, spec), {
      inputs: [input],
      rotated: true,
      backward: (dy) => this.#graph.share(input, dy),
    });
  }

  attention(q: Value, k: Value, v: Value, segments: readonly AttentionSegment[], spec: AttentionSpec): Value {
    const rotated = Boolean(spec.rotary);
    const inputs = [this.#graph.use(q, rotated), this.#graph.use(k, rotated), this.#graph.use(v)];
    if (rotated && inputs.slice(0, 2).some((node) => node.needsGradient && !node.rotated)) {
      throw new Error("attention: rotary is given, but queries or keys were not rotated, expected rotated ones.");
    }
    const made = this.backend.attention(q.tensor, k.tensor, v.tensor, segments, spec);
    return this.#graph.result(made.output, {
      inputs,
      saved: inputs,
      savesOutput: true,
      extras: [this.#graph.own(made.logSumExp)],
      backward: (dy) => {
        const forward = { q: q.tensor, k: k.tensor, v: v.tensor, ...made };
        const { dq, dk, dv } = this.backend.attentionBackward(forward, dy.tensor, segments, spec);
        this.#graph.give(inputs[0], dq);
        this.#graph.give(inputs[1], dk);
        this.#graph.give(inputs[2], dv);
      },
    });
  }

  swiglu(gate: Value, up: Value): Value {
    const [gateNode, upNode] = [this.#graph.use(gate), this.#graph.use(up)];
    return this.#swiglu(this.backend.swiglu(gate.tensor, up.tensor), gateNode, upNode);
  }

  /** The value h = silu(gate) · up. If its gradient is a sum of products and nothing else, that sum is not stored. */
  #swiglu(h: Tensor, gate: Node, up: Node): Node {
    const give = ({ dGate, dUp }: SwigluGradients) => {
      this.#graph.give(gate, dGate);
      this.#graph.give(up, dUp);
    };
    return this.#graph.result(h, {
      inputs: [gate, up],
      saved: [gate, up],
      backward: (dy) => give(this.backend.swigluBackward(gate.tensor, up.tensor, dy.tensor)),
      backwardOfProducts: ({ x, w, scale }, plus) =>
        give(this.backend.matmulBackwardSwiglu(gate.tensor, up.tensor, x, w, { scale, plus })),
    });
  }

  add(a: Value, b: Value, options: { scale?: number; wide?: boolean } = {}): Value {
    const left = this.#graph.use(a);
    const right = this.#graph.use(b);
    const { scale = 1 } = options;
    const y = this.backend.add(a.tensor, b.tensor, options);
    if (left.isLoss && right.isLoss) {
      const lossBackward = (factor: number) => {
        left.lossGradient += factor;
        right.lossGradient += factor * scale;
      };
      return this.#graph.result(y, { inputs: [left, right], lossBackward });
    }
    return this.#graph.result(y, {
      inputs: [left, right],
      backward: (dy) => {
        this.#graph.share(left, dy);
        if (scale === 1) this.#graph.share(right, dy);
        else this.#graph.giveScaled(right, dy.tensor, scale);
      },
    });
  }

  dropout(x: Value, probability: number, seed: number, numbers: Int32Array | null = null): Value {
    const input = this.#graph.use(x);
    return this.#graph.result(this.backend.dropout(x.tensor, probability, seed, numbers), {
      inputs: [input],
      backward: (dy) => this.#graph.give(input, this.backend.dropout(dy.tensor, probability, seed, numbers)),
    });
  }

  gatherRows(x: Value, rows: Int32Array): Value {
    const input = this.#graph.use(x);
    return this.#graph.result(this.backend.gatherRows(x.tensor, rows), {
      inputs: [input],
      backward: (dy) => this.#graph.give(input, this.backend.gatherRowsBackward(dy.tensor, rows, x.tensor.rows)),
    });
  }

  scaleColumns(x: Value, g: Weight, divisors: Value, bias: Weight | null = null): Value {
    const [input, scales] = [this.#graph.use(x), this.#graph.use(divisors)];
    return this.#graph.result(this.backend.scaleColumns(x.tensor, g, divisors.tensor, bias), {
      inputs: [input],
      weights: [g, bias],
      saved: [input, scales],
      backward: (dy) => {
        if (bias?.trainable) this.backend.biasBackward(dy.tensor, bias);
        this.#graph.give(input, this.backend.scaleColumnsBackward(x.tensor, g, divisors.tensor, dy.tensor));
      },
    });
  }

  tanh(x: Value): Value {
    const input = this.#graph.use(x);
    const y = this.backend.tanh(x.tensor);
    return this.#graph.result(y, {
      inputs: [input],
      savesOutput: true,
      backward: (dy) => this.#graph.give(input, this.backend.tanhBackward(y, dy.tensor)),
    });
  }

  appendRows(x: Value, rows: Value, rotary: RotarySpec | null = null): Value {
    const inputs = [this.#graph.use(x, rotary !== null), this.#graph.use(rows)];
    const [above, below] = inputs.map(({ tensor }) => tensor);
    const total = above.rows + below.rows;
    const first = numbersFrom(0, above.rows);
    const last = numbersFrom(above.rows, below.rows);
    const y = this.backend.zeros(total, above.columns);
    this.backend.copyRows(above, y, first);
    this.backend.copyRows(below, y, last);
    return this.#graph.result(y, {
      inputs,
      rotated: rotary !== null,
      backward: ({ tensor: dy }) => {
        this.#graph.give(inputs[0], this.backend.gatherRows(dy, first));
        const given = this.backend.gatherRows(dy, last);
        if (!rotary) return this.#graph.give(inputs[1], given);
        this.#graph.give(inputs[1], this.backend.rotary(given, numbersFrom(0, below.rows), rotary));
        this.backend.free(given);
      },
    });
  }

  crossEntropy(logits: Value, targets: Int32Array, weights: Float32Array, labelSmoothing = 0): Value {
    const input = this.#graph.use(logits);
    const { loss, dLogits } = this.backend.crossEntropy(logits.tensor, targets, weights, labelSmoothing);
    const dInput = this.#graph.own(dLogits);
    return this.#graph.result(loss, {
      inputs: [input],
      extras: [dInput],
      lossBackward: (factor) => {
        if (factor === 1) this.#graph.share(input, dInput);
        else this.#graph.giveScaled(input, dLogits, factor);
      },
    });
  }

  block(inputs: readonly Value[], body: (inputs: readonly Value[]) => Value): Value {
    const nodes = inputs.map((value) => this.#graph.use(value));
    return this.#graph.block(nodes, body, this.#recompute);
  }

  backward(loss: Value): void {
    this.#graph.backward(this.#graph.use(loss));
  }

  keep(value: Value): Tensor {
    return this.#graph.keep(this.#graph.use(value));
  }

  dispose(): void {
    this.#graph.dispose();
  }
}
