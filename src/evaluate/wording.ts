import { quoted } from "../data/example.ts";
import { noRelationLookalike } from "../data/no-relation.ts";
import type { Metrics } from "./metrics.ts";
import type { Matching } from "./score-predictions.ts";
import type { Convention } from "./tally.ts";

/** What each convention counts, in one line; shown wherever its numbers are. */
export const MEANINGS: Record<Convention | "macro", string> = {
  paper: "mean over rows of set precision, recall and F1; no relation is an ordinary label",
  micro: "all (row, label) pairs; no relation does not count",
  "micro-argmax": "one label a row, a hit if it is in the gold set; no relation does not count",
  macro: "mean F1 over relations; no relation does not count",
};

/** A fraction as a percentage with one decimal: 0.4567 → "45.7". */
export function percent(fraction: number): string {
  return (100 * fraction).toFixed(1);
}

/** A probability as a percentage: one decimal, and two digits where it is below 1 %: 0.4567 → "45.7", 0.000123 → "0.012"; "0" below 1e-6. */
export function percentOfSmall(probability: number): string {
  if (probability < 1e-6) return "0";
  const value = 100 * probability;
  return value >= 1 ? value.toFixed(1) : String(Number(value.toPrecision(2)));
}

/** 12345 → "12,345". */
export function grouped(count: number): string {
  return count.toLocaleString("en-US");
}

/** What to do about a label that is scored as a relation and may mean "no relation"; null when there is none. */
export function noRelationRemark({ noRelation, relations }: Metrics, matching: Matching | null): string | null {
  const undeclared = noRelation === null ? noRelationLookalike(relations.map(({ relation }) => relation)) : null;
  const suspected = matching === null ? undeclared : matching.suspectedNoRelation;
  if (suspected === null) return null;
  const step = matching === null ? "noRelation in labels.json" : "--no-relation, or noRelation in labels.json";
  return `the label ${quoted(suspected)} counts as a relation; if it means no relation, declare it: ${step}`;
}

/** Rows that are not among those that are scored, for the line that says how many are; empty when there are none. */
export function missingRows({ counts: { rows, badRows, mergedRows } }: Metrics): string {
  const whole = grouped(rows + badRows + mergedRows);
  const leftOut = badRows === 0 ? "" : `; ${grouped(badRows)} of ${whole} rows left out`;
  return mergedRows === 0 ? leftOut : `${leftOut}; ${grouped(mergedRows)} of ${whole} rows merged into another`;
}

/** What was scored otherwise than it came, one sentence each; empty when all is well. */
export function remarks(metrics: Metrics, matching: Matching | null): string[] {
  const { counts } = metrics;
  const whole = grouped(counts.rows + counts.badRows + counts.mergedRows);
  const of = `of ${grouped(counts.rows)} rows`;
  const found: [number, string][] = [
    [counts.badRows, `of ${whole} rows were left out: they cannot be used`],
    [counts.mergedRows, `of ${whole} rows were merged into a row of the same sentence, head and tail`],
    [counts.missing, `${of} have no prediction and score 0`],
    [counts.unparseable, `${of} have a prediction without any label and score 0`],
    [counts.unknownLabel, "predicted labels are not in the label set and count as wrong"],
    [counts.beyondPaperLimit, `${of} have more than four triples; the paper convention reads four`],
    [matching?.failed ?? 0, "lines say only why their row could not be extracted"],
    [matching?.duplicates ?? 0, "predictions were left out: their row had one already"],
    [matching?.unmatched ?? 0, "predictions were left out: their row is not in the gold file"],
    [matching?.goldDiffers ?? 0, "answers carry a label that differs from the gold file; the gold file counts"],
  ];
  const said = found.filter(([count]) => count > 0).map(([count, text]) => `${grouped(count)} ${text}`);
  const suspicion = noRelationRemark(metrics, matching);
  return suspicion === null ? said : [...said, suspicion];
}
