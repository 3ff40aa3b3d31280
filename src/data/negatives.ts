import { mixSeed } from "../base/random.ts";
import type { Example } from "./example.ts";
import type { AnnotatedSentence } from "./mentions-file.ts";
import { pairsBySentence } from "./sentence-pairs.ts";

/** Examples of "no relation" that were drawn, and what they were drawn from. */
export interface DrawnNegatives {
  examples: Example[];
  /** Ordered pairs of entities in one sentence without a label in either direction. */
  candidates: number;
  /** Sentences with such a pair. */
  sentences: number;
}

export interface NegativeOptions {
  /** Examples to draw, as a share of the labelled rows; all candidates when there are fewer. */
  share: number;
  /** The label that they get. */
  noRelation: string;
  seed: number;
  /** Rows that are not learnt: their sentences give no negatives. */
  heldOut: readonly Example[];
  /** Entities that no row names. */
  annotated?: readonly AnnotatedSentence[];
}

/** Negatives of one sentence at most: a list of many names would outweigh all others. */
export const MOST_OF_SENTENCE = 32;

/**
 * Draws pairs of real entities that the data gives no relation, as examples of "no relation": two texts that rows of one sentence name, or that
 * are annotated in it, never in one row together, in either order. The choice depends on each pair and the seed, not on the order of the rows.
 */
export function drawNegatives(rows: readonly Example[], options: NegativeOptions): DrawnNegatives {
  const { share, noRelation, seed, heldOut, annotated = [] } = options;
  const skipped = new Set(heldOut.map(({ sentence }) => sentence));
  const drawn: { example: Example; chance: number; order: number }[] = [];
  let candidates = 0;
  let sentences = 0;
  for (const { sentence, pairs } of pairsBySentence(rows, annotated)) {
    if (skipped.has(sentence)) continue;
    const unlabelled = pairs
      .filter(({ isLabelled }) => !isLabelled)
      .flatMap(({ forward, backward }) => [forward, backward]);
    const own = unlabelled.map((example) => {
      return { example: { ...example, relations: [noRelation] }, chance: chanceOf(example, seed) };
    });
    candidates += own.length;
    if (own.length > 0) sentences++;
    own.sort((a, b) => a.chance - b.chance);
    for (const one of own.slice(0, MOST_OF_SENTENCE)) drawn.push({ ...one, order: drawn.length });
  }
  const wanted = Math.round(share * rows.length);
  const chosen = drawn.sort((a, b) => a.chance - b.chance || a.order - b.order).slice(0, wanted);
  return { examples: chosen.sort((a, b) => a.order - b.order).map(({ example }) => example), candidates, sentences };
}

/** A number in [0, 1) that depends on the texts of the pair alone. */
function chanceOf({ sentence, head, tail }: Example, seed: number): number {
  let hash = 0x811c9dc5;
  const key = `${head}\t${tail}\t${sentence}`;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return mixSeed(seed, hash, key.length, 0x4e6) / 2 ** 32;
}
