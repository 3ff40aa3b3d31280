import { describe, expect, it } from "vitest";

interface Cut {
  rowBlocks: number;
  panels: number;
  rowItems: number;
  panelItems: number;
}
const load = (name: string) => import(new URL(`../bench/cores/${name}.mjs`, import.meta.url).href);
const { makespan } = (await load("pool")) as { makespan(items: number[], threads: number): number };
const { cutProduct, regionsOf } = (await load("items")) as {
  cutProduct(rows: number, panels: number, depth: number, threads: number): Cut;
  regionsOf(operation: object, threads: number, rates: object): number[][];
};
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

describe("the simulation of more cores (bench/cores.mjs)", () => {
  it("schedules as the pool does: own items first, then those of others", () => {
    expect(makespan([1, 1, 1, 1], 2)).toBe(2);
    expect(makespan([3, 1, 1, 1], 2)).toBe(3);
    // The first thread takes the last item of the second one.
    expect(makespan([1, 4, 1], 2)).toBe(4);
    expect(makespan([1, 1, 4], 2)).toBe(5);
    expect(makespan([5], 8)).toBe(5);
    expect(makespan([], 8)).toBe(0);
    const items = Array.from({ length: 50 }, (_, i) => 1 + (i % 7));
    for (const threads of [1, 3, 16, 64]) {
      expect(makespan(items, threads)).toBeGreaterThanOrEqual(Math.max(7, sum(items) / threads));
      expect(makespan(items, threads)).toBeLessThanOrEqual(sum(items) / threads + 7);
    }
  });

  it("cuts products into items that cover all blocks, and gives every thread one where it can", () => {
    for (const threads of [1, 2, 16, 64]) {
      for (const [rows, panels, depth] of [
        [63, 128, 128],
        [36, 24, 24],
        [36, 1, 24],
        [128, 1, 36],
        [1, 128, 128],
      ]) {
        const cut = cutProduct(rows, panels, depth, threads);
        expect(cut.rowBlocks * cut.rowItems).toBeGreaterThanOrEqual(rows);
        expect(cut.rowBlocks * (cut.rowItems - 1)).toBeLessThan(rows);
        expect(cut.panels * cut.panelItems).toBeGreaterThanOrEqual(panels);
        const possible = Math.min(threads, rows * panels);
        expect(cut.rowItems * cut.panelItems).toBeGreaterThanOrEqual(possible / 2);
      }
    }
  });

  it("has the same work however many threads share it", () => {
    const rates = { flops: 1e9, attention: 5e8, bytes: 1e9 };
    const segments = [
      { start: 0, length: 100, keyStart: 0, position: 0, context: [] },
      ...[100, 160, 220].map((start) => {
        return { start, length: 60, keyStart: start, position: 100, context: [{ start: 0, length: 100, position: 0 }] };
      }),
    ];
    const heads = { heads: 4, keyValueHeads: 2, width: 64 };
    for (const operation of [
      { kind: "product", rows: 1120, columns: 768, depths: [768, 8] },
      { kind: "attention", segments, ...heads },
      { kind: "attention gradient", segments, ...heads },
      { kind: "norm", rows: 1120, columns: 768, arrays: 2 },
    ]) {
      const works = [1, 8, 64].map((threads) => sum(regionsOf(operation, threads, rates).flat()));
      expect(works[0]).toBeGreaterThan(0);
      for (const work of works) expect(work).toBeCloseTo(works[0], 9);
    }
    // All sequences share the template's keys: one group, cut by heads and into the template's segment and the joined ones behind it.
    expect(regionsOf({ kind: "attention gradient", segments, ...heads }, 8, rates)[0]).toHaveLength(8);
  });
});
