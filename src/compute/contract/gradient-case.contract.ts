import { createRandom } from "../../base/random.ts";
import type { Tape, Value } from "../autograd.ts";
import type { AttentionSegment, AttentionSpec, Backend, RotarySpec, Weight, WeightStorage } from "../backend.ts";

// Small losses through every operation: their gradients are compared with finite differences on the reference.

/** A loss as a function of weights. */
export interface GradientCase {
  name: string;
  /** `flat`: those of `trainable` that the loss does not depend on. */
  build(backend: Backend): { trainable: Weight[]; flat: Set<Weight>; loss(tape: Tape): Value };
}

/** Makes random weights on a backend; the same seed gives the same numbers. */
export function weightMaker(backend: Backend, seed: number) {
  const random = createRandom(seed);
  const made: Weight[] = [];
  const flat = new Set<Weight>();
  return {
    made,
    flat,
    trainable: () => made.filter((weight) => weight.trainable),
    weight(
      rows: number,
      columns: number,
      options: { trainable?: boolean; flat?: boolean; offset?: number; spread?: number; storage?: WeightStorage } = {},
    ): Weight {
      const { trainable = true, offset = 0, spread = 0.7, storage = "float32" } = options;
      const values = Float64Array.from({ length: rows * columns }, () => offset + spread * random.normal());
      const name = `w${made.length} [${rows},${columns}]`;
      const weight = backend.weight({ name, rows, columns, storage, trainable }, values);
      made.push(weight);
      if (options.flat) flat.add(weight);
      return weight;
    },
  };
}

export type Maker = ReturnType<typeof weightMaker>;

const upTo = (count: number) => Int32Array.from({ length: count }, (_, i) => i);

/** Every row of a weight as a value. */
export const all = (tape: Tape, weight: Weight) => tape.embed(weight, upTo(weight.rows));

/** Turns y[T,C] into a loss that depends on every element in its own way. */
export function lossOf(tape: Tape, y: Value, labelSmoothing = 0): Value {
  const { rows, columns } = y.tensor;
  const targets = Int32Array.from({ length: rows }, (_, t) => (7 * t + 3) % columns);
  const weights = Float32Array.from({ length: rows }, (_, t) => 0.5 + 0.25 * (t % 4));
  return tape.crossEntropy(y, targets, weights, labelSmoothing);
}

export function gradientCase(name: string, body: (make: Maker) => (tape: Tape) => Value): GradientCase {
  return {
    name,
    build(backend) {
      const make = weightMaker(backend, 1 + name.length);
      const loss = body(make);
      return { trainable: make.trainable(), flat: make.flat, loss };
    },
  };
}

export const rotaryOf = (
  heads: number,
  headWidth: number,
  pairs: number,
  layout: RotarySpec["layout"],
): RotarySpec => ({
  heads,
  headWidth,
  frequencies: Float32Array.from({ length: pairs }, (_, i) => 10 ** -i),
  layout,
});

export const attentionOf = (heads: number, keyValueHeads: number, headWidth: number, alibi = false): AttentionSpec => ({
  heads,
  keyValueHeads,
  headWidth,
  scale: 1 / Math.sqrt(headWidth),
  slopes: alibi ? Float32Array.from({ length: heads }, (_, h) => 2 ** -(h + 1)) : null,
});

export const segment = (start: number, length: number, more: Partial<AttentionSegment> = {}): AttentionSegment => ({
  start,
  length,
  keyStart: start,
  position: start,
  context: [],
  ...more,
});

/** Rows 0..2 are a prefix that two later segments share; the last one also sees the middle of the first. Row 10 is in no segment. */
export const sharedPrefix: AttentionSegment[] = [
  segment(0, 3),
  segment(3, 4, { position: 3, context: [{ start: 0, length: 3, position: 0 }] }),
  segment(7, 3, {
    position: 5,
    context: [
      { start: 0, length: 3, position: 0 },
      { start: 4, length: 2, position: 4 },
    ],
  }),
];
export const sharedPositions = Int32Array.of(0, 1, 2, 3, 4, 5, 6, 5, 6, 7, 0);
