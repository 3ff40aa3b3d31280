import { argmaxOf, type Score, type ScoredRow, type ScoringLabels, scoreFromCounts } from "./rows.ts";

/** The authors' script reads the first four triples of an answer and ignores the rest. */
export const PAPER_MAX_TRIPLES = 4;

/** The conventions by name, in the order they are shown (docs/metrics.md). Their numbers must never share a column. */
export const CONVENTIONS = ["paper", "micro", "micro-argmax"] as const;
export type Convention = (typeof CONVENTIONS)[number];

/** The scores of any set of rows: the whole test set, or one draw of the bootstrap. */
export interface TallyScores {
  conventions: Record<Convention, Score>;
  /** `relations` is how many labels the mean was taken over. */
  macro: { f1: number; relations: number };
}

/**
 * Counts of rows as a sparse vector, slot → value. Every score here is a function of sums over rows, so the sum of such vectors is all
 * that the bootstrap needs to draw sentences again.
 */
export type Tally = Map<number, number>;

const ROWS = 0;
const PAPER_PRECISION = 1;
const PAPER_RECALL = 2;
const PAPER_F1 = 3;
const MICRO_HITS = 4;
const MICRO_PREDICTED = 5;
const MICRO_GOLD = 6;
const ARGMAX_HITS = 7;
const ARGMAX_PREDICTED = 8;
const ARGMAX_GOLD = 9;
const FIRST_LABEL = 10;
const HITS = 0;
const PREDICTED = 1;
const GOLD = 2;
const SLOTS_PER_LABEL = 3;

export function tallySlots(labels: ScoringLabels): number {
  return FIRST_LABEL + SLOTS_PER_LABEL * labels.labels.length;
}

/**
 * Score of one row by the authors' script: sets of relation strings of at most four triples each, `noRelation` an ordinary label,
 * nothing predicted → 0.
 */
export function paperRowScore(row: ScoredRow): Score {
  const gold = new Set(row.gold.slice(0, PAPER_MAX_TRIPLES));
  const predicted = new Set(row.predicted.slice(0, PAPER_MAX_TRIPLES));
  return scoreFromCounts(intersectionSize(gold, predicted), predicted.size, gold.size);
}

/** Adds the counts of one row. A predicted label outside the set is a wrong prediction in every convention but has no slot of its own. */
export function addRow(tally: Tally, row: ScoredRow, labels: ScoringLabels, index: ReadonlyMap<string, number>): void {
  const add = (slot: number, value: number) => {
    if (value !== 0) tally.set(slot, (tally.get(slot) ?? 0) + value);
  };
  add(ROWS, 1);
  const paper = paperRowScore(row);
  add(PAPER_PRECISION, paper.precision);
  add(PAPER_RECALL, paper.recall);
  add(PAPER_F1, paper.f1);

  const gold = new Set(row.gold);
  const predicted = new Set(row.predicted);
  const isRelation = (label: string) => label !== labels.noRelation;
  let goldRelations = 0;
  for (const label of gold) {
    const place = FIRST_LABEL + SLOTS_PER_LABEL * (index.get(label) as number);
    add(place + GOLD, 1);
    if (predicted.has(label)) add(place + HITS, 1);
    if (!isRelation(label)) continue;
    goldRelations++;
    add(MICRO_GOLD, 1);
    if (predicted.has(label)) add(MICRO_HITS, 1);
  }
  for (const label of predicted) {
    const place = index.get(label);
    if (place !== undefined) add(FIRST_LABEL + SLOTS_PER_LABEL * place + PREDICTED, 1);
    if (isRelation(label)) add(MICRO_PREDICTED, 1);
  }

  const best = argmaxOf(row);
  if (goldRelations > 0) add(ARGMAX_GOLD, 1);
  if (best !== null && isRelation(best)) {
    add(ARGMAX_PREDICTED, 1);
    if (gold.has(best)) add(ARGMAX_HITS, 1);
  }
}

/** Scores from the dense sum of tallies. */
export function scoresOfSum(sum: Float64Array, labels: ScoringLabels): TallyScores {
  const rows = sum[ROWS];
  let f1Sum = 0;
  let relations = 0;
  for (let label = 0; label < labels.labels.length; label++) {
    if (labels.labels[label] === labels.noRelation) continue;
    const counts = labelCounts(sum, label);
    if (counts.gold + counts.predicted === 0) continue;
    relations++;
    f1Sum += scoreFromCounts(counts.hits, counts.predicted, counts.gold).f1;
  }
  return {
    conventions: {
      paper: { precision: sum[PAPER_PRECISION] / rows, recall: sum[PAPER_RECALL] / rows, f1: sum[PAPER_F1] / rows },
      micro: scoreFromCounts(sum[MICRO_HITS], sum[MICRO_PREDICTED], sum[MICRO_GOLD]),
      "micro-argmax": scoreFromCounts(sum[ARGMAX_HITS], sum[ARGMAX_PREDICTED], sum[ARGMAX_GOLD]),
    },
    macro: { f1: relations > 0 ? f1Sum / relations : 0, relations },
  };
}

/** Rows that predict a label, hold it, or both. */
export function labelCounts(sum: Float64Array, label: number): { hits: number; predicted: number; gold: number } {
  const place = FIRST_LABEL + SLOTS_PER_LABEL * label;
  return { hits: sum[place + HITS], predicted: sum[place + PREDICTED], gold: sum[place + GOLD] };
}

/** One tally per sentence; a row without a group is a group of its own. */
export function tallyByGroup(
  rows: readonly ScoredRow[],
  labels: ScoringLabels,
  index: ReadonlyMap<string, number>,
): Tally[] {
  const groups: Tally[] = [];
  const byName = new Map<string, Tally>();
  for (const row of rows) {
    let tally = row.group === undefined ? undefined : byName.get(row.group);
    if (tally === undefined) {
      tally = new Map();
      groups.push(tally);
      if (row.group !== undefined) byName.set(row.group, tally);
    }
    addRow(tally, row, labels, index);
  }
  return groups;
}

export function sumTallies(tallies: readonly Tally[], slots: number): Float64Array {
  const sum = new Float64Array(slots);
  for (const tally of tallies) for (const [slot, value] of tally) sum[slot] += value;
  return sum;
}

function intersectionSize(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  let size = 0;
  for (const item of a) if (b.has(item)) size++;
  return size;
}
