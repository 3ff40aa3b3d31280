import { type BootstrapIntervals, type BootstrapOptions, bootstrapIntervals } from "./bootstrap.ts";
import { type Confusion, confusionMatrix } from "./confusion.ts";
import { argmaxOf, indexLabels, type Score, type ScoredRow, type ScoringLabels, scoreFromCounts } from "./rows.ts";
import {
  labelCounts,
  PAPER_MAX_TRIPLES,
  scoresOfSum,
  sumTallies,
  type TallyScores,
  tallyByGroup,
  tallySlots,
} from "./tally.ts";

/** One line of the per-relation table; rows count once per label they hold or predict. */
export interface RelationScore extends Score {
  relation: string;
  isNoRelation: boolean;
  /** Rows whose gold holds the relation. */
  support: number;
  /** Rows that predict it. */
  predicted: number;
  hits: number;
}

export interface MetricCounts {
  /** Rows that are scored. */
  rows: number;
  /** Rows of the file that could not be used and were left out. */
  badRows: number;
  /** Rows that were merged into a row of the same sentence, head and tail. */
  mergedRows: number;
  /** Groups of the bootstrap. */
  sentences: number;
  /** Rows whose gold holds no label but the no-relation label. */
  noRelationRows: number;
  /** Rows with more than one distinct gold label. */
  multiLabelRows: number;
  /** Rows without any prediction; they score 0 and are not part of `unparseable`. */
  missing: number;
  /** Rows with a prediction that holds no label: an answer that could not be read, or an empty list. */
  unparseable: number;
  /** Distinct predicted labels outside the set, summed over rows; each is a wrong prediction. */
  unknownLabel: number;
  /** Rows with more triples, gold or predicted, than the `paper` convention reads. */
  beyondPaperLimit: number;
}

/** All scores of one run over one set of rows. Fractions in [0, 1]; nothing here is rounded. */
export interface Metrics extends TallyScores {
  /** Share of rows whose set of predicted labels equals the set of gold labels. */
  exactSet: number;
  /** Null when the bootstrap was switched off. */
  intervals: BootstrapIntervals | null;
  /** Labels that occur in gold or prediction, in the order of the label set. */
  relations: RelationScore[];
  confusion: Confusion;
  counts: MetricCounts;
  noRelation: string | null;
}

/**
 * Scores rows by every convention (docs/metrics.md).
 *
 * - `paper`: per row, precision, recall and F1 over the sets of relation strings (at most four triples read, the no-relation label an
 *   ordinary one, nothing read → 0), then the mean of each over rows (CRE-LLM, arXiv 2404.18085). The mean F1 is not the harmonic mean
 *   of the mean precision and recall.
 * - `micro`: over distinct (row, label) pairs without the no-relation label.
 * - `micro-argmax`: one label a row; precision over rows whose label is a relation, recall over rows whose gold holds a relation, a hit
 *   when the label is in the gold set (MG-Lattice, ACL 2019). A row that lists the no-relation label twice is not a relation here.
 * - `macro`: mean F1 over the labels of the set that occur in gold or prediction, without the no-relation label; labels that a model
 *   invents lower `micro` and are counted, but are not averaged over.
 *
 * Throws a UserError for no rows or a gold label outside the set.
 */
export function computeMetrics(
  rows: readonly ScoredRow[],
  labels: ScoringLabels,
  options: { bootstrap?: BootstrapOptions | null; badRows?: number; mergedRows?: number } = {},
): Metrics {
  const index = indexLabels(rows, labels);
  const groups = tallyByGroup(rows, labels, index);
  const sum = sumTallies(groups, tallySlots(labels));
  return {
    ...scoresOfSum(sum, labels),
    exactSet: rows.filter(isExact).length / rows.length,
    intervals: options.bootstrap === null ? null : bootstrapIntervals(groups, labels, options.bootstrap),
    relations: relationScores(sum, labels),
    confusion: confusionMatrix(rows, labels, index),
    counts: {
      ...countRows(rows, groups.length, labels, index),
      badRows: options.badRows ?? 0,
      mergedRows: options.mergedRows ?? 0,
    },
    noRelation: labels.noRelation,
  };
}

/** True when the predicted labels are the gold labels, as sets. */
export function isExact(row: ScoredRow): boolean {
  const gold = new Set(row.gold);
  const predicted = new Set(row.predicted);
  return gold.size === predicted.size && [...gold].every((label) => predicted.has(label));
}

function relationScores(sum: Float64Array, labels: ScoringLabels): RelationScore[] {
  return labels.labels.flatMap((relation, label) => {
    const { hits, predicted, gold } = labelCounts(sum, label);
    if (predicted + gold === 0) return [];
    const isNoRelation = relation === labels.noRelation;
    return [{ relation, isNoRelation, support: gold, predicted, hits, ...scoreFromCounts(hits, predicted, gold) }];
  });
}

function countRows(
  rows: readonly ScoredRow[],
  sentences: number,
  labels: ScoringLabels,
  index: ReadonlyMap<string, number>,
): MetricCounts {
  const counts: MetricCounts = {
    rows: rows.length,
    badRows: 0,
    mergedRows: 0,
    sentences,
    noRelationRows: 0,
    multiLabelRows: 0,
    missing: 0,
    unparseable: 0,
    unknownLabel: 0,
    beyondPaperLimit: 0,
  };
  for (const row of rows) {
    if (row.gold.every((label) => label === labels.noRelation)) counts.noRelationRows++;
    if (new Set(row.gold).size > 1) counts.multiLabelRows++;
    if (row.missing) counts.missing++;
    else if (row.predicted.length === 0) counts.unparseable++;
    const named = new Set(row.predicted);
    const best = argmaxOf(row);
    if (best !== null) named.add(best);
    for (const label of named) if (!index.has(label)) counts.unknownLabel++;
    if (Math.max(row.gold.length, row.predicted.length) > PAPER_MAX_TRIPLES) counts.beyondPaperLimit++;
  }
  return counts;
}
