import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { objective, type SparseRows, solve } from "./solver.ts";

const FEATURES = 12;
const LABELS = 4;
const ROWS = 30;
const L2 = 0.3;

/** Random rows of three or four features; every third row has two labels with equal shares. */
function tinyProblem(): { rows: SparseRows; targets: Float32Array } {
  const random = createRandom(7);
  const starts = [0];
  const columns: number[] = [];
  const targets = new Float32Array(ROWS * LABELS);
  for (let row = 0; row < ROWS; row++) {
    const own = random.shuffle(Array.from({ length: FEATURES }, (_, i) => i)).slice(0, 3 + (row % 2));
    columns.push(...own);
    starts.push(columns.length);
    const gold = own[0] % LABELS;
    const share = row % 3 === 0 ? 0.5 : 1;
    targets[row * LABELS + gold] = share;
    targets[row * LABELS + ((gold + 1) % LABELS)] += 1 - share;
  }
  const values = Float32Array.from(columns, () => random.normal());
  return { rows: { starts: Uint32Array.from(starts), columns: Uint32Array.from(columns), values }, targets };
}

const settings = { l2: L2, maxEpochs: 500, gapTolerance: 1e-9, seed: 1 };
const counts = { features: FEATURES, labels: LABELS };

describe("solve", () => {
  it("ends where finite differences of the objective vanish", () => {
    const { rows, targets } = tinyProblem();
    const { weights } = solve(rows, targets, counts, settings);
    const at = (place: number, by: number) => {
      const moved = Float64Array.from(weights);
      moved[place] += by;
      return objective(rows, targets, moved, { labels: LABELS, l2: L2 });
    };
    const slopes = Array.from(weights, (_, place) => (at(place, 1e-4) - at(place, -1e-4)) / 2e-4);
    expect(Math.max(...slopes.map(Math.abs))).toBeLessThan(2e-4);
    // The slopes of an untrained model show that the bound means something.
    const start = new Float64Array(weights.length);
    const moved = Float64Array.from(start, (_, place) => (place === 0 ? 1e-4 : 0));
    const slope =
      objective(rows, targets, moved, { labels: LABELS, l2: L2 }) -
      objective(rows, targets, start, { labels: LABELS, l2: L2 });
    expect(Math.abs(slope / 1e-4)).toBeGreaterThan(0.05);
  });

  it("bounds what more epochs could gain by the gap", () => {
    const { rows, targets } = tinyProblem();
    const solved = (maxEpochs: number, gapTolerance: number) => {
      const solution = solve(rows, targets, counts, { ...settings, maxEpochs, gapTolerance });
      return { ...solution, value: objective(rows, targets, solution.weights, { labels: LABELS, l2: L2 }) };
    };
    const best = solved(500, 1e-9);
    const early = solved(500, 0.01);
    expect(early.epochs).toBeLessThan(best.epochs);
    expect(early.gap).toBeLessThanOrEqual(0.01);
    expect(early.value - best.value).toBeLessThanOrEqual(0.01 * early.value);
    expect(solved(2, 0).epochs).toBe(2);
  });

  it("is the same for the same seed, and nearly the same for another", () => {
    const { rows, targets } = tinyProblem();
    const first = solve(rows, targets, counts, { ...settings, maxEpochs: 3 }).weights;
    expect(solve(rows, targets, counts, { ...settings, maxEpochs: 3 }).weights).toEqual(first);
    expect(solve(rows, targets, counts, { ...settings, maxEpochs: 3, seed: 2 }).weights).not.toEqual(first);
    const [a, b] = [1, 2].map((seed) => solve(rows, targets, counts, { ...settings, seed }).weights);
    expect(Math.max(...a.map((weight, i) => Math.abs(weight - b[i])))).toBeLessThan(1e-3);
  });
});
