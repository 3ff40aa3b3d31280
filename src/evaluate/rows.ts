import { UserError } from "../base/errors.ts";
import type { LabelSet } from "../data/example.ts";

/** One row to score: gold and predicted labels of a (sentence, head, tail). */
export interface ScoredRow {
  /** Gold labels in file order; repeats are allowed and count once. */
  gold: readonly string[];
  /** Predicted labels in the order they were given; empty when nothing could be read. */
  predicted: readonly string[];
  /** The single best label for `micro-argmax`; null when there is none. Default: the first of `predicted`. */
  argmax?: string | null;
  /** The group that the bootstrap draws as one: the sentence. Default: the row alone. */
  group?: string;
  /** True when there was no prediction for this row at all, as opposed to one that could not be read. */
  missing?: boolean;
}

/** The part of a label set that scoring needs. */
export type ScoringLabels = Pick<LabelSet, "labels" | "noRelation">;

/** Fractions in [0, 1]. */
export interface Score {
  precision: number;
  recall: number;
  f1: number;
}

/** The single best label of a row, or null. */
export function argmaxOf(row: ScoredRow): string | null {
  return row.argmax === undefined ? (row.predicted[0] ?? null) : row.argmax;
}

/** Precision, recall and their harmonic mean; a quotient over nothing is 0. */
export function scoreFromCounts(hits: number, predicted: number, gold: number): Score {
  const precision = predicted > 0 ? hits / predicted : 0;
  const recall = gold > 0 ? hits / gold : 0;
  return { precision, recall, f1: precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0 };
}

/**
 * label → its place in the label set. Throws a UserError when there is nothing to score, a label is declared twice, `noRelation` is
 * not declared, or a gold label is not in the set: a gold file and a label set that disagree would make every number wrong.
 */
export function indexLabels(rows: readonly ScoredRow[], labels: ScoringLabels): Map<string, number> {
  if (rows.length === 0) throw new UserError("There are no rows to score, expected at least one row with gold labels.");
  const index = new Map<string, number>();
  for (const label of labels.labels) {
    if (index.has(label)) throw new UserError(`The label set declares "${label}" twice, expected each label once.`);
    index.set(label, index.size);
  }
  if (labels.noRelation !== null && !index.has(labels.noRelation)) {
    throw new UserError(
      `The label set has no "${labels.noRelation}", expected its no-relation label among its labels.`,
    );
  }
  for (const [position, row] of rows.entries()) {
    for (const label of row.gold) {
      if (index.has(label)) continue;
      throw new UserError(
        `Gold row ${position + 1}: relation "${label}" is not one of the ${index.size} labels of the set.`,
        {
          hint: "Do the gold file and the label file belong to the same data set?",
        },
      );
    }
  }
  return index;
}

/** A label set read off the rows themselves, for predictions that come without one: gold labels in order of appearance, `noRelation` first. */
export function labelsOfRows(rows: readonly Pick<ScoredRow, "gold">[], noRelation: string | null): ScoringLabels {
  const labels = new Set<string>(noRelation === null ? [] : [noRelation]);
  for (const row of rows) for (const label of row.gold) labels.add(label);
  return { labels: [...labels], noRelation };
}
