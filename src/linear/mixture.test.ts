import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { fitMixture, type MixtureRow, mixProbabilities } from "./mixture.ts";

const LABELS = 5;

/** Probabilities that favour the gold label by a normal number around `signal`; `sharpness` makes them surer without making them better. */
function rowsOf(count: number, signals: { a: number; b: number }, sharpness = { a: 1, b: 1 }): MixtureRow[] {
  const random = createRandom(3);
  const probabilitiesOf = (gold: number, signal: number, power: number) => {
    const scores = Array.from(
      { length: LABELS },
      (_, label) => power * (random.normal() + (label === gold ? signal : 0)),
    );
    const sum = scores.reduce((total, score) => total + Math.exp(score), 0);
    return scores.map((score) => Math.exp(score) / sum);
  };
  return Array.from({ length: count }, () => {
    const gold = random.below(LABELS);
    const a = probabilitiesOf(gold, signals.a, sharpness.a);
    return { a, b: probabilitiesOf(gold, signals.b, sharpness.b), gold: [gold] };
  });
}

/** A mixture that is neither sharpened nor flattened. */
const plain = (weight: number) => ({ weight, temperature: 1 });
const weightOf = (rows: readonly MixtureRow[]) => fitMixture(rows).weight;

const accuracy = (rows: readonly MixtureRow[], weight: number) =>
  rows.filter(({ a, b, gold }) => {
    const mixed = mixProbabilities(a, b, plain(weight));
    return mixed.indexOf(Math.max(...mixed)) === gold[0];
  }).length / rows.length;

describe("mixProbabilities", () => {
  it("is one of the two at the ends and the geometric mean in the middle", () => {
    const [a, b] = [
      [0.8, 0.2],
      [0.2, 0.8],
    ];
    expect(mixProbabilities(a, b, plain(0))[0]).toBeCloseTo(0.8, 12);
    expect(mixProbabilities(a, b, plain(1))[0]).toBeCloseTo(0.2, 12);
    expect(mixProbabilities(a, b, plain(0.5))[0]).toBeCloseTo(0.5, 12);
    expect(mixProbabilities([0.9, 0.1], [0.5, 0.5], plain(0.5))[0]).toBeCloseTo(0.75, 12);
  });

  it("survives a probability of 0", () => {
    expect([...mixProbabilities([0, 1], [1, 0], plain(0.5))]).toEqual([0.5, 0.5]);
  });

  it("refuses other lengths and weights", () => {
    expect(() => mixProbabilities([1], [0.5, 0.5], plain(0.5))).toThrow("got 1 and 2 probabilities");
    expect(() => mixProbabilities([1], [1], plain(1.5))).toThrow("got the weight 1.5, expected 0 to 1");
    expect(() => mixProbabilities([1], [1], plain(Number.NaN))).toThrow("got the weight NaN");
    expect(() => mixProbabilities([1], [1], { weight: 0, temperature: 0 })).toThrow("got the temperature 0");
  });

  it("is flatter at a higher temperature", () => {
    const [likely, other] = mixProbabilities([0.8, 0.2], [0.5, 0.5], { weight: 0, temperature: 2 });
    expect(likely / other).toBeCloseTo(2, 12);
  });
});

describe("fitMixture", () => {
  it("weighs two equally good models equally, and the better one more", () => {
    expect(weightOf(rowsOf(1000, { a: 1, b: 1 }))).toBeCloseTo(0.5, 1);
    // Scores with the same noise: the weights of the best mixture are as the signals.
    expect(weightOf(rowsOf(1000, { a: 1, b: 3 }))).toBeCloseTo(0.75, 1);
  });

  it("is not fooled by a model that is too sure of itself", () => {
    const rows = rowsOf(1000, { a: 1.5, b: 1.5 }, { a: 4, b: 1 });
    // The exponent that undoes the sharpness of a is a quarter of that of b.
    expect(weightOf(rows)).toBeCloseTo(0.8, 1);
  });

  it("is calibrated: as often right as its probabilities say", () => {
    for (const sharpness of [
      { a: 3, b: 3 },
      { a: 0.7, b: 0.7 },
    ]) {
      const rows = rowsOf(4000, { a: 1.5, b: 1 }, sharpness);
      const mixture = fitMixture(rows.slice(0, 2000));
      const held = rows.slice(2000).map(({ a, b, gold }) => {
        const mixed = mixProbabilities(a, b, mixture);
        const best = mixed.indexOf(Math.max(...mixed));
        return { sure: mixed[best], right: best === gold[0] ? 1 : 0 };
      });
      const gap = held.reduce((sum, { sure, right }) => sum + sure - right, 0) / held.length;
      expect(Math.abs(gap), JSON.stringify({ sharpness, mixture })).toBeLessThan(0.03);
    }
  });

  it("keeps the temperature within bounds on rows that tell nothing of it", () => {
    const right = { a: [0.6, 0.4], b: [0.6, 0.4], gold: [0] };
    expect(fitMixture([right]).temperature).toBe(0.25);
    expect(fitMixture([{ ...right, gold: [1] }]).temperature).toBe(4);
  });

  it("gives a mixture that is better than both on other rows", () => {
    const rows = rowsOf(2000, { a: 1.2, b: 1 });
    const weight = weightOf(rows.slice(0, 1000));
    const held = rows.slice(1000);
    expect(accuracy(held, weight)).toBeGreaterThan(Math.max(accuracy(held, 0), accuracy(held, 1)) + 0.05);
  });

  it("leaves out a model that misleads or says nothing", () => {
    expect(weightOf(rowsOf(500, { a: 2, b: -2 }))).toBe(0);
    expect(weightOf(rowsOf(500, { a: -2, b: 2 }))).toBe(1);
    const flat = rowsOf(500, { a: 2, b: 2 }).map((row) => ({ ...row, b: Array(LABELS).fill(1 / LABELS) }));
    expect(weightOf(flat)).toBeCloseTo(0, 6);
  });

  it("works on one row and on rows where both are always right", () => {
    const right = { a: [1, 0], b: [1, 0], gold: [0] };
    expect(weightOf([right])).toBeCloseTo(0.5, 6);
    expect(weightOf([right, { a: [0.6, 0.4], b: [0, 1], gold: [1, 0] }])).toBeGreaterThanOrEqual(0);
  });

  it("refuses rows that it cannot be fitted on", () => {
    expect(() => fitMixture([])).toThrow("got no rows to fit the weight on");
    expect(() => fitMixture([{ a: [1], b: [1], gold: [] }])).toThrow(
      "Mixture, row 1: got 1 and 1 probabilities and the gold labels []",
    );
    expect(() => fitMixture([{ a: [1], b: [1], gold: [1] }])).toThrow("the gold labels [1]");
  });
});
