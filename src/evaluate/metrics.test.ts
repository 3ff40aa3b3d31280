import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { topConfusions } from "./confusion.ts";
import { computeMetrics } from "./metrics.ts";
import { trivialReferences } from "./references.ts";
import { labelsOfRows, type ScoredRow } from "./rows.ts";

const labels = { labels: ["unknown", "拥有", "收购", "竞争"], noRelation: "unknown" };
const score = (rows: ScoredRow[]) => computeMetrics(rows, labels, { bootstrap: null });

/** Four rows counted by hand in the tests below. */
const hand: ScoredRow[] = [
  { gold: ["拥有"], predicted: ["拥有"] },
  { gold: ["拥有", "收购"], predicted: ["收购", "竞争"] },
  { gold: ["unknown"], predicted: ["竞争"] },
  { gold: ["竞争"], predicted: [] },
];

describe("conventions, counted by hand", () => {
  it("paper: the mean over rows of set precision, recall and F1", () => {
    // Rows: 1/1/1, ½/½/½, 0/0/0, 0/0/0.
    expect(score(hand).conventions.paper).toEqual({ precision: 0.375, recall: 0.375, f1: 0.375 });
  });

  it("paper: the mean F1 is not the harmonic mean of the mean precision and recall", () => {
    const { paper } = score([
      { gold: ["拥有", "收购"], predicted: ["拥有"] },
      { gold: ["unknown"], predicted: ["unknown", "竞争"] },
    ]).conventions;
    expect(paper.precision).toBe(0.75);
    expect(paper.recall).toBe(0.75);
    expect(paper.f1).toBeCloseTo(2 / 3, 12);
  });

  it("paper: reads four triples of gold and prediction, repeats included, and counts the rows with more", () => {
    const metrics = score([
      { gold: ["拥有", "拥有", "收购", "收购", "竞争"], predicted: ["竞争", "收购"] },
      { gold: ["unknown"], predicted: ["拥有", "收购", "竞争", "拥有", "unknown"] },
    ]);
    // First row: gold {拥有, 收购}, predicted {竞争, 收购}: ½. Second: the right label comes fifth: 0.
    expect(metrics.conventions.paper.f1).toBe(0.25);
    expect(metrics.counts.beyondPaperLimit).toBe(2);
  });

  it("micro: distinct (row, label) pairs without the no-relation label", () => {
    // Hits 拥有(1), 收购(2); predicted 1 + 2 + 1; gold 1 + 2 + 0 + 1.
    expect(score(hand).conventions.micro).toEqual({ precision: 0.5, recall: 0.5, f1: 0.5 });
    expect(score([{ gold: ["拥有", "拥有"], predicted: ["拥有", "拥有", "unknown"] }]).conventions.micro.f1).toBe(1);
  });

  it("micro-argmax: one label a row, a hit when it is in the gold set; recall over rows that hold a relation", () => {
    // Argmax 拥有 ✓, 收购 ✓, 竞争 ✗, none; gold rows with a relation: 3.
    expect(score(hand).conventions["micro-argmax"]).toEqual({ precision: 2 / 3, recall: 2 / 3, f1: 2 / 3 });
  });

  it("micro-argmax: takes the given label before the first predicted one", () => {
    const rows: ScoredRow[] = [{ gold: ["拥有"], predicted: ["收购", "拥有"] }];
    expect(score(rows).conventions["micro-argmax"].f1).toBe(0);
    expect(score([{ ...rows[0], argmax: "拥有" }]).conventions["micro-argmax"].f1).toBe(1);
    expect(score([{ ...rows[0], argmax: null }]).conventions["micro-argmax"].precision).toBe(0);
  });

  it("macro: the mean F1 of the relations that occur; exact set: equal sets", () => {
    const metrics = score(hand);
    // 拥有: P 1, R ½ → ⅔. 收购: 1. 竞争: 0 hits of 2 predicted, 1 gold → 0.
    expect(metrics.macro.f1).toBeCloseTo((2 / 3 + 1 + 0) / 3, 12);
    expect(metrics.macro.relations).toBe(3);
    expect(metrics.exactSet).toBe(0.25);
  });

  it("per relation: support, predicted, hits", () => {
    expect(score(hand).relations).toEqual([
      { relation: "unknown", isNoRelation: true, support: 1, predicted: 0, hits: 0, precision: 0, recall: 0, f1: 0 },
      {
        relation: "拥有",
        isNoRelation: false,
        support: 2,
        predicted: 1,
        hits: 1,
        precision: 1,
        recall: 0.5,
        f1: expect.closeTo(2 / 3, 12),
      },
      { relation: "收购", isNoRelation: false, support: 1, predicted: 1, hits: 1, precision: 1, recall: 1, f1: 1 },
      { relation: "竞争", isNoRelation: false, support: 1, predicted: 2, hits: 0, precision: 0, recall: 0, f1: 0 },
    ]);
  });

  it("confusion: a hit stays on the diagonal, otherwise the first gold label counts", () => {
    const { confusion } = score([
      ...hand,
      { gold: ["收购", "拥有"], predicted: ["竞争"] },
      { gold: ["拥有"], predicted: ["胡说"] },
    ]);
    expect(confusion.gold).toEqual(["unknown", "拥有", "收购", "竞争", "(none)"]);
    expect(confusion.predicted).toEqual(["unknown", "拥有", "收购", "竞争", "(not a label)", "(none)"]);
    expect(confusion.counts).toEqual([
      [0, 0, 0, 1, 0, 0],
      [0, 1, 0, 0, 1, 0],
      [0, 0, 1, 1, 0, 0],
      [0, 0, 0, 0, 0, 1],
      [0, 0, 0, 0, 0, 0],
    ]);
    expect(topConfusions(confusion, 2)).toEqual([
      { gold: "unknown", predicted: "竞争", rows: 1, share: 1 },
      { gold: "拥有", predicted: "(not a label)", rows: 1, share: 0.5 },
    ]);
  });

  it("counts what could not be scored as it came", () => {
    const { counts, conventions } = score([
      ...hand,
      { gold: ["拥有"], predicted: ["胡说", "胡说", "拥有"] },
      { gold: ["unknown", "unknown"], predicted: [], missing: true },
    ]);
    expect(counts).toEqual({
      rows: 6,
      badRows: 0,
      mergedRows: 0,
      sentences: 6,
      noRelationRows: 2,
      multiLabelRows: 1,
      missing: 1,
      unparseable: 1,
      unknownLabel: 1,
      beyondPaperLimit: 0,
    });
    // The invented label is one more wrong prediction: 3 hits of 6.
    expect(conventions.micro.precision).toBe(0.5);
  });

  it("a quotient over nothing is 0, never NaN", () => {
    const metrics = score([{ gold: ["unknown"], predicted: ["unknown"] }]);
    expect(metrics.conventions.micro).toEqual({ precision: 0, recall: 0, f1: 0 });
    expect(metrics.macro).toEqual({ f1: 0, relations: 0 });
    expect(metrics.conventions.paper.f1).toBe(1);
  });

  it("works without a no-relation label", () => {
    const metrics = computeMetrics(
      [
        { gold: [], predicted: [] },
        { gold: ["a"], predicted: ["a"] },
      ],
      { labels: ["a"], noRelation: null },
    );
    expect(metrics.conventions.micro.f1).toBe(1);
    expect(metrics.exactSet).toBe(1);
    expect(metrics.confusion.counts).toEqual([
      [1, 0, 0],
      [0, 0, 1],
    ]);
  });
});

describe("what cannot be scored", () => {
  it("no rows", () => {
    expect(() => score([])).toThrow("There are no rows to score, expected at least one row with gold labels.");
  });

  it("a gold label outside the set", () => {
    expect(() => score([hand[0], { gold: ["结婚"], predicted: [] }])).toThrow(
      'Gold row 2: relation "结婚" is not one of the 4 labels of the set.',
    );
  });

  it("a label declared twice, or a no-relation label that is not declared", () => {
    const score1 = (names: string[], noRelation: string | null) =>
      computeMetrics([{ gold: [], predicted: [] }], { labels: names, noRelation });
    expect(() => score1(["a", "a"], null)).toThrow('declares "a" twice');
    expect(() => score1(["a"], "NA")).toThrow('The label set has no "NA"');
  });
});

describe("properties", () => {
  const label = fc.constantFrom(...labels.labels);
  const rowsArbitrary = fc.array(
    fc.record({ gold: fc.array(label, { minLength: 1, maxLength: 3 }), predicted: fc.array(label, { maxLength: 3 }) }),
    { minLength: 1, maxLength: 30 },
  );

  it("the order of rows does not matter", () => {
    fc.assert(
      fc.property(rowsArbitrary, (rows) => {
        const a = score(rows);
        const b = score([...rows].reverse());
        expect(b.conventions.micro).toEqual(a.conventions.micro);
        expect(b.conventions["micro-argmax"]).toEqual(a.conventions["micro-argmax"]);
        expect(b.conventions.paper.f1).toBeCloseTo(a.conventions.paper.f1, 12);
        expect(b.relations).toEqual(a.relations);
        expect(b.confusion).toEqual(a.confusion);
        expect(b.counts).toEqual(a.counts);
      }),
    );
  });

  it("predicting the gold is perfect in every convention, with every relation on the diagonal", () => {
    fc.assert(
      fc.property(rowsArbitrary, (rows) => {
        const perfect = [...rows, { gold: ["拥有"] }].map(({ gold }) => ({
          gold,
          predicted: gold,
          argmax: gold.find((name) => name !== "unknown") ?? "unknown",
        }));
        const metrics = score(perfect);
        for (const convention of Object.values(metrics.conventions)) {
          expect(convention).toEqual({ precision: 1, recall: 1, f1: 1 });
        }
        expect(metrics.macro.f1).toBe(1);
        expect(metrics.exactSet).toBe(1);
        expect(topConfusions(metrics.confusion, 10)).toEqual([]);
      }),
    );
  });

  it("the confusion matrix holds every row once, and every value is a fraction", () => {
    fc.assert(
      fc.property(rowsArbitrary, (rows) => {
        const metrics = score(rows);
        expect(metrics.confusion.counts.flat().reduce((sum, count) => sum + count, 0)).toBe(rows.length);
        for (const { precision, recall, f1 } of Object.values(metrics.conventions)) {
          for (const value of [precision, recall, f1]) expect(value >= 0 && value <= 1).toBe(true);
        }
      }),
    );
  });
});

/** The published test files, rows of one (sentence, head, tail) merged. */
function goldRows(file: string): ScoredRow[] {
  const merged = new Map<string, { gold: string[]; predicted: string[]; group: string }>();
  for (const line of readFileSync(file, "utf8").split(/\r?\n/)) {
    if (line === "") continue;
    const [head, tail, relation, sentence] = line.split("\t");
    const key = JSON.stringify([head, tail, sentence]);
    const row = merged.get(key) ?? { gold: [], predicted: [], group: sentence };
    row.gold.push(relation);
    merged.set(key, row);
  }
  return [...merged.values()];
}

const dataFolder = "../shared/data";
const hasData = existsSync(`${dataFolder}/finre/test.txt`);
if (!hasData) console.warn(`skipped: the reference points of the test sets need ${dataFolder}`);

describe.skipIf(!hasData)("reference points on the published test sets (docs/metrics.md)", () => {
  const points = [
    { set: "finre", rows: 3359, noRelation: 917, multi: 360, always: 29.0, best: 96.4 },
    { set: "sanwen", rows: 2205, noRelation: 646, multi: 14, always: 29.7, best: 99.8 },
  ];
  for (const point of points) {
    it(`${point.set}: always unknown ${point.always} / 0, best single label ${point.best} / 100`, () => {
      const rows = goldRows(`${dataFolder}/${point.set}/test.txt`);
      const set = labelsOfRows(rows, "unknown");
      const [always, best] = trivialReferences(rows, set);
      expect(always.name).toBe("always unknown");
      expect(100 * (always.f1.paper as number)).toBeCloseTo(point.always, 1);
      expect(always.f1["micro-argmax"]).toBe(0);
      expect(100 * (best.f1.paper as number)).toBeCloseTo(point.best, 1);
      expect(best.f1["micro-argmax"]).toBe(1);
      const { counts } = computeMetrics(rows, set, { bootstrap: null });
      expect(counts.rows).toBe(point.rows);
      expect(counts.noRelationRows).toBe(point.noRelation);
      expect(counts.multiLabelRows).toBe(point.multi);
    });
  }
});
