import { expect, it } from "vitest";
import { createRandom } from "../../base/random.ts";
import type { Backend, WeightStorage } from "../backend.ts";
import type { Contract } from "./backend.contract.ts";

const storages = ["bfloat16", "int8", "nf4"] as const;

// [T, I, O]: single rows and columns, groups of 64 cut short.
const shapes = [
  [1, 5, 3],
  [1, 200, 70],
  [7, 257, 31],
  [16, 64, 32],
  [17, 70, 65],
  [20, 100, 64],
  [33, 129, 40],
  [130, 17, 65],
] as const;

// Several chunks of depth, every way to cut rows, many panels of columns.
const shapesOfBlocks = [
  [32, 577, 33],
  [48, 600, 70],
  [64, 330, 33],
  [70, 1100, 45],
  [520, 33, 40],
  [40, 70, 1200],
] as const;

/** Frozen weights in every storage, with the same products in both directions from what the storage made of them. */
export function storageContract({ compare, open, tolerance, hasBlocks }: Contract): void {
  // 1e-2 in bfloat16, where dequantised numbers are rounded once more; the suite's own in float32.
  const allowed = Math.min(tolerance, 1e-2);

  for (const storage of storages) {
    it.each([...shapes, ...(hasBlocks ? shapesOfBlocks : [])])(
      `${storage}: products of [%i,%i] and %i outputs`,
      async (rows, inputs, outputs) => {
        const c = compare(rows + inputs + outputs);
        const w = c.weight(outputs, inputs, { trainable: false, storage });
        const bias = c.weight(1, outputs, { trainable: false });
        await c.sameWeight("value", w, "value", 1e-6);
        for (const wide of [false, true]) {
          const x = await c.tensor(rows, inputs, { wide });
          const dy = await c.tensor(rows, outputs, { wide });
          const [right, left] = [await c.tensor(rows, outputs, { wide }), await c.tensor(rows, inputs, { wide })];
          await c.same("forward", ({ backend, of }) => backend.matmul(of(x), of(w), { wide }), allowed);
          await c.same(
            "forward with bias and residual",
            ({ backend, of }) =>
              backend.matmul(of(x), of(w), { bias: of(bias), residual: of(right), scale: -0.5, wide }),
            allowed,
          );
          await c.same("backward", ({ backend, of }) => backend.matmulBackwardInput(of(dy), of(w), { wide }), allowed);
          await c.same(
            "backward with residual",
            ({ backend, of }) => backend.matmulBackwardInput(of(dy), of(w), { residual: of(left), scale: 2, wide }),
            allowed,
          );
        }
        await c.close();
      },
    );
  }

  it("tables of every storage give the rows that were kept", async () => {
    for (const storage of storages) {
      const c = compare(3);
      const table = c.weight(70, 100, { trainable: false, storage });
      await c.same(storage, ({ backend, of }) => backend.embed(of(table), Int32Array.of(69, 0, 33, 0, 5)), 1e-6);
      await c.close();
    }
  });

  it("writing a weight quantises the new values, zeros stay zeros", async () => {
    const backend = open();
    for (const storage of storages) {
      const weight = backend.weight({ name: "w", rows: 40, columns: 130, storage, trainable: false });
      expect(Array.from(await backend.readWeight(weight)).every((value) => value === 0)).toBe(true);
      const values = gaussian(40 * 130, 5);
      values.fill(0, 130, 260);
      backend.writeWeight(weight, values);
      expect(relativeError(await backend.readWeight(weight), values)).toBeLessThan(0.12);
      backend.writeWeight(weight, new Float32Array(values.length));
      expect(Array.from(await backend.readWeight(weight)).every((value) => value === 0)).toBe(true);
    }
    await backend.close();
  });

  it("vectors are kept in float32 whatever their storage", async () => {
    const backend = open();
    const values = gaussian(100, 6);
    for (const storage of storages) {
      const vector = backend.weight({ name: "v", rows: 1, columns: 100, storage, trainable: false }, values);
      expect(Float32Array.from(await backend.readWeight(vector))).toEqual(values);
    }
    await backend.close();
  });

  it("a number that is none stays visible", async () => {
    const backend = open();
    for (const storage of ["int8", "nf4"] as const) {
      for (const broken of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const values = gaussian(3 * 70, 7);
        values[75] = broken;
        const weight = backend.weight({ name: "w", rows: 3, columns: 70, storage, trainable: false }, values);
        expect(Number.isFinite((await backend.readWeight(weight))[75])).toBe(false);
      }
    }
    await backend.close();
  });

  // Expected of Gaussian weights: 8 bits lose 0.6 to 0.7 %, NormalFloat of 4 bits 8.4 to 9.7 % (prototype's report); bytes as laid out.
  it.each([
    ["int8", 0.005, 0.008, 1.04],
    ["nf4", 0.08, 0.1, 0.52],
  ] as const)("%s loses what it should and needs little memory", async (storage, least, most, bytesEach) => {
    const backend = open();
    const [rows, columns] = [320, 1024];
    const values = gaussian(rows * columns, 8).map((value) => value * 0.02);
    const before = backend.memory().bytes;
    const weight = backend.weight({ name: "w", rows, columns, storage, trainable: false }, values);
    if (backend.name === "native") {
      backend.matmulBackwardInput(backend.zeros(3, rows), weight);
      const bytes =
        backend.memory().bytes - before - 32 * (rows + columns) * (backend.precision === "bfloat16" ? 2 : 4);
      expect(bytes / values.length).toBeLessThan(bytesEach);
    }
    const error = relativeError(await backend.readWeight(weight), values);
    expect(error).toBeGreaterThan(least);
    expect(error).toBeLessThan(most);
    await backend.close();
  });

  it("gives the same numbers whatever the storage was filled with before", async () => {
    const results = [];
    for (const rounds of [1, 2]) {
      const backend = open();
      for (const storage of storages) results.push({ rounds, ...(await filled(backend, storage, rounds)) });
      await backend.close();
    }
    for (let i = 0; i < storages.length; i++) expect(results[i].values).toEqual(results[i + storages.length].values);
  });
}

async function filled(backend: Backend, storage: WeightStorage, rounds: number) {
  const weight = backend.weight({ name: "w", rows: 33, columns: 65, storage, trainable: false });
  for (let round = rounds; round >= 1; round--) backend.writeWeight(weight, gaussian(33 * 65, round));
  return { values: await backend.readWeight(weight) };
}

function gaussian(count: number, seed: number): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length: count }, () => random.normal());
}

function relativeError(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, total] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    error += (got[i] - expected[i]) ** 2;
    total += expected[i] ** 2;
  }
  return Math.sqrt(error / total);
}
