import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { drawnDifference, meanDraws, pairedDraws } from "./paired-bootstrap.ts";
import type { ScoredRow } from "./rows.ts";

const labels = { labels: ["unknown", "甲", "乙", "丙"], noRelation: "unknown" };

/** Rows of the same gold for every accuracy, two a sentence; a row that one system gets right is more often right for another too. */
function systemsOf(count: number, ...accuracies: number[]): ScoredRow[][] {
  const random = createRandom(7);
  const systems: ScoredRow[][] = accuracies.map(() => []);
  for (let i = 0; i < count; i++) {
    const gold = labels.labels[random.below(4)];
    const hardness = random.uniform();
    for (const [system, accuracy] of accuracies.entries()) {
      const isRight = 0.8 * hardness + 0.2 * random.uniform() < accuracy;
      const wrong = labels.labels[(labels.labels.indexOf(gold) + 1) % 4];
      systems[system].push({ gold: [gold], predicted: [isRight ? gold : wrong], group: `句${i >> 1}` });
    }
  }
  return systems;
}

const shareRight = (rows: readonly ScoredRow[]) =>
  rows.filter(({ gold, predicted }) => gold[0] === predicted[0]).length / rows.length;
const widthOf = ({ low, high }: { low: number; high: number }) => high - low;

describe("draws of sentences for several systems", () => {
  it("give equal systems equal values, draw by draw, and other values with another seed", () => {
    const [rows] = systemsOf(200, 0.7);
    const [one, two] = pairedDraws([rows, [...rows]], labels, { draws: 50, seed: 3, relations: true });
    expect(two).toEqual(one);
    expect(new Set(one.micro).size).toBeGreaterThan(10);
    expect(one.relations).toHaveLength(4);
    expect(pairedDraws([rows], labels, { draws: 50, seed: 3 })[0].micro).toEqual(one.micro);
    expect(pairedDraws([rows], labels, { draws: 50, seed: 4 })[0].micro).not.toEqual(one.micro);
    expect(pairedDraws([rows], labels, { draws: 5, seed: 3 })[0].relations).toEqual([]);
  });

  it("have the spread that theory gives for the difference of paired shares", () => {
    // One label a row and one row a group: the paper F1 is the share of right rows. With b the share of rows that only one system gets right
    // and c the share that only the other does, the variance of the difference is (b + c − (b − c)²) / n.
    const [first, second] = systemsOf(1000, 0.6, 0.65).map((rows) => rows.map(({ group: _, ...row }) => row));
    const isRight = (row: ScoredRow) => row.gold[0] === row.predicted[0];
    const only = (own: ScoredRow[], other: ScoredRow[]) =>
      own.filter((row, i) => isRight(row) && !isRight(other[i])).length / own.length;
    const [b, c] = [only(first, second), only(second, first)];
    const expected = 2 * 1.96 * Math.sqrt((b + c - (b - c) ** 2) / 1000);
    const [one, two] = pairedDraws([first, second], labels, { draws: 2000, seed: 1 });
    const { interval } = drawnDifference(one.paper, two.paper, 0.95);
    expect(Math.abs(widthOf(interval) / expected - 1)).toBeLessThan(0.1);
    expect((interval.low + interval.high) / 2).toBeCloseTo(shareRight(second) - shareRight(first), 2);
    // Unpaired, the same two systems look much less certain.
    const alone = pairedDraws([second], labels, { draws: 2000, seed: 2 })[0].paper;
    expect(widthOf(drawnDifference(one.paper, alone, 0.95).interval)).toBeGreaterThan(1.5 * widthOf(interval));
  });

  it("draw sentences: four copies of each row in one sentence change no interval", () => {
    const single = systemsOf(300, 0.6, 0.7).map((rows) => rows.map((row, i) => ({ ...row, group: `句${i}` })));
    const fourfold = single.map((rows) => rows.flatMap((row) => [row, row, row, row]));
    const difference = (systems: ScoredRow[][]) => {
      const [one, two] = pairedDraws(systems, labels, { draws: 300, seed: 1 });
      return drawnDifference(one.micro, two.micro, 0.95);
    };
    const [once, four] = [difference(single), difference(fourfold)];
    expect(four.p).toBe(once.p);
    expect(four.interval.low).toBeCloseTo(once.interval.low, 12);
    expect(four.interval.high).toBeCloseTo(once.interval.high, 12);
  });

  it("refuse systems with different numbers of rows", () => {
    const [rows] = systemsOf(6, 0.5);
    expect(() => pairedDraws([rows, rows.slice(1)], labels, { draws: 1, seed: 1 })).toThrow(
      "got 6 and 5 rows, expected the same rows",
    );
  });
});

describe("the difference of drawn values", () => {
  it("counts the draws on either side of 0, and draws of 0 for both", () => {
    const zeros = new Float64Array(4);
    expect(drawnDifference(zeros, Float64Array.of(1, 1, -1, 2), 0.5)).toEqual({
      // Sorted −1, 1, 1, 2: a quarter of the way from first to last is 0.75 of the way to the second.
      interval: { low: 0.5, high: 1.25 },
      p: (2 * (1 + 1)) / 5,
    });
    expect(drawnDifference(zeros, zeros, 0.95)).toEqual({ interval: { low: 0, high: 0 }, p: 1 });
    const all = Float64Array.from({ length: 999 }, () => 0.1);
    expect(drawnDifference(new Float64Array(999), all, 0.95).p).toBeCloseTo(0.002, 12);
    expect(drawnDifference(all, new Float64Array(999), 0.95).p).toBeCloseTo(0.002, 12);
  });

  it("takes the mean of runs draw by draw", () => {
    expect(meanDraws([Float64Array.of(0, 1), Float64Array.of(1, 0.5)])).toEqual(Float64Array.of(0.5, 0.75));
  });
});
