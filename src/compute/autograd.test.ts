import { describe, expect, it } from "vitest";
import { createTape, type Tape, type TapeOptions, type Value } from "./autograd.ts";
import type { Backend, KernelPolicy, Values, Weight } from "./backend.ts";
import { weightMaker } from "./contract/gradient-case.contract.ts";
import { gradientCases } from "./contract/gradient-cases.contract.ts";
import { openReference, referenceKernels } from "./reference/backend.ts";
import { createBackend } from "./shell.ts";

const lossAlone = async (backend: Backend, loss: (tape: Tape) => Value) => {
  const tape = createTape(backend, { record: true });
  const [value] = await backend.read(loss(tape).tensor);
  tape.dispose();
  return value;
};

async function gradientsOf(backend: Backend, weights: Weight[], loss: (tape: Tape) => Value, options: TapeOptions) {
  backend.zeroGradients(weights);
  const tape = createTape(backend, options);
  tape.backward(loss(tape));
  return Promise.all(weights.map((weight) => backend.readWeight(weight, "gradient")));
}

/** Central differences of the loss at some elements of a weight, spread evenly. */
async function differences(backend: Backend, weight: Weight, loss: (tape: Tape) => Value) {
  const values = await backend.readWeight(weight);
  const stride = Math.max(1, Math.floor(values.length / 24));
  const found: { index: number; slope: number }[] = [];
  for (let index = 0; index < values.length; index += stride) {
    const step = 1e-4;
    // Five points: the error is of order step⁴, so that 1e-7 can be asked for.
    const at = async (offset: number) => {
      const moved = values.slice();
      moved[index] += offset * step;
      backend.writeWeight(weight, moved);
      return lossAlone(backend, loss);
    };
    const near = (await at(1)) - (await at(-1));
    const far = (await at(2)) - (await at(-2));
    found.push({ index, slope: (8 * near - far) / (12 * step) });
  }
  backend.writeWeight(weight, values);
  return found;
}

/** The element that differs most, in words; null when it is within `tolerance` of the largest value. */
function worstDifference(name: string, got: Values, expected: Values, tolerance: number): string | null {
  let [worst, scale] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    scale = Math.max(scale, Math.abs(expected[i]));
    if (!(Math.abs(got[i] - expected[i]) <= Math.abs(got[worst] - expected[worst]))) worst = i;
  }
  const isClose = Math.abs(got[worst] - expected[worst]) <= tolerance * scale;
  return isClose ? null : `${name}[${worst}]: ${got[worst]}, expected ${expected[worst]}`;
}

describe("gradients against finite differences in float64", () => {
  for (const { name, build } of gradientCases) {
    it(name, async () => {
      const backend = openReference({ precision: "float64" });
      const { trainable, flat, loss } = build(backend);
      expect(trainable.length).toBeGreaterThan(0);
      const gradients = await gradientsOf(backend, trainable, loss, { record: true });
      expect(backend.memory().tensors, "tensors left after backward").toBe(0);
      const wrong: string[] = [];
      for (const [w, weight] of trainable.entries()) {
        const scale = Math.max(...gradients[w].map(Math.abs));
        if (flat.has(weight)) expect(scale, `largest gradient of ${weight.name}`).toBeLessThan(1e-12);
        else expect(scale, `largest gradient of ${weight.name}`).toBeGreaterThan(0);
        for (const { index, slope } of await differences(backend, weight, loss)) {
          const error = Math.abs(gradients[w][index] - slope) / Math.max(Math.abs(slope), 0.01 * scale, 1e-4);
          if (error > 1e-7) wrong.push(`${weight.name}[${index}]: ${gradients[w][index]}, differences give ${slope}`);
        }
      }
      expect(wrong).toEqual([]);
    });
  }
});

describe("recomputed blocks", () => {
  for (const { name, build } of gradientCases) {
    it(`give the same gradients: ${name}`, async () => {
      const backend = openReference({ precision: "float64" });
      const { trainable, loss } = build(backend);
      const plain = await gradientsOf(backend, trainable, loss, { record: true });
      const again = await gradientsOf(backend, trainable, loss, { record: true, recompute: true });
      // Sums may be added in another order.
      const wrong = plain.flatMap((gradient, w) => worstDifference(trainable[w].name, again[w], gradient, 1e-12) ?? []);
      expect(wrong).toEqual([]);
      expect(backend.memory().tensors).toBe(0);
    });
  }

  it("keep less during the forward pass", () => {
    const { build } = gradientCases.find(({ name }) => name.startsWith("decoder, everything"))!;
    const alive = (options: TapeOptions) => {
      const backend = openReference();
      const { loss } = build(backend);
      const tape = createTape(backend, options);
      loss(tape);
      return backend.memory().tensors;
    };
    const plain = alive({ record: true });
    const recomputed = alive({ record: true, recompute: true });
    expect(recomputed).toBeLessThan(plain - 15);
    expect(alive({ record: false })).toBeLessThanOrEqual(recomputed);
  });
});

/** Weights x[3,4] and w[4,4] with a tape and the number of tensors alive. */
function small(options: TapeOptions, precision: "float32" | "float64" = "float32") {
  const backend = openReference({ precision });
  const make = weightMaker(backend, 3);
  const x = make.weight(3, 4);
  const w = make.weight(4, 4);
  const tape = createTape(backend, options);
  const tensors = () => backend.memory().tensors;
  return { backend, make, x, w, tape, tensors, ids: Int32Array.of(0, 1, 2) };
}

const targets = Int32Array.of(1, 2, 3);
const ones = Float32Array.of(1, 1, 1);

describe("ownership", () => {
  it("frees the inside of a block when not recording", () => {
    const { tape, tensors, x, w, ids } = small({ record: false });
    const input = tape.embed(x, ids);
    const result = tape.block([input], ([value]) => tape.swiglu(tape.matmul(value, w), tape.matmul(value, w)));
    expect(tensors()).toBe(2);
    expect(result.needsGradient).toBe(false);
    tape.dispose();
    expect(tensors()).toBe(0);
  });

  it("frees what no backward step reads at the end of a recorded block", () => {
    const { tape, tensors, x, w, ids } = small({ record: true });
    const input = tape.embed(x, ids);
    tape.block([input], ([value]) => tape.add(tape.add(value, value), tape.matmul(value, w)));
    expect(tensors()).toBe(2); // the input, for the gradient of w, and the result
  });

  it("does not keep the inputs of frozen products", () => {
    const { make, tape, tensors, x, ids } = small({ record: true });
    const frozen = make.weight(4, 4, { trainable: false });
    tape.block([tape.embed(x, ids)], ([value]) => tape.matmul(tape.matmul(value, frozen), frozen));
    expect(tensors()).toBe(2); // the embedding, made outside of the block, and the result
  });

  it("leaves kept tensors to the caller", async () => {
    const { backend, tape, tensors, x, w, ids } = small({ record: true });
    const loss = tape.crossEntropy(tape.matmul(tape.embed(x, ids), w), targets, ones);
    const kept = tape.keep(loss);
    tape.backward(loss);
    expect(tensors()).toBe(1);
    expect((await backend.read(kept))[0]).toBeGreaterThan(0);
    backend.free(kept);
    expect(tensors()).toBe(0);
  });

  it("never frees a constant", () => {
    const { backend, tape, tensors, w } = small({ record: true });
    const outside = backend.zeros(3, 4);
    const loss = tape.block([], () => tape.crossEntropy(tape.matmul(tape.constant(outside), w), targets, ones));
    tape.backward(loss);
    expect(tensors()).toBe(1);
    backend.free(outside);
  });

  it("disposes twice without harm, also after an error inside a block", () => {
    const { tape, tensors, x, w, ids } = small({ record: true, recompute: true });
    const input = tape.embed(x, ids);
    const failing = () =>
      tape.block([input], ([value]) => {
        tape.matmul(value, w);
        throw new Error("broken");
      });
    expect(failing).toThrow("broken");
    const loss = tape.crossEntropy(input, targets, ones);
    expect(loss.needsGradient).toBe(true);
    tape.dispose();
    tape.dispose();
    expect(tensors()).toBe(0);
  });

  it("frees everything when the backward pass fails", () => {
    const { backend, tape, tensors, x, w, ids } = small({ record: true });
    const value = tape.embed(x, ids);
    const loss = tape.crossEntropy(tape.matmul(value, w), targets, ones);
    backend.matmulBackwardInput = () => {
      throw new Error("out of memory");
    };
    expect(() => tape.backward(loss)).toThrow("out of memory");
    expect(tensors()).toBe(0);
  });

  it("can be used again after backward, adding to the gradients", async () => {
    const { backend, tape, x, w, ids } = small({ record: true });
    const step = () => tape.backward(tape.crossEntropy(tape.matmul(tape.embed(x, ids), w), targets, ones));
    step();
    const once = await backend.readWeight(w, "gradient");
    step();
    const twice = await backend.readWeight(w, "gradient");
    expect(twice).toEqual(once.map((value) => 2 * value));
  });
});

describe("gradient width", () => {
  it("adds products up in one sum, which has the width of the value", () => {
    const { backend, tape, x, w, ids } = small({ record: true });
    const seen: { wide: boolean; terms: number }[] = [];
    const plain = backend.matmulBackwardInput.bind(backend);
    backend.matmulBackwardInput = (dy, weight, options) => {
      seen.push({ wide: options?.wide ?? false, terms: 1 + (options?.plus?.length ?? 0) });
      return plain(dy, weight, options);
    };
    const narrow = tape.dropout(tape.matmul(tape.embed(x, ids), w), 0.5, 1);
    const y = tape.add(tape.matmul(narrow, w), tape.matmul(narrow, w));
    tape.backward(tape.crossEntropy(y, targets, ones));
    expect(seen).toEqual([
      { wide: false, terms: 2 },
      { wide: true, terms: 1 }, // the embedding is wide
    ]);
  });
});

describe("kernel policy", () => {
  /** The calls of the backward pass of x · wᵀ, whose gradient has three products. */
  const backwardCalls = (policy: KernelPolicy) => {
    const backend = createBackend({ ...referenceKernels("float64"), policy });
    const make = weightMaker(backend, 3);
    const [x, w, v] = [make.weight(3, 4), make.weight(4, 4, { trainable: false }), make.weight(5, 4)];
    const calls: string[] = [];
    const { matmulBackwardInput, matmulBackward } = Object.getPrototypeOf(backend) as Backend;
    backend.matmulBackwardInput = (dy, weight, options) => {
      calls.push(`${1 + (options?.plus?.length ?? 0)} terms`);
      return matmulBackwardInput.call(backend, dy, weight, options);
    };
    backend.matmulBackward = (...given) => {
      calls.push("both gradients");
      return matmulBackward.call(backend, ...given);
    };
    const tape = createTape(backend, { record: true });
    const input = tape.matmul(tape.embed(x, Int32Array.of(0, 1, 2)), w, { wide: true });
    const inner = tape.add(tape.matmul(input, w), tape.add(tape.matmul(input, w), tape.matmul(input, w)));
    tape.backward(tape.crossEntropy(tape.matmul(tape.add(inner, inner, { wide: true }), v), targets, ones));
    return calls;
  };

  it("bounds the terms of a sum", () => {
    expect(backwardCalls({ sumTerms: 16, thinColumns: 0 })).toEqual(["1 terms", "3 terms", "1 terms"]);
    expect(backwardCalls({ sumTerms: 2, thinColumns: 0 })).toEqual(["1 terms", "2 terms", "1 terms", "1 terms"]);
  });

  it("chooses both gradients in one pass for trainable weights of few columns", () => {
    expect(backwardCalls({ sumTerms: 16, thinColumns: 3 })).not.toContain("both gradients");
    expect(backwardCalls({ sumTerms: 16, thinColumns: 4 })).toEqual(["both gradients", "3 terms", "1 terms"]);
  });
});

describe("misuse", () => {
  it("names what is wrong", () => {
    const { backend, make, tape, x, w, ids } = small({ record: true });
    const input = tape.embed(x, ids);
    const loss = tape.crossEntropy(input, targets, ones);
    const other = createTape(backend, { record: true }).embed(x, ids);
    expect(() => tape.rmsNorm(other, w, 1e-5)).toThrow("the value [3,4] is not of this tape");
    const spec = { heads: 1, headWidth: 4, frequencies: Float32Array.of(1), layout: "halves" } as const;
    const rotated = tape.rotary(input, ids, spec);
    expect(() => tape.matmul(rotated, w)).toThrow(
      "the value [3,4] was rotated, expected only attention with rotary to use it",
    );
    const attention = { ...spec, keyValueHeads: 1, scale: 1, slopes: null, rotary: spec };
    expect(() => tape.attention(rotated, input, input, [], attention)).toThrow("were not rotated");
    expect(() => tape.attention(rotated, rotated, input, [], { ...attention, rotary: null })).toThrow("was rotated");
    expect(() => tape.backward(input)).toThrow("the value [3,4] is not a loss, expected a result of crossEntropy");
    expect(() => tape.matmul(loss, make.weight(1, 1))).toThrow("a loss is used as an operand");
    expect(() => tape.block([], () => tape.matmul(input, w))).toThrow("expected it among the inputs of the block");
    let inside: Value | null = null;
    tape.block([input], ([value]) => {
      inside = tape.add(value, value);
      return tape.matmul(value, w);
    });
    expect(() => tape.add(inside!, inside!)).toThrow("was freed: a block leaves only its result");
    const undoInside = () =>
      tape.block([loss], ([value]) => {
        tape.backward(value);
        return value;
      });
    expect(undoInside).toThrow("called inside a block");
    const frozen = make.weight(3, 4, { trainable: false });
    const frozenLoss = tape.crossEntropy(tape.embed(frozen, ids), targets, ones);
    expect(() => tape.backward(frozenLoss)).toThrow("the loss depends on no trainable weight");
    const silent = createTape(backend, { record: false });
    const silentLoss = silent.crossEntropy(silent.embed(x, ids), targets, ones);
    expect(() => silent.backward(silentLoss)).toThrow("the tape does not record");
  });
});
