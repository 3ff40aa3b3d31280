import { computeMetrics } from "./metrics.ts";
import type { ScoredRow, ScoringLabels } from "./rows.ts";
import { CONVENTIONS, type Convention } from "./tally.ts";

/** F1 values of something simple on the same rows, to compare a result with. Fractions; absent where unknown. */
export interface Reference {
  name: string;
  f1: Partial<Record<Convention | "macro", number>>;
}

/** References that need no model: the no-relation label for every row, and the best that one label a row can reach (the first gold relation). */
export function trivialReferences(rows: readonly ScoredRow[], labels: ScoringLabels): Reference[] {
  const references: Reference[] = [];
  const { noRelation } = labels;
  if (noRelation !== null) references.push(referenceFor(`always ${noRelation}`, rows, labels, () => noRelation));
  const best = (row: ScoredRow) => row.gold.find((label) => label !== noRelation) ?? row.gold[0];
  references.push(referenceFor("best single label", rows, labels, best));
  return references;
}

function referenceFor(
  name: string,
  rows: readonly ScoredRow[],
  labels: ScoringLabels,
  choose: (row: ScoredRow) => string | undefined,
): Reference {
  const answered = rows.map((row) => {
    const label = choose(row);
    return { gold: row.gold, predicted: label === undefined ? [] : [label] };
  });
  const metrics = computeMetrics(answered, labels, { bootstrap: null });
  const f1 = Object.fromEntries(CONVENTIONS.map((convention) => [convention, metrics.conventions[convention].f1]));
  return { name, f1: { ...f1, macro: metrics.macro.f1 } };
}
