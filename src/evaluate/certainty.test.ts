import { describe, expect, it } from "vitest";
import { type CertainRow, certaintyOf, precisionCurve, thresholdFor } from "./certainty.ts";

const row = (relation: string, probability: number, ...gold: string[]): CertainRow => ({
  gold,
  predictions: [{ relation, probability }],
});

describe("certainty", () => {
  it("has the gap between probability and hits, by bins, of every label", () => {
    const rows = [row("a", 0.95, "a"), row("a", 0.95, "b"), row("none", 0.55, "none"), row("a", 0.75, "a")];
    // Bins: 0.9–1: two rows, 1.9 against 1; 0.5–0.6: 0.55 against 1; 0.7–0.8: 0.75 against 1.
    expect(certaintyOf(rows, "none").calibrationError).toBeCloseTo((0.9 + 0.45 + 0.25) / 4, 12);
    expect(certaintyOf([], "none")).toEqual({ calibrationError: 0, rows: 0, curve: [] });
    expect(certaintyOf([row("a", 1, "a")], "none").calibrationError).toBe(0);
    expect(certaintyOf([{ gold: ["a"], predictions: [] }], "none").rows).toBe(0);
  });

  it("has precision and recall from the most probable relations on, without no relation", () => {
    const rows = [row("a", 0.9, "a"), row("b", 0.8, "a"), row("a", 0.6, "a"), row("none", 0.99, "b")];
    expect(certaintyOf(rows, "none").curve).toEqual([
      { probability: 0.9, precision: 1, recall: 1 / 4 },
      { probability: 0.8, precision: 1 / 2, recall: 1 / 4 },
      { probability: 0.6, precision: 2 / 3, recall: 2 / 4 },
    ]);
    const ofB = precisionCurve(rows, (relation) => relation === "b");
    expect(ofB).toEqual([{ probability: 0.8, precision: 0, recall: 0 }]);
    const equal = precisionCurve([row("a", 0.5, "a"), row("a", 0.5)], () => true);
    expect(equal).toEqual([{ probability: 0.5, precision: 0.5, recall: 1 }]);
  });

  it("keeps the ends of a long curve", () => {
    const rows = Array.from({ length: 500 }, (_, i) => row("a", 1 - i / 1000, i % 3 === 0 ? "b" : "a"));
    const { curve } = certaintyOf(rows, null);
    expect(curve).toHaveLength(60);
    expect([curve[0].probability, curve[59].probability]).toEqual([1, 1 - 499 / 1000]);
  });
});

describe("the threshold of a precision", () => {
  const curve = [
    { probability: 0.99, precision: 1, recall: 0.01 },
    { probability: 0.9, precision: 0.9, recall: 0.2 },
    { probability: 0.8, precision: 0.95, recall: 0.4 },
    { probability: 0.5, precision: 0.7, recall: 0.8 },
  ];

  it("is the least probability that had it", () => {
    expect(thresholdFor(curve, 0.9)).toBe(0.8);
    expect(thresholdFor(curve, 0.6)).toBe(0.5);
  });

  it("does not rest on a few rows, and is none where no point has it", () => {
    expect(thresholdFor(curve, 0.99)).toBeNull();
    expect(thresholdFor(curve, 0.99, 0.01)).toBe(0.99);
    expect(thresholdFor([], 0.5)).toBeNull();
  });
});
