import { describe, expect, it } from "vitest";
import { compareRows } from "./compare.ts";
import { changedRowsJson, comparisonJson, pText, renderComparison, signed } from "./compare-report.ts";
import { computeMetrics } from "./metrics.ts";
import type { ScoredRow } from "./rows.ts";

const labels = { labels: ["unknown", "收购", "合作"], noRelation: "unknown" };
const GOLD = [["收购"], ["收购"], ["合作"], ["unknown"], ["收购", "合作"], ["合作"]];
const examples = GOLD.map((relations, i) => ({ sentence: `${i}甲和乙`, head: "甲", tail: "乙", relations }));

/** Rows with these answers, one sentence each. */
const rowsOf = (...answers: string[][]): ScoredRow[] =>
  GOLD.map((gold, i) => ({ gold, predicted: answers[i], group: examples[i].sentence }));

const A = rowsOf(["收购"], ["合作"], ["合作"], ["unknown"], ["收购"], ["unknown"]);
const B = rowsOf(["unknown"], ["收购"], ["合作"], ["unknown"], ["合作"], ["合作"]);
const bootstrap = { draws: 200, seed: 1 };

describe("a comparison of two runs", () => {
  const comparison = compareRows([A], [B], labels, bootstrap);

  it("has the F1 of both by every convention, and their difference", () => {
    for (const [side, rows] of [
      ["a", A],
      ["b", B],
    ] as const) {
      const { conventions, macro } = computeMetrics(rows, labels, { bootstrap: null });
      expect(comparison.f1.paper[side]).toBe(conventions.paper.f1);
      expect(comparison.f1.micro[side]).toBe(conventions.micro.f1);
      expect(comparison.f1["micro-argmax"][side]).toBe(conventions["micro-argmax"].f1);
      expect(comparison.f1.macro[side]).toBe(macro.f1);
    }
    // A: hits 收购, 合作, 收购 of 4 predicted and 6 gold. B: hits 收购, 合作, 合作, 合作 of 4 predicted and 6 gold.
    expect(comparison.f1.micro.a).toBeCloseTo(0.6, 12);
    expect(comparison.f1.micro.b).toBeCloseTo(0.8, 12);
    expect(comparison.f1.micro.difference).toBeCloseTo(0.2, 12);
    expect(comparison.f1.micro.interval.low).toBeLessThan(0.2);
    expect(comparison.f1.micro.interval.high).toBeGreaterThan(0.2);
    expect(comparison.f1.micro.p).toBeGreaterThan(0.05);
    expect(comparison.f1.micro.withSeeds).toBeNull();
  });

  it("lists the rows whose answer changed", () => {
    expect(comparison.changed).toEqual([
      { place: 0, change: "right-to-wrong", a: [["收购"]], b: [["unknown"]] },
      { place: 1, change: "wrong-to-right", a: [["合作"]], b: [["收购"]] },
      { place: 4, change: "wrong-to-wrong", a: [["收购"]], b: [["合作"]] },
      { place: 5, change: "wrong-to-right", a: [["unknown"]], b: [["合作"]] },
    ]);
    expect(comparison.counts).toEqual({
      rows: 6,
      sentences: 6,
      changed: { "right-to-wrong": 1, "wrong-to-right": 2, "wrong-to-wrong": 1 },
    });
  });

  it("has every relation of gold or answers", () => {
    expect(
      comparison.relations.map(({ relation, support, isNoRelation }) => [relation, support, isNoRelation]),
    ).toEqual([
      ["unknown", 1, true],
      ["收购", 3, false],
      ["合作", 3, false],
    ]);
    // 收购: A hits 2 of 2 predicted and 3 gold, B hits 1 of 1 predicted and 3 gold.
    expect(comparison.relations[1].a).toBeCloseTo(0.8, 12);
    expect(comparison.relations[1].b).toBeCloseTo(0.5, 12);
  });

  it("is the same for the same seed, and turned round for turned sides", () => {
    expect(compareRows([A], [B], labels, bootstrap)).toEqual(comparison);
    const turned = compareRows([B], [A], labels, bootstrap).f1.micro;
    expect(turned.difference).toBeCloseTo(-comparison.f1.micro.difference, 12);
    expect(turned.interval.low).toBeCloseTo(-comparison.f1.micro.interval.high, 12);
    expect(turned.p).toBe(comparison.f1.micro.p);
  });

  it("is shown as text and as JSON", () => {
    const text = renderComparison(comparison, {
      names: { a: ["runs/a"], b: ["runs/b"] },
      title: "toy",
      examples,
      rows: A,
    });
    expect(text).toContain("toy: 6 rows, 6 sentences");
    expect(text).toMatch(/^micro +60\.0 +80\.0 +\+20\.0 +−?[\d.]+ to \+[\d.]+ +0\.\d{3}$/m);
    expect(text).toMatch(/^收购 +3 +80\.0 +50\.0 +−30\.0/m);
    expect(text).toContain("1 right → wrong, 2 wrong → right, 1 wrong with another answer, 2 alike");
    expect(text).toContain('right → wrong  "0甲和乙"\n    (甲, 乙)  收购  A 收购  B unknown');
    expect(text).not.toContain("seeds drawn too");
    const json = JSON.parse(JSON.stringify(comparisonJson(comparison)));
    expect(json).toMatchObject({ schema: "cre-comparison", version: 1, counts: { rows: 6 } });
    expect(json.changed).toBeUndefined();
    expect(changedRowsJson(comparison, examples)[0]).toEqual({
      ...{ change: "right-to-wrong", sentence: "0甲和乙", head: "甲", tail: "乙", relations: ["收购"] },
      ...{ a: [["收购"]], b: [["unknown"]] },
    });
  });
});

describe("a comparison of several seeds", () => {
  const wrong = rowsOf(["合作"], ["合作"], ["收购"], ["收购"], ["unknown"], ["unknown"]);

  it("takes the mean of the runs of each side and draws the runs too", () => {
    const { f1, counts } = compareRows([A, A, wrong], [B, B, B], labels, bootstrap);
    expect(f1.micro.each.a[0]).toBeCloseTo(0.6, 12);
    expect(f1.micro.each.a[2]).toBe(0);
    expect(f1.micro.a).toBeCloseTo(0.4, 12);
    expect(f1.micro.b).toBeCloseTo(0.8, 12);
    const width = ({ low, high }: { low: number; high: number }) => high - low;
    expect(width(f1.micro.withSeeds?.interval ?? { low: 0, high: 0 })).toBeGreaterThan(width(f1.micro.interval));
    // By majority A is as its first two runs are.
    expect(counts.changed["wrong-to-right"]).toBe(2);
    const text = renderComparison(compareRows([A, A, wrong], [B], labels, bootstrap), {
      ...{ names: { a: ["1", "2", "3"], b: ["b"] }, title: "toy", examples, rows: A },
    });
    expect(text).toContain("seeds drawn too");
    expect(text).toMatch(/^micro +60\.0, 60\.0, 0\.0 +80\.0$/m);
  });

  it("calls half of the runs wrong, and equal answers in another order alike", () => {
    const { changed } = compareRows([A, wrong], [wrong, A], labels, bootstrap);
    expect(changed).toEqual([]);
  });
});

describe("numbers in a comparison", () => {
  it("have a sign, and no minus before a rounded zero", () => {
    expect([0.0123, -0.0123, 0, -0.0004].map(signed)).toEqual(["+1.2", "−1.2", "0.0", "0.0"]);
    expect([1, 0.0123, 0.0002].map(pText)).toEqual(["1.000", "0.012", "< 0.001"]);
  });
});
