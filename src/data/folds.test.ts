import { describe, expect, it } from "vitest";
import { foldsBySentence } from "./folds.ts";

/** 40 rows of 16 sentences, of one to four rows each. */
const rows = Array.from({ length: 16 }, (_, i) =>
  Array.from({ length: 1 + (i % 4) }, () => ({ sentence: `s${i}` })),
).flat();

describe("foldsBySentence", () => {
  it("holds every row once and trains on the others", () => {
    const folds = foldsBySentence(rows, 4, 1);
    expect(folds.flatMap(({ held }) => held).sort((a, b) => a - b)).toEqual([...rows.keys()]);
    for (const { train, held } of folds) {
      expect([...train, ...held].sort((a, b) => a - b)).toEqual([...rows.keys()]);
      expect(train).toEqual([...train].sort((a, b) => a - b));
    }
  });

  it("keeps the rows of a sentence together and the folds about equal", () => {
    for (const { train, held } of foldsBySentence(rows, 4, 1)) {
      const known = new Set(train.map((row) => rows[row].sentence));
      expect(held.filter((row) => known.has(rows[row].sentence))).toEqual([]);
      expect(held.length).toBeGreaterThanOrEqual(8);
      expect(held.length).toBeLessThanOrEqual(12);
    }
  });

  it("depends on the seed alone", () => {
    expect(foldsBySentence(rows, 4, 1)).toEqual(foldsBySentence(rows, 4, 1));
    expect(foldsBySentence(rows, 4, 2)).not.toEqual(foldsBySentence(rows, 4, 1));
  });

  it("refuses fewer sentences than folds", () => {
    expect(() => foldsBySentence(rows, 17, 1)).toThrow("got 40 rows with 16 distinct sentences, expected at least 17");
    expect(() => foldsBySentence(rows, 1, 1)).toThrow("got 1 folds, expected a whole number of at least 2");
  });
});
