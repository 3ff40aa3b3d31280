import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { type AnswerModel, fitAnswers, probabilitiesOf, type RowAnswers } from "./answer-model.ts";

const LABELS = 13;

interface Row extends RowAnswers {
  counts: number[];
  truth: number;
}

/** Rows with answers that are right with the probability that `rightOf` draws for the row; label 0 is right in 30 % of the rows. */
function answered(rows: number, answers: number, rightOf: (draw: () => number) => number): Row[] {
  const random = createRandom(7);
  const draw = () => random.uniform();
  return Array.from({ length: rows }, () => {
    const truth = draw() < 0.3 ? 0 : 1 + Math.floor(draw() * (LABELS - 1));
    const right = rightOf(draw);
    const counts = Array<number>(LABELS).fill(0);
    for (let i = 0; i < answers; i++) {
      const wrong = Math.floor(draw() * (LABELS - 1));
      counts[draw() < right ? truth : wrong + (wrong >= truth ? 1 : 0)]++;
    }
    return { counts, choices: LABELS, truth };
  });
}

/** Mean probability of the most probable label, and how often it is right, of rows whose most frequent label has `most` answers and whose right label has one. */
function promised(model: AnswerModel, rows: readonly Row[], most: number) {
  const chosen = rows.filter(({ counts, truth }) => Math.max(...counts) === most && counts[truth] > 0);
  const judged = chosen.map((row) => {
    const shares = [...probabilitiesOf(model, row)];
    const best = Math.max(...shares);
    return { best, isRight: shares.indexOf(best) === row.truth };
  });
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return { says: mean(judged.map(({ best }) => best)), is: mean(judged.map(({ isRight }) => Number(isRight))) };
}

const fitted = (rows: readonly RowAnswers[]) => fitAnswers(rows, LABELS) as AnswerModel;

describe("the model of several answers", () => {
  it("finds how often answers are right, and that two of three are nearly always right then", () => {
    for (const right of [0.6, 0.8, 0.9]) {
      const rows = answered(1500, 3, () => right);
      const model = fitted(rows);
      expect(Math.abs(model.accuracy - right), String(right)).toBeLessThan(0.03);
      const { says, is } = promised(model, rows, 2);
      expect(Math.abs(says - is), `${right}: says ${says}, is ${is}`).toBeLessThan(0.03);
    }
    expect(
      promised(
        fitted(answered(1500, 3, () => 0.8)),
        answered(1500, 3, () => 0.8),
        2,
      ).says,
    ).toBeGreaterThan(0.95);
  });

  it("trusts two of three less where some rows are easy and others a guess", () => {
    const rows = answered(3000, 3, (draw) => (draw() < 0.6 ? 0.99 : 0.3));
    const model = fitted(rows);
    expect(model.spread).toBeLessThan(4);
    const { says, is } = promised(model, rows, 2);
    expect(Math.abs(says - is), `says ${says}, is ${is}`).toBeLessThan(0.1);
  });

  it("promises as much with more answers", () => {
    const rows = answered(1500, 5, () => 0.7);
    const model = fitted(rows);
    for (const most of [2, 3, 4]) {
      const { says, is } = promised(model, rows, most);
      expect(Math.abs(says - is), `${most}: says ${says}, is ${is}`).toBeLessThan(0.06);
    }
  });

  it("decides ties by how frequent the labels are", () => {
    const model = fitted(answered(1500, 3, () => 0.8));
    const counts = Array<number>(LABELS).fill(0).fill(1, 0, 3);
    const [often, rare] = probabilitiesOf(model, { counts, choices: LABELS });
    expect(often).toBeGreaterThan(2 * rare);
  });

  it("takes hundreds of answers to a row", () => {
    const rows = answered(20, 400, () => 0.7);
    const model = fitted(rows);
    for (const row of rows) expect(probabilitiesOf(model, row)[row.truth]).toBeCloseTo(1, 9);
  });

  it("is none where no row has several answers", () => {
    expect(fitAnswers([], LABELS)).toBeNull();
    expect(
      fitAnswers(
        answered(20, 1, () => 0.8),
        LABELS,
      ),
    ).toBeNull();
    expect(fitAnswers([{ counts: [2, 0], choices: 1 }], 2)).toBeNull();
  });

  it("gives probabilities that add up to 1 to the labels of the answers alone", () => {
    const row = fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 2, maxLength: 6 });
    const ofAtLeastOne = row.filter((counts) => counts.some((count) => count > 0));
    fc.assert(
      fc.property(ofAtLeastOne, fc.boolean(), (counts, isMasked) => {
        const given = counts.filter((count) => count > 0).length;
        const rows = [{ counts, choices: isMasked ? Math.max(1, given) : counts.length }];
        const model = fitAnswers(rows, counts.length) ?? {
          accuracy: 0.8,
          spread: 5,
          prior: Float64Array.from(counts, () => 1),
        };
        const shares = probabilitiesOf(model, rows[0]);
        expect([...shares].reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 9);
        for (const [i, share] of shares.entries()) expect(share > 0).toBe(counts[i] > 0);
      }),
    );
  });
});
