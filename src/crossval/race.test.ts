import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import type { ScoredRow } from "../evaluate/rows.ts";
import { LEAST_UNITS, leaderOf, losersOf, type Racer, scoreUnit, standingOf } from "./race.ts";

const labels = { labels: ["unknown", "甲", "乙", "丙"], noRelation: "unknown" };
const settings = { metric: "micro", draws: 300, seed: 1 } as const;

/** The rows of a fold by candidates of these accuracies: the harder a row, the fewer get it right. */
function foldRows(fold: number, accuracies: readonly number[], count = 150): ScoredRow[][] {
  const random = createRandom(100 + fold);
  const systems: ScoredRow[][] = accuracies.map(() => []);
  for (let i = 0; i < count; i++) {
    const gold = 1 + random.below(3);
    const hardness = random.uniform();
    for (const [system, accuracy] of accuracies.entries()) {
      const label = hardness < accuracy ? gold : 1 + (gold % 3);
      systems[system].push({ gold: [labels.labels[gold]], predicted: [labels.labels[label]], group: `${fold}-${i}` });
    }
  }
  return systems;
}

function racersOf(folds: number, ...accuracies: number[]): Racer[] {
  const units = Array.from({ length: folds }, (_, fold) =>
    foldRows(fold, accuracies).map((rows) => scoreUnit(rows, labels, fold, settings)),
  );
  return accuracies.map((_, system) => ({ units: units.map((fold) => fold[system]) }));
}

describe("a race of candidates", () => {
  it("is led by the highest mean among those with most folds", () => {
    const racers = racersOf(3, 0.6, 0.7, 0.9);
    expect(leaderOf(racers, "micro")).toBe(2);
    const behind = { units: racers[2].units.slice(0, 2) };
    expect(leaderOf([racers[0], racers[1], behind], "micro")).toBe(1);
    expect(leaderOf([{ units: [] }], "micro")).toBeNull();
    // Of equal ones the first.
    expect(leaderOf([racers[1], racers[1]], "micro")).toBe(0);
  });

  it("has the mean over folds, and differences on common folds", () => {
    const racers = racersOf(3, 0.6, 0.9);
    const means = racers.map(({ units }) => units.reduce((sum, { micro }) => sum + micro, 0) / 3);
    const standing = standingOf(racers[0], racers[1], "micro");
    expect(standing.micro).toBeCloseTo(means[0], 12);
    expect(standing.behind).toBeCloseTo(means[0] - means[1], 12);
    expect(standing.interval.low).toBeLessThan(means[0]);
    expect(standing.interval.high).toBeGreaterThan(means[0]);
    expect(standing.behindInterval.low).toBeLessThan(standing.behind);
    expect(standing.behindInterval.high).toBeGreaterThan(standing.behind);
    // Paired: the difference is known better than either value.
    const width = ({ low, high }: { low: number; high: number }) => high - low;
    const close = racersOf(3, 0.7, 0.72);
    const other = standingOf(close[0], close[1], "micro");
    expect(width(other.behindInterval)).toBeLessThan(0.7 * width(other.interval));
    const short = standingOf({ units: racers[0].units.slice(0, 2) }, racers[1], "micro");
    const two = racers[0].units.slice(0, 2).map(({ micro }, i) => micro - racers[1].units[i].micro);
    expect(short.behind).toBeCloseTo((two[0] + two[1]) / 2, 12);
    expect(standingOf(racers[1], racers[1], "micro")).toMatchObject({ behind: 0, behindInterval: { low: 0, high: 0 } });
  });

  it("drops the certainly worse, after two folds, and nobody who may be equal", () => {
    const racers = racersOf(LEAST_UNITS, 0.5, 0.85, 0.86);
    expect(losersOf(racers, "micro")).toEqual([0]);
    expect(losersOf(racers, "paper")).toEqual([0]);
    expect(losersOf(racersOf(1, 0.2, 0.9), "micro")).toEqual([]);
    expect(losersOf([], "micro")).toEqual([]);
    expect(losersOf(racersOf(3, 0.7, 0.7), "micro")).toEqual([]);
  });

  it("scores a fold with the same draws for every candidate, and others for another fold", () => {
    const [rows] = foldRows(0, [0.6]);
    const unit = scoreUnit(rows, labels, 0, settings);
    expect(scoreUnit(rows, labels, 0, settings)).toEqual(unit);
    expect(scoreUnit(rows, labels, 1, settings).draws).not.toEqual(unit.draws);
    expect(unit.draws).toHaveLength(300);
    const right = rows.filter(({ gold, predicted }) => gold[0] === predicted[0]).length;
    // One relation a row, predicted for every row: micro and paper F1 are the share of right rows.
    expect(unit.micro).toBeCloseTo(right / rows.length, 12);
    expect(unit.paper).toBeCloseTo(right / rows.length, 12);
  });
});
