import { afterAll, describe, expect, it } from "vitest";
import { openReference } from "../compute/reference/backend.ts";
import { createWeightAverage } from "./weight-average.ts";

const backend = openReference({ precision: "float32" });
afterAll(() => backend.close());

const spec = { storage: "float32", trainable: true } as const;
const weights = [
  backend.weight({ name: "a", rows: 2, columns: 2, ...spec }, [0, 0, 0, 0]),
  backend.weight({ name: "b", rows: 1, columns: 2, ...spec }, [0, 0]),
];
const valuesOf = async () =>
  (await Promise.all(weights.map((weight) => backend.readWeight(weight)))).map((v) => [...v]);
const put = (a: number[], b: number[]) => {
  backend.writeWeight(weights[0], a);
  backend.writeWeight(weights[1], b);
};

describe("createWeightAverage", () => {
  it("is the mean of the added weights, and continues a saved one", async () => {
    const first = createWeightAverage(backend, weights);
    put([1, 2, 3, 4], [5, 6]);
    await first.add();
    put([3, 2, 1, 0], [7, 0]);
    await first.add();
    expect(first.count).toBe(2);
    expect(first.values.map((mean) => [...mean])).toEqual([
      [2, 2, 2, 2],
      [6, 3],
    ]);
    const second = createWeightAverage(backend, weights, first);
    put([5, 5, 5, 8], [0, 9]);
    await second.add();
    expect(second.values.map((mean) => [...mean])).toEqual([
      [3, 3, 3, 4],
      [4, 5],
    ]);
    expect([first.count, second.count, first.values[0][3]]).toEqual([2, 3, 2]);
  });

  it("replaces the weights during a call, and restores them when the call fails", async () => {
    const average = createWeightAverage(backend, weights, {
      count: 1,
      values: [Float32Array.of(1, 1, 1, 1), Float32Array.of(2, 2)],
    });
    put([0.1, 0.2, 0.3, 0.4], [5, 6]);
    const before = await valuesOf();
    expect(await average.during(valuesOf)).toEqual([
      [1, 1, 1, 1],
      [2, 2],
    ]);
    expect(await valuesOf()).toEqual(before);
    const failing = average.during(async () => {
      throw new Error("no room");
    });
    await expect(failing).rejects.toThrow("no room");
    expect(await valuesOf()).toEqual(before);
  });
});
