import { createRandom, mixSeed } from "../base/random.ts";
import type { Example, LabelSet } from "../data/example.ts";
import type { AnnotatedSentence } from "../data/mentions-file.ts";
import { pairsBySentence, type SentencePair } from "../data/sentence-pairs.ts";
import { type CertainRow, type PrecisionPoint, precisionCurve } from "../evaluate/certainty.ts";
import { type Decoding, decodeProbabilities } from "../extract/decoding.ts";
import type { Extractor } from "../extract/extractor.ts";
import { decideSentencePair, questionsOfPair } from "../extract/pair-answers.ts";
import { DEFAULT_WINDOW_ROWS, windowsOf } from "../extract/windows.ts";

/** All pairs of entities of some sentences, each decided as in a document; a pair that no row has counts as no relation. */
export interface PairScores {
  sentences: number;
  /** Pairs in either order, and those of them that a row has. */
  pairs: number;
  labelled: number;
  /** One row a pair; relations have "> " in front, from the first entity of the text to the second, or "< ". */
  rows: CertainRow[];
}

/** Precision by probability among all pairs of entities that a sentence has. */
export interface PairPrecision {
  sentences: number;
  pairs: number;
  all: PrecisionPoint[];
  relations: Record<string, PrecisionPoint[]>;
}

/** Questions about pairs that a calibration asks at most, by whole sentences that the seed chooses. */
const MOST_QUESTIONS = 3_000;
/** Predictions that a relation needs for a curve of its own. */
export const LEAST_PREDICTIONS = 20;

/** Sentences with their pairs: all, or some that have a number of questions at most. */
export function chosenSentences(
  rows: readonly Example[],
  annotated: readonly AnnotatedSentence[],
  labels: LabelSet,
  seed: number,
  mostQuestions = MOST_QUESTIONS,
): SentencePair[][] {
  const all = [...pairsBySentence(rows, annotated)].map(({ pairs }) => pairs).filter(({ length }) => length > 0);
  const sizeOf = (pairs: readonly SentencePair[]) =>
    pairs.reduce((sum, pair) => sum + questionsOfPair(pair, labels).length, 0);
  let questions = all.reduce((sum, pairs) => sum + sizeOf(pairs), 0);
  if (questions <= mostQuestions) return all;
  questions = 0;
  const chosen = new Set<SentencePair[]>();
  for (const pairs of createRandom(mixSeed(seed, 0x9a15)).shuffle([...all])) {
    questions += sizeOf(pairs);
    if (questions > mostQuestions) break;
    chosen.add(pairs);
  }
  return all.filter((pairs) => chosen.has(pairs));
}

/** Asks all pairs of sentences and decides them; `decoding` replaces that of the extractor. */
export async function scorePairs(
  extractor: Extractor,
  sentences: readonly (readonly SentencePair[])[],
  decoding: Decoding | null = null,
  onRows: (done: number, total: number) => void = () => {},
): Promise<PairScores> {
  const { labels } = extractor;
  const pairs = sentences.flat();
  const questions = pairs.flatMap((pair) => questionsOfPair(pair, labels));
  const predictions: { relation: string; probability: number }[][] = [];
  for await (const window of windowsOf(questions, DEFAULT_WINDOW_ROWS)) {
    const answers = await extractor.extract(window);
    const own = answers.map(({ modelProbabilities }) => modelProbabilities);
    const decoded = decoding ? decodeProbabilities(decoding, window, own) : answers;
    for (const one of decoded) predictions.push(one.predictions);
    onRows(predictions.length, questions.length);
  }
  let next = 0;
  const rows = pairs.map((pair): CertainRow => {
    const own = questionsOfPair(pair, labels).map(() => predictions[next++]);
    const { gold, found } = decideSentencePair(pair, own, labels);
    return {
      gold: gold.map(keyOf),
      predictions: found.map((one) => ({ relation: keyOf(one), probability: one.probability })),
    };
  });
  const labelled = pairs.filter(({ isLabelled }) => isLabelled).length;
  return { sentences: sentences.length, pairs: pairs.length, labelled, rows };
}

const keyOf = ({ relation, isForward }: { relation: string; isForward: boolean }) =>
  `${isForward ? ">" : "<"} ${relation}`;
/** The label in the key of a decided relation. */
export const labelOfKey = (key: string): string => key.slice(2);

/** The precision of decided relations by their probability; a curve of their own for relations that are found often. */
export function pairPrecision({ sentences, pairs, rows }: PairScores): PairPrecision {
  const counts = new Map<string, number>();
  for (const { relation } of rows.flatMap(({ predictions }) => predictions)) {
    counts.set(labelOfKey(relation), (counts.get(labelOfKey(relation)) ?? 0) + 1);
  }
  const often = [...counts.keys()].filter((label) => (counts.get(label) as number) >= LEAST_PREDICTIONS).sort();
  const curveOf = (label: string) => precisionCurve(rows, (key) => labelOfKey(key) === label);
  return {
    sentences,
    pairs,
    all: precisionCurve(rows, () => true),
    relations: Object.fromEntries(often.map((label) => [label, curveOf(label)])),
  };
}
