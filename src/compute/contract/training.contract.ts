import { expect, it } from "vitest";
import { createRandom } from "../../base/random.ts";
import { createTape, type Tape, type Value } from "../autograd.ts";
import type { AdamWSettings, Backend, Weight } from "../backend.ts";
import { openReference } from "../reference/backend.ts";
import type { Contract } from "./backend.contract.ts";
import { expectClose, expectSameBits } from "./comparison.contract.ts";
import { gradientCases } from "./gradient-cases.contract.ts";

export function trainingContract({ compare, open, tolerance, lossTolerance, openWithThreads }: Contract): void {
  it.each([
    [1, 5],
    [33, 45],
    [5, 1],
    [70, 300],
  ])("crossEntropy of logits [%i,%i]", async (rows, columns) => {
    const c = compare(columns);
    const targets = Int32Array.from({ length: rows }, (_, t) => (t * 13) % columns);
    const weights = Float32Array.from({ length: rows }, (_, t) => (t % 3) / 2 + (rows === 1 ? 1 : 0));
    for (const wide of [true, false]) {
      for (const labelSmoothing of [0, 0.1]) {
        const logits = await c.tensor(rows, columns, { wide, spread: 4 });
        const what = `smoothing ${labelSmoothing}`;
        const { loss } = await c.sameAll(what, ({ backend, of }) =>
          backend.crossEntropy(of(logits), targets, weights, labelSmoothing),
        );
        const expected = openReference({ precision: "float64" });
        const copy = expected.tensor(await c.subject.read(logits.subject), rows, columns);
        const exact = await expected.read(expected.crossEntropy(copy, targets, weights, labelSmoothing).loss);
        expectClose(what, await c.subject.read(loss.subject), exact, 1, 1e-5);
      }
    }
    await c.close();
  });

  it("crossEntropy stays finite for large logits", async () => {
    const backend = open();
    const logits = backend.tensor([1000, -1000, 0, -1000, 1000, 0], 2, 3, { wide: true });
    const { loss, dLogits } = backend.crossEntropy(logits, Int32Array.of(0, 0), Float32Array.of(1, 0.5));
    expect((await backend.read(loss))[0]).toBe(1000);
    expect(Array.from(await backend.read(dLogits), (value) => value + 0)).toEqual([0, 0, 0, -0.5, 0.5, 0]);
    await backend.close();
  });

  it("logProbabilities", async () => {
    const c = compare(31);
    for (const [rows, columns] of [
      [1, 5],
      [33, 45],
      [4, 300],
    ]) {
      for (const wide of [true, false]) {
        const logits = await c.tensor(rows, columns, { wide, spread: 4 });
        const picked = Int32Array.from({ length: 41 }, (_, n) => (n * 7) % rows);
        const tokens = Int32Array.from({ length: 41 }, (_, n) => (n * 11) % columns);
        const run = (side: { backend: Backend; of(x: typeof logits): (typeof logits)["judge"] }) =>
          side.backend.logProbabilities(side.of(logits), picked, tokens);
        await c.same("log probabilities", run, 1e-5);
      }
    }
    await c.close();
  });

  it("gradientNorm over several weights", async () => {
    const c = compare(32);
    const weights = [c.weight(33, 45), c.weight(1, 37), c.weight(100, 5)];
    for (const weight of weights) {
      const dy = await c.tensor(7, weight.judge.rows);
      const x = await c.tensor(7, weight.judge.columns);
      c.both(({ backend, of }) => {
        if (weight.judge.rows > 1) backend.matmulBackwardWeight(of(dy), of(x), of(weight));
        else backend.biasBackward(of(x), of(weight));
      });
    }
    const run = (side: { backend: Backend; of(weight: (typeof weights)[0]): Weight }) =>
      side.backend.gradientNorm(weights.map((weight) => side.of(weight)));
    await c.same("norm", run, Math.max(1e-5, tolerance / 10));
    await c.close();
  });

  it.each([
    [33, 45],
    [1, 37],
  ])("adamW follows a written-out float64 AdamW for 5 steps [%i,%i]", async (rows, columns) => {
    const backend = open();
    const count = rows * columns;
    const random = createRandom(33);
    const numbers = (spread: number) => Float32Array.from({ length: count }, () => spread * random.normal());
    const start = numbers(0.5);
    const weight = backend.weight({ name: "w", rows, columns, storage: "float32", trainable: true }, start);
    const value = Float64Array.from(start);
    const [moment1, moment2] = [new Float64Array(count), new Float64Array(count)];
    for (let step = 1; step <= 5; step++) {
      const gradient = numbers(step === 3 ? 1e-4 : 1);
      const settings: AdamWSettings = {
        learningRate: 0.01 * step,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weightDecay: 0.1,
        step,
        gradientScale: 0.5,
      };
      backend.writeWeight(weight, gradient, "gradient");
      backend.adamW([weight], settings);
      for (let i = 0; i < count; i++) {
        const g = gradient[i] / 2;
        moment1[i] += 0.1 * (g - moment1[i]);
        moment2[i] += 0.05 * (g * g - moment2[i]);
        const decayed = value[i] * (1 - settings.learningRate * 0.1);
        const direction = moment1[i] / (1 - 0.9 ** step) / (Math.sqrt(moment2[i] / (1 - 0.95 ** step)) + 1e-8);
        value[i] = decayed - settings.learningRate * direction;
      }
      expectClose(`value after step ${step}`, await backend.readWeight(weight), value, columns, 3e-6);
      expectClose(`moment1 after step ${step}`, await backend.readWeight(weight, "moment1"), moment1, columns, 3e-6);
      expectClose(`moment2 after step ${step}`, await backend.readWeight(weight, "moment2"), moment2, columns, 3e-6);
      expect(Float32Array.from(await backend.readWeight(weight, "gradient"))).toEqual(gradient);
    }
    if (rows > 1) await expectProductsRead(backend, weight, value, tolerance);
    await backend.close();
  });

  // Newton-Schulz steps act on singular values alone, so a gradient with known ones has a known update.
  it.each([
    [33, 45],
    [96, 40],
    [2, 3],
    [130, 130],
  ])("muon follows the singular values of gradients for 4 steps [%i,%i]", async (rows, columns) => {
    const backend = open();
    const spec = { name: "w", rows, columns, storage: "float32", trainable: true } as const;
    if (!backend.hasMuon) {
      const settings = { learningRate: 1, momentum: 0.9, weightDecay: 0 };
      expect(() => backend.muon([backend.weight(spec)], settings)).toThrow("does not have it");
      await backend.close();
      return;
    }
    const rank = Math.min(rows, columns);
    const [left, right] = [reflection(rows, 3), reflection(columns, 4)];
    const matrixOf = (singular: Float64Array) =>
      Float64Array.from({ length: rows * columns }, (_, at) => {
        const [r, c] = [Math.floor(at / columns), at % columns];
        return singular.reduce((sum, value, k) => sum + value * left(r, k) * right(c, k), 0);
      });
    const random = createRandom(35);
    const start = Float32Array.from({ length: rows * columns }, () => 0.01 * random.normal());
    const weight = backend.weight(spec, start);
    const others = openWithThreads ? [openWithThreads(1), openWithThreads(3)] : [];
    const copies = others.map((other) => ({ other, copy: other.weight(spec, start) }));
    const value = Float64Array.from(start);
    const moment = new Float64Array(rank);
    // Newton-Schulz steps multiply roundings: single numbers differ by more than the whole update does.
    const allowed = Math.max(2e-5, 6 * tolerance);
    for (let step = 1; step <= 4; step++) {
      const singular = Float64Array.from({ length: rank }, () => 10 ** (step - 3) * (1 + random.uniform()));
      const gradient = Float32Array.from(matrixOf(singular));
      const settings = { learningRate: 0.01 * step, momentum: 0.95, weightDecay: 0.1 };
      for (const [side, own] of [
        [backend, weight] as const,
        ...copies.map(({ other, copy }) => [other, copy] as const),
      ]) {
        side.writeWeight(own, gradient, "gradient");
        side.muon([own], settings);
      }
      for (let k = 0; k < rank; k++) moment[k] += 0.05 * (singular[k] - moment[k]);
      const update = moment.map((mean, k) => singular[k] + 0.95 * (mean - singular[k]));
      const norm = Math.hypot(...update) + 1e-7;
      const direction = matrixOf(update.map((one) => nearOne(one / norm)));
      const scale = 0.2 * Math.sqrt(Math.max(rows, columns));
      for (let i = 0; i < value.length; i++) {
        value[i] -= settings.learningRate * (scale * direction[i] + 0.1 * value[i]);
      }
      const got = await backend.readWeight(weight);
      expectClose(`value after step ${step}`, got, value, columns, allowed);
      expectClose("moment1", await backend.readWeight(weight, "moment1"), matrixOf(moment), columns, 1e-5);
      expect((await backend.readWeight(weight, "moment2")).every((one) => one === 0)).toBe(true);
      for (const { other, copy } of copies) {
        const [one, two] = [await other.readWeight(copy), await copies[0].other.readWeight(copies[0].copy)];
        expectSameBits("value with other threads", one, two);
      }
    }
    await expectProductsRead(backend, weight, Float64Array.from(await backend.readWeight(weight)), tolerance);
    await backend.close();
    for (const other of others) await other.close();
  });

  it("muon changes nothing but by decay where there is no gradient, and takes matrices only", async () => {
    const backend = open();
    if (backend.hasMuon) {
      const spec = { name: "w", rows: 4, columns: 5, storage: "float32", trainable: true } as const;
      const weight = backend.weight(spec, new Float32Array(20).fill(2));
      backend.muon([weight], { learningRate: 0.5, momentum: 0.95, weightDecay: 0.1 });
      expect(Array.from(await backend.readWeight(weight), (one) => Math.abs(one - 1.9) < 1e-6)).not.toContain(false);
      const vector = backend.weight({ ...spec, rows: 1 });
      const settings = { learningRate: 1, momentum: 0.9, weightDecay: 0 };
      expect(() => backend.muon([vector], settings)).toThrow('"w" is [1,5], expected a matrix of at least [2,2]');
      expect(() => backend.muon([weight], { ...settings, momentum: 1 })).toThrow("momentum is 1, expected less than 1");
    }
    await backend.close();
  });

  it("gradients of whole graphs", async () => {
    const wrong: string[] = [];
    for (const { name, build } of gradientCases) {
      const subject = open();
      const judge = openReference({ precision: "float64" });
      const [got, expected] = [build(subject), build(judge)];
      step(subject, got);
      step(judge, expected);
      expect(subject.memory().tensors, name).toBe(0);
      let [errors, squares] = [0, 0];
      for (const [i, weight] of got.trainable.entries()) {
        const gradient = await subject.readWeight(weight, "gradient");
        const exact = await judge.readWeight(expected.trainable[i], "gradient");
        exact.forEach((value, at) => {
          errors += (gradient[at] - value) ** 2;
          squares += value ** 2;
        });
      }
      // Roundings of many operations meet here, so the gradient is judged as one vector.
      const error = Math.sqrt(errors / squares);
      if (!(error <= 2 * tolerance)) wrong.push(`${name}: relative error of the gradient ${error}`);
      await subject.close();
    }
    expect(wrong.join("\n")).toBe("");
  });

  it.each(gradientCases.filter(({ name }) => name.startsWith("decoder")))(
    "20 steps of training: $name",
    async ({ build }) => {
      const [subject, judge] = [open(), openReference({ precision: "float64" })];
      const got = await losses(subject, build(subject));
      const expected = await losses(judge, build(judge));
      expect(expected.at(-1)).toBeLessThan(0.9 * expected[0]);
      const errors = got.map((loss, i) => Math.abs(loss / expected[i] - 1));
      const worst = errors.indexOf(Math.max(...errors));
      expect(errors[worst], `step ${worst}: ${got[worst]}, expected ${expected[worst]}`).toBeLessThan(lossTolerance);
      await subject.close();
    },
  );
}

/** Element (r, c) of an orthogonal matrix: the reflection by a random vector. */
function reflection(size: number, seed: number): (r: number, c: number) => number {
  const random = createRandom(seed);
  const vector = Float64Array.from({ length: size }, () => random.normal());
  const squares = vector.reduce((sum, one) => sum + one * one, 0);
  return (r, c) => (r === c ? 1 : 0) - (2 * vector[r] * vector[c]) / squares;
}

/** Five steps of Muon's polynomial (Jordan 2024). */
function nearOne(value: number): number {
  let x = value;
  for (let i = 0; i < 5; i++) x = 3.4445 * x - 4.775 * x ** 3 + 2.0315 * x ** 5;
  return x;
}

interface Trained {
  trainable: Weight[];
  loss(tape: Tape): Value;
}

/** Adds the gradients of the loss. */
function step(backend: Backend, { loss }: Trained): void {
  const tape = createTape(backend, { record: true });
  tape.backward(loss(tape));
}

async function losses(backend: Backend, { trainable, loss }: Trained): Promise<number[]> {
  const found: number[] = [];
  const settings = { learningRate: 0.002, beta1: 0.9, beta2: 0.99, epsilon: 1e-3, weightDecay: 0.01, gradientScale: 1 };
  for (let number = 1; number <= 20; number++) {
    const tape = createTape(backend, { record: true, recompute: number % 2 === 0 });
    const value = loss(tape);
    const kept = tape.keep(value);
    backend.zeroGradients(trainable);
    tape.backward(value);
    backend.adamW(trainable, { ...settings, step: number });
    found.push((await backend.read(kept))[0]);
    backend.free(kept);
  }
  return found;
}

/** Products read the renewed weight, forward and backward. */
async function expectProductsRead(backend: Backend, weight: Weight, value: Float64Array, tolerance: number) {
  const { rows, columns } = weight;
  const identity = (size: number) => {
    const values = new Float32Array(size * size);
    for (let i = 0; i < size; i++) values[i * size + i] = 1;
    return backend.tensor(values, size, size);
  };
  const forward = await backend.read(backend.matmul(identity(columns), weight, { wide: true }));
  const transposed = Float64Array.from(
    { length: rows * columns },
    (_, i) => value[(i % rows) * columns + Math.floor(i / rows)],
  );
  expectClose("what matmul reads", forward, transposed, rows, tolerance);
  const backward = await backend.read(backend.matmulBackwardInput(identity(rows), weight, { wide: true }));
  expectClose("what matmulBackwardInput reads", backward, value, columns, tolerance);
  const embedded = backend.embed(
    weight,
    Int32Array.from({ length: rows }, (_, i) => i),
  );
  expectClose("what embed reads", await backend.read(embedded), value, columns, tolerance);
}
