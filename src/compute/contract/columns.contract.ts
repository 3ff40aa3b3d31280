import { expect, it } from "vitest";
import type { Contract } from "./backend.contract.ts";

const shapes = [
  [1, 5],
  [5, 1],
  [33, 45],
  [64, 32],
  [70, 97],
] as const;

export function columnContract({ compare, open, tolerance }: Contract): void {
  it.each(shapes)("scaleColumns and its gradient [%i,%i]", async (rows, columns) => {
    const c = compare(3 * rows + columns);
    const bias = c.weight(1, columns);
    for (const trainable of [true, false]) {
      const g = c.weight(1, columns, { trainable, offset: 1 });
      const divisors = await c.tensor(1, columns, { wide: true, offset: 4, spread: 0.5 });
      for (const wide of [true, false]) {
        const x = await c.tensor(rows, columns, { wide });
        const dy = await c.tensor(rows, columns, { wide: !wide });
        await c.same("y", ({ backend, of }) => backend.scaleColumns(of(x), of(g), of(divisors)));
        await c.same("y + bias", ({ backend, of }) => backend.scaleColumns(of(x), of(g), of(divisors), of(bias)));
        await c.same("dx", ({ backend, of }) => backend.scaleColumnsBackward(of(x), of(g), of(divisors), of(dy)));
        if (trainable) await c.sameWeight("dg", g, "gradient", 1e-5);
      }
    }
    await c.close();
  });

  it("scaleColumns gives a column with the divisor 0 the factor 0", async () => {
    const backend = open();
    const spec = { name: "g", rows: 1, columns: 3, storage: "float32", trainable: true } as const;
    const g = backend.weight(spec, [2, 2, 2]);
    const divisors = backend.tensor([4, 0, 1], 1, 3, { wide: true });
    const x = backend.tensor([1, 1, 1, 2, 2, 2], 2, 3);
    expect([...(await backend.read(backend.scaleColumns(x, g, divisors)))]).toEqual([0.5, 0, 2, 1, 0, 4]);
    const dx = backend.scaleColumnsBackward(x, g, divisors, x);
    expect([...(await backend.read(dx))]).toEqual([0.5, 0, 2, 1, 0, 4]);
    expect([...(await backend.readWeight(g, "gradient"))]).toEqual([1.25, 0, 5]);
    await backend.close();
  });

  it("rowNorms", async () => {
    const c = compare(51);
    for (const [rows, columns] of [...shapes, [200, 4]] as const) {
      for (const wide of [true, false]) {
        const x = await c.tensor(rows, columns, { wide, spread: 3 });
        await c.same(`lengths [${rows},${columns}]`, ({ backend, of }) => backend.rowNorms(of(x)), 2e-6);
      }
    }
    await c.close();
  });

  it("tanh and its gradient, far from 0 too", async () => {
    const c = compare(52);
    for (const [rows, columns] of shapes) {
      for (const wide of [true, false]) {
        const x = await c.tensor(rows, columns, { wide, spread: 3 });
        const y = await c.same("tanh", ({ backend, of }) => backend.tanh(of(x)));
        const dy = await c.tensor(rows, columns, { wide });
        // Near 1 the gradient is what a rounded y leaves of 1 − y².
        await c.same("dx", ({ backend, of }) => backend.tanhBackward(of(y), of(dy)), Math.max(tolerance, 1e-5));
      }
    }
    const far = c.subject.tanh(c.subject.tensor([-300, -20, 0, 20, 300], 1, 5));
    expect([...(await c.subject.read(far))].map((value) => Math.round(value * 1e5) / 1e5)).toEqual([-1, -1, 0, 1, 1]);
    await c.close();
  });

  it("counts the changes of a weight's value", async () => {
    const backend = open();
    const weight = backend.weight({ name: "w", rows: 1, columns: 2, storage: "float32", trainable: true }, [1, 2]);
    const settings = { learningRate: 1, beta1: 0.9, beta2: 0.9, epsilon: 1, weightDecay: 0, step: 1, gradientScale: 1 };
    const seen = [weight.revision];
    backend.writeWeight(weight, [3, 4], "gradient");
    seen.push(weight.revision);
    backend.adamW([weight], settings);
    seen.push(weight.revision);
    backend.writeWeight(weight, [3, 4]);
    seen.push(weight.revision);
    expect(seen).toEqual([0, 0, 1, 2]);
    await backend.close();
  });
}
