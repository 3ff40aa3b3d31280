import { describe, expect, it } from "vitest";
import { errorExamples } from "./error-examples.ts";
import { computeMetrics } from "./metrics.ts";
import { trivialReferences } from "./references.ts";
import { printable, renderReport, toJson } from "./report.ts";
import type { ScoredRow } from "./rows.ts";

const labels = { labels: ["unknown", "拥有", "收购", "General-Special"], noRelation: "unknown" };
const rows: ScoredRow[] = [
  { gold: ["拥有"], predicted: ["拥有"] },
  { gold: ["拥有", "收购"], predicted: ["收购"] },
  { gold: ["unknown"], predicted: ["General-Special"] },
  { gold: ["General-Special"], predicted: [] },
];
const metrics = computeMetrics(rows, labels, { mergedRows: 1 });
const matching = {
  goldRows: 4,
  mergedGoldRows: 1,
  predictionLines: 5,
  failed: 0,
  matched: 4,
  missing: 0,
  duplicates: 1,
  unmatched: 0,
  goldDiffers: 0,
  suspectedNoRelation: "其他",
  notes: ["line 5: (甲, 乙) was predicted before on line 2"],
};

/** Columns that a terminal gives to a text: two for a wide character. */
function terminalWidth(text: string): number {
  return [...text].reduce((width, c) => width + (/[\u2e80-\u9fff\uff00-\uff60]/.test(c) ? 2 : 1), 0);
}

describe("terminal report", () => {
  const text = renderReport(metrics, { title: "FinRE, test", references: trivialReferences(rows, labels), matching });
  const lines = text.split("\n");
  const lineOf = (start: string) => lines.find((line) => line.startsWith(start)) ?? "";

  it("names every convention with its own numbers, interval and references", () => {
    expect(lineOf("convention")).toMatch(/precision +recall +F1 +95 % interval +always unknown +best single label$/);
    expect(lineOf("paper")).toMatch(/^paper +50\.0 +37\.5 +41\.7 +\d+\.\d – \d+\.\d +25\.0 +91\.7$/);
    expect(lineOf("micro ")).toMatch(/^micro +66\.7 +50\.0 +57\.1 +\S+ – \S+ +0\.0 +85\.7$/);
    expect(lineOf("micro-argmax")).toMatch(/^micro-argmax +66\.7 +66\.7 +66\.7 +\S+ – \S+ +0\.0 +100\.0$/);
    expect(lineOf("macro F1")).toMatch(/^macro F1 +55\.6 +\S+ – \S+ +0\.0 +66\.7$/);
    expect(text).toContain("rows whose set of labels is right: 25.0 %");
  });

  it("says what was scored otherwise than it came", () => {
    expect(text).toContain("! 1 of 4 rows have a prediction without any label and score 0");
    expect(text).toContain("! 1 predictions were left out: their row had one already");
    expect(text).toContain(
      '! the label "其他" counts as a relation; if it means no relation, declare it: --no-relation',
    );
    expect(text).toContain("! 1 of 5 rows were merged");
    expect(text).toContain("line 5: (甲, 乙) was predicted before on line 2");
  });

  it("keeps the columns of wide and narrow labels in line", () => {
    const from = lines.findIndex((line) => line.startsWith("relation "));
    const table = lines.slice(from, from + 1 + metrics.relations.length);
    expect(table).toHaveLength(5);
    expect(new Set(table.map(terminalWidth)).size).toBe(1);
  });

  it("lists the confusions, cuts long tables and says so", () => {
    expect(lineOf("gold ")).toMatch(/taken for +rows +% of gold$/);
    expect(text).toMatch(/General-Special +\(none\) +1 +100\.0/);
    expect(renderReport(metrics, { maxRelations: 1 })).toContain("and 3 more relations");
  });

  it("colours only when asked to, and passes no control character on", () => {
    const hasControl = (report: string) => [...report].some((c) => c !== "\n" && c < " ");
    const hostile = { ...labels, labels: [...labels.labels, "\u001b[31m红\u202e"] };
    const withHostile = computeMetrics([...rows, { gold: ["\u001b[31m红\u202e"], predicted: [] }], hostile);
    expect(hasControl(renderReport(withHostile, { title: "a\u001b]0;x\u0007" }))).toBe(false);
    expect(hasControl(renderReport(metrics, { colour: true }))).toBe(true);
    expect(printable("红\u202e")).toBe("红\uFFFD");
  });

  it("shows no interval when there is none", () => {
    expect(renderReport(computeMetrics(rows, labels, { bootstrap: null }))).not.toContain("interval");
  });
});

describe("JSON", () => {
  it("has a schema, a version and the whole confusion matrix, and survives being written", () => {
    const json = toJson(metrics, { matching });
    expect(Object.keys(json)).toEqual([
      "schema",
      "version",
      "conventions",
      "macro",
      "exactSet",
      "intervals",
      "counts",
      "matching",
      "noRelation",
      "relations",
      "confusion",
    ]);
    expect(json).toMatchObject({ schema: "cre-metrics", version: 1 });
    expect(Object.keys(json.conventions)).toEqual(["paper", "micro", "micro-argmax"]);
    expect(json.confusion.counts).toHaveLength(5);
    expect(JSON.parse(JSON.stringify(json))).toEqual(json);
  });
});

describe("error examples", () => {
  it("are the rows whose set is wrong, surest first", () => {
    const examples = rows.map((_, i) => ({ sentence: `句${i}`, head: "甲", tail: "乙" }));
    const found = errorExamples(examples, rows, [0.9, 0.4, 0.8, null]);
    expect(found.map(({ sentence, probability }) => [sentence, probability])).toEqual([
      ["句2", 0.8],
      ["句1", 0.4],
      ["句3", undefined],
    ]);
    expect(found[1]).toMatchObject({ gold: ["拥有", "收购"], predicted: ["收购"] });
  });
});
