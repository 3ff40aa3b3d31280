import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { percentileInterval } from "./bootstrap.ts";
import { computeMetrics } from "./metrics.ts";
import type { ScoredRow } from "./rows.ts";

const labels = { labels: ["unknown", "甲", "乙", "丙"], noRelation: "unknown" };

/** Rows of a classifier that is right about seven times in ten. */
function randomRows(count: number, perSentence: number): ScoredRow[] {
  const random = createRandom(7);
  return Array.from({ length: count }, (_, i) => {
    const gold = labels.labels[random.below(4)];
    const predicted = random.uniform() < 0.7 ? gold : labels.labels[random.below(4)];
    return { gold: [gold], predicted: [predicted], group: `句${Math.floor(i / perSentence)}` };
  });
}

describe("bootstrap over sentences", () => {
  it("contains the point value of every convention", () => {
    const metrics = computeMetrics(randomRows(600, 2), labels);
    const { intervals } = metrics;
    expect(intervals?.draws).toBe(1000);
    expect(intervals?.groups).toBe(300);
    for (const name of ["paper", "micro", "micro-argmax"] as const) {
      expect(intervals?.[name].low).toBeLessThan(metrics.conventions[name].f1);
      expect(intervals?.[name].high).toBeGreaterThan(metrics.conventions[name].f1);
    }
    expect(intervals?.macro.low).toBeLessThan(metrics.macro.f1);
    expect(intervals?.macro.high).toBeGreaterThan(metrics.macro.f1);
  });

  it("has the width that theory gives for a mean of independent rows", () => {
    // One label a row: the paper F1 is a share p of n rows, so the 95 % interval is about ± 1.96 √(p(1−p)/n).
    const metrics = computeMetrics(randomRows(2000, 1), labels, { bootstrap: { draws: 4000 } });
    const p = metrics.conventions.paper.f1;
    const expected = 2 * 1.96 * Math.sqrt((p * (1 - p)) / 2000);
    const interval = metrics.intervals?.paper;
    const width = (interval?.high as number) - (interval?.low as number);
    expect(Math.abs(width / expected - 1)).toBeLessThan(0.08);
  });

  it("draws sentences, not rows: equal rows of one sentence widen the interval", () => {
    const single = randomRows(300, 1);
    const fourfold = single.flatMap((row) => [row, row, row, row]);
    const width = (rows: ScoredRow[]) => {
      const interval = computeMetrics(rows, labels).intervals?.paper;
      return (interval?.high as number) - (interval?.low as number);
    };
    const apart = fourfold.map(({ gold, predicted }) => ({ gold, predicted }));
    expect(width(fourfold)).toBeCloseTo(width(single), 12);
    expect(width(apart)).toBeLessThan(0.65 * width(fourfold));
  });

  it("the same seed gives the same interval, another seed another", () => {
    const rows = randomRows(200, 2);
    const intervals = (seed: number) => computeMetrics(rows, labels, { bootstrap: { seed, draws: 200 } }).intervals;
    expect(intervals(3)).toEqual(intervals(3));
    expect(intervals(3)?.paper).not.toEqual(intervals(4)?.paper);
  });

  it("one sentence, or perfect predictions, give an interval of no width", () => {
    const one = computeMetrics([{ gold: ["甲"], predicted: ["乙"], group: "句" }], labels);
    expect(one.intervals?.micro).toEqual({ low: 0, high: 0 });
    const perfect = randomRows(50, 1).map((row) => ({ ...row, predicted: row.gold }));
    expect(computeMetrics(perfect, labels).intervals?.micro).toEqual({ low: 1, high: 1 });
  });

  it("1,000 draws of 3,359 rows take under a second", () => {
    const rows = randomRows(3359, 2);
    // Processor time: other processes of a busy machine do not count.
    const start = process.cpuUsage();
    computeMetrics(rows, labels);
    const { user, system } = process.cpuUsage(start);
    expect((user + system) / 1e6).toBeLessThan(1);
  });

  it("interpolates percentiles between ranks", () => {
    expect(percentileInterval(Float64Array.from([4, 0, 3, 1, 2]), 0.5)).toEqual({ low: 1, high: 3 });
    expect(percentileInterval(Float64Array.from([10, 0]), 0.5)).toEqual({ low: 2.5, high: 7.5 });
  });

  it("refuses settings out of range", () => {
    const run = (draws: number, level: number) =>
      computeMetrics(randomRows(4, 1), labels, { bootstrap: { draws, level } });
    expect(() => run(0, 0.95)).toThrow("Bootstrap draws is 0, expected a whole number from 1 to 100000.");
    expect(() => run(1e9, 0.95)).toThrow("Bootstrap draws is 1000000000");
    expect(() => run(10, 1)).toThrow("Bootstrap level is 1, expected a number between 0 and 1.");
  });
});
