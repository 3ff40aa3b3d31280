import { argmaxOf, type ScoredRow, type ScoringLabels } from "./rows.ts";

/** Column of predictions that are not in the label set. */
export const OUTSIDE = "(not a label)";
/** Column of rows without a prediction; row of rows without a gold label. */
export const NONE = "(none)";

/** counts[gold][predicted] over rows; `gold` is the label set and (none), `predicted` the label set, (not a label) and (none). */
export interface Confusion {
  gold: readonly string[];
  predicted: readonly string[];
  counts: readonly (readonly number[])[];
}

/**
 * Every row counts once. The predicted label is the single best one. The gold label of a row with several is the predicted one when it
 * is among them (a hit stays on the diagonal), otherwise the first in file order.
 */
export function confusionMatrix(
  rows: readonly ScoredRow[],
  labels: ScoringLabels,
  index: ReadonlyMap<string, number>,
): Confusion {
  const size = labels.labels.length;
  const counts = Array.from({ length: size + 1 }, () => new Array<number>(size + 2).fill(0));
  for (const row of rows) {
    const best = argmaxOf(row);
    const gold = best !== null && row.gold.includes(best) ? best : row.gold[0];
    const line = gold === undefined ? size : (index.get(gold) as number);
    const column = best === null ? size + 1 : (index.get(best) ?? size);
    counts[line][column]++;
  }
  return { gold: [...labels.labels, NONE], predicted: [...labels.labels, OUTSIDE, NONE], counts };
}

export interface ConfusedPair {
  gold: string;
  predicted: string;
  rows: number;
  /** Share of the rows that the confusion matrix files under this gold label. */
  share: number;
}

/** The commonest mistakes, most rows first; ties in label order. */
export function topConfusions(confusion: Confusion, limit: number): ConfusedPair[] {
  const pairs: ConfusedPair[] = [];
  for (const [line, counts] of confusion.counts.entries()) {
    const total = counts.reduce((sum, count) => sum + count, 0);
    for (const [column, rows] of counts.entries()) {
      const gold = confusion.gold[line];
      const predicted = confusion.predicted[column];
      if (rows > 0 && gold !== predicted) pairs.push({ gold, predicted, rows, share: rows / total });
    }
  }
  return pairs.sort((a, b) => b.rows - a.rows).slice(0, limit);
}
