import { type Example, type LabelSet, mentionsOf } from "./example.ts";
import type { SplitCounts } from "./split.ts";

/** The examples of a split as statistics count them; `counts` come from the reader. */
export interface NamedSplit {
  name: string;
  examples: readonly Example[];
  counts?: SplitCounts;
}

/** Lengths in characters (code points); the median and the 95th percentile are the nearest rank. */
export interface LengthStatistics {
  mean: number;
  median: number;
  p95: number;
  max: number;
}

export interface SplitStatistics {
  name: string;
  rows: number;
  badRows: number;
  /** Rows whose relations were added to an earlier row with equal input. */
  merged: number;
  exactDuplicates: number;
  examples: number;
  sentences: number;
  /** Examples whose only label is the one for no relation. */
  noRelationOnly: number;
  /** Examples with more than one different label. */
  multiRelation: number;
  sameEntity: number;
  /** Examples in which the mentions of head and tail share characters. */
  overlappingEntities: number;
  sentenceChars: LengthStatistics;
  /** Examples whose (tail, head) is also an example of that sentence. */
  mirrored: number;
  /** Mirrored examples whose labels all have a declared inverse, and those of them whose mirror has just these inverses. */
  inverseChecked: number;
  inverseConsistent: number;
  /** label → examples that have it. */
  labels: Record<string, number>;
}

/** Examples of `to` whose content is in `from` as well. */
export interface Leakage {
  from: string;
  to: string;
  examples: number;
  sameSentence: number;
  /** Same sentence and same two entities, in either order. */
  sameSentenceAndPair: number;
  /** Same head, tail and at least one same label other than no relation, in any sentence: what a model can have remembered. */
  samePairAndLabel: number;
}

export interface DatasetStatistics {
  labels: number;
  splits: SplitStatistics[];
  leakage: Leakage[];
}

/** Counts what is in the splits of a dataset and what they share; every split is compared with every later one. */
export function datasetStatistics(splits: readonly NamedSplit[], labels: LabelSet): DatasetStatistics {
  const leakage = splits.flatMap((from, i) => splits.slice(i + 1).map((to) => leakageBetween(from, to, labels)));
  return { labels: labels.labels.length, splits: splits.map((split) => splitStatistics(split, labels)), leakage };
}

function splitStatistics(split: NamedSplit, labels: LabelSet): SplitStatistics {
  const { name, examples, counts } = split;
  const labelsOfPair = new Map<string, Set<string>>();
  for (const example of examples) {
    const key = pairKey(example.sentence, example.head, example.tail);
    const labelsHere = labelsOfPair.get(key) ?? new Set();
    for (const label of example.relations ?? []) labelsHere.add(label);
    labelsOfPair.set(key, labelsHere);
  }
  const perLabel = new Map<string, number>(labels.labels.map((label) => [label, 0]));
  const statistics = { noRelationOnly: 0, multiRelation: 0, sameEntity: 0, overlappingEntities: 0 };
  const mirror = { mirrored: 0, inverseChecked: 0, inverseConsistent: 0 };
  for (const example of examples) {
    const { sentence, head, tail } = example;
    const own = new Set(example.relations);
    for (const label of own) perLabel.set(label, (perLabel.get(label) ?? 0) + 1);
    if (own.size === 1 && labels.noRelation !== null && own.has(labels.noRelation)) statistics.noRelationOnly++;
    if (own.size > 1) statistics.multiRelation++;
    if (head === tail) statistics.sameEntity++;
    if (hasOverlap(example)) statistics.overlappingEntities++;
    const reverse = head === tail ? undefined : labelsOfPair.get(pairKey(sentence, tail, head));
    if (reverse === undefined) continue;
    mirror.mirrored++;
    const inverses = Array.from(own, (label) => labels.inverses.get(label));
    if (inverses.includes(undefined) || own.size === 0) continue;
    mirror.inverseChecked++;
    const isSame = inverses.length === reverse.size && inverses.every((label) => reverse.has(label as string));
    if (isSame) mirror.inverseConsistent++;
  }
  return {
    name,
    rows: counts?.rows ?? examples.length,
    badRows: counts?.badRows ?? 0,
    merged: counts?.merged ?? 0,
    exactDuplicates: counts?.exactDuplicates ?? 0,
    examples: examples.length,
    sentences: new Set(examples.map((example) => example.sentence)).size,
    ...statistics,
    sentenceChars: lengthStatistics(examples.map((example) => Array.from(example.sentence).length)),
    ...mirror,
    labels: Object.fromEntries(perLabel),
  };
}

function leakageBetween(from: NamedSplit, to: NamedSplit, labels: LabelSet): Leakage {
  const sentences = new Set<string>();
  const pairs = new Set<string>();
  const facts = new Set<string>();
  const factsOf = ({ head, tail, relations = [] }: Example) =>
    relations.filter((label) => label !== labels.noRelation).map((label) => pairKey(label, head, tail));
  for (const example of from.examples) {
    sentences.add(example.sentence);
    pairs.add(unorderedKey(example));
    for (const fact of factsOf(example)) facts.add(fact);
  }
  const count = (isShared: (example: Example) => boolean) => to.examples.filter(isShared).length;
  return {
    from: from.name,
    to: to.name,
    examples: to.examples.length,
    sameSentence: count((example) => sentences.has(example.sentence)),
    sameSentenceAndPair: count((example) => pairs.has(unorderedKey(example))),
    samePairAndLabel: count((example) => factsOf(example).some((fact) => facts.has(fact))),
  };
}

function pairKey(context: string, head: string, tail: string): string {
  return `${head.length},${tail.length}:${head}${tail}${context}`;
}

function unorderedKey({ sentence, head, tail }: Example): string {
  return head < tail ? pairKey(sentence, head, tail) : pairKey(sentence, tail, head);
}

function hasOverlap({ sentence, head, tail, headSpan, tailSpan }: Example): boolean {
  const heads = mentionsOf(sentence, head, headSpan);
  const tails = mentionsOf(sentence, tail, tailSpan);
  // Both lists are in the order of the text: of two mentions that do not touch, the earlier one touches no later mention either.
  for (let i = 0, j = 0; i < heads.length && j < tails.length; ) {
    if (heads[i].end <= tails[j].start) i++;
    else if (tails[j].end <= heads[i].start) j++;
    else return true;
  }
  return false;
}

function lengthStatistics(lengths: number[]): LengthStatistics {
  if (lengths.length === 0) return { mean: 0, median: 0, p95: 0, max: 0 };
  const sorted = lengths.sort((a, b) => a - b);
  const rank = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  const mean = sorted.reduce((sum, length) => sum + length, 0) / sorted.length;
  return { mean, median: rank(0.5), p95: rank(0.95), max: sorted[sorted.length - 1] };
}
