import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import type { Weight } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { updateByMuon } from "./muon.ts";

const backend = openReference({ precision: "float64" });
afterAll(() => backend.close());

const SETTINGS = { clipNorm: 1, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 };
const RATE = 0.02;
const values = (weight: Weight) => backend.readWeight(weight);

/** A weight of ones whose gradient is `gradient` everywhere. */
function ones(rows: number, columns: number, gradient: (i: number) => number): Weight {
  const spec = { name: `w${rows}`, rows, columns, storage: "float32", trainable: true } as const;
  const weight = backend.weight(spec, new Float64Array(rows * columns).fill(1));
  backend.writeWeight(
    weight,
    Float64Array.from({ length: rows * columns }, (_, i) => gradient(i)),
    "gradient",
  );
  return weight;
}

describe("updateByMuon", () => {
  it("updates the rest by AdamW at half the rate, clipped by its own norm", async () => {
    const matrix = ones(3, 3, (i) => (i % 4 === 0 ? 100 : 0));
    const [table, norm] = [ones(2, 4, () => 5), ones(1, 4, () => -5)];
    const found = await updateByMuon(backend, { matrices: [matrix], rest: [table, norm] }, SETTINGS, RATE, 0);
    expect(found).toBeCloseTo(Math.hypot(100 * Math.sqrt(3), 5 * Math.sqrt(12)), 6);
    // AdamW's first step has the size of the rate; only matrices decay.
    for (const value of await values(table)) expect(value).toBeCloseTo(1 - (RATE / 2) * (1 + 0.1), 6);
    for (const value of await values(norm)) expect(value).toBeCloseTo(1 + RATE / 2, 6);
    const [clipped] = await backend.readWeight(table, "moment1");
    expect(clipped).toBeCloseTo((0.1 * 5) / (5 * Math.sqrt(12)), 6);
    // A multiple of the identity is orthogonal but for its length, which the polynomial brings near 1.
    const [first, second] = await values(matrix);
    expect(second).toBeCloseTo(1 - RATE * 0.1, 6);
    const direction = (1 - RATE * 0.1 - first) / (RATE * 0.2 * Math.sqrt(3));
    expect(direction).toBeGreaterThan(0.65);
    expect(direction).toBeLessThan(1.25);
    for (const weight of [matrix, table, norm]) {
      expect((await backend.readWeight(weight, "gradient")).every((one) => one === 0)).toBe(true);
    }
  });

  it("stops before any weight is changed when a gradient is not finite", async () => {
    for (const broken of ["matrix", "rest"]) {
      const matrix = ones(2, 2, () => (broken === "matrix" ? Number.NaN : 1));
      const rest = ones(1, 4, () => (broken === "rest" ? Number.POSITIVE_INFINITY : 1));
      const failed = updateByMuon(backend, { matrices: [matrix], rest: [rest] }, SETTINGS, RATE, 6);
      await expect(failed).rejects.toThrow(UserError);
      await expect(failed).rejects.toThrow("norm of the gradient became");
      expect([...(await values(matrix)), ...(await values(rest))].every((one) => one === 1)).toBe(true);
    }
  });
});
