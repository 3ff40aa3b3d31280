import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { fitScale, PLAIN_SCALE, type ScaleRow, scaledProbabilities } from "./scale.ts";

const LABELS = 4;
const NONE = 0;

/** Rows of a model whose probabilities are right, then spoilt: raised to a power, with "no relation" multiplied. */
function spoiltRows(count: number, power: number, factor: number): ScaleRow[] {
  const random = createRandom(7);
  return Array.from({ length: count }, () => {
    const scores = Array.from({ length: LABELS }, () => 2 * random.normal());
    const sum = scores.reduce((total, score) => total + Math.exp(score), 0);
    const right = scores.map((score) => Math.exp(score) / sum);
    let left = random.uniform();
    const gold = right.findIndex((p) => {
      left -= p;
      return left < 0;
    });
    const spoilt = right.map((p, i) => p ** power * (i === NONE ? factor : 1));
    const total = spoilt.reduce((all, p) => all + p, 0);
    return { probabilities: spoilt.map((p) => p / total), gold: [Math.max(0, gold)] };
  });
}

describe("the scale of probabilities", () => {
  it("undoes what spoilt right probabilities", () => {
    const honest = fitScale(spoiltRows(4000, 1, 1), NONE);
    expect(honest.temperature).toBeCloseTo(1, 1);
    expect(honest.noRelation).toBeCloseTo(1, 1);
    const sure = fitScale(spoiltRows(4000, 3, 8), NONE);
    expect(sure.temperature).toBeCloseTo(3, 0);
    // The factor is what is left of it after the temperature: 8 ** (1 / 3).
    expect(sure.noRelation).toBeCloseTo(1 / 2, 1);
  });

  it("fits the temperature alone without a label for no relation", () => {
    expect(fitScale(spoiltRows(2000, 2, 1), -1)).toEqual({ temperature: expect.closeTo(2, 0), noRelation: 1 });
  });

  it("keeps bounds on rows that tell little", () => {
    const row = { probabilities: [0.6, 0.4], gold: [0] };
    const { temperature, noRelation } = fitScale([row], 0);
    expect([temperature, noRelation]).toEqual([expect.any(Number), 16]);
    expect(fitScale([{ ...row, gold: [1] }], -1).temperature).toBe(4);
    expect(fitScale([row], -1).temperature).toBe(0.25);
  });

  it("gives probabilities that add up to 1", () => {
    const shown = scaledProbabilities([0.8, 0.2], 0, { temperature: 0.5, noRelation: 0.25 });
    // 0.64 / 4 and 0.04.
    expect(Array.from(shown)).toEqual([expect.closeTo(0.8, 12), expect.closeTo(0.2, 12)]);
    expect(Array.from(scaledProbabilities([0.8, 0.2], 0, PLAIN_SCALE))[0]).toBeCloseTo(0.8, 12);
  });
});
