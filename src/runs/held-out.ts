import { createRandom, mixSeed } from "../base/random.ts";
import type { Example } from "../data/example.ts";
import type { AnnotatedSentence } from "../data/mentions-file.ts";
import type { Recipe } from "../recipe/schema.ts";

/** Fewer validation rows say nothing about a mixture or the best weights. */
export const LEAST_HELD_ROWS = 40;
/** More validation rows cost more training than they tell. */
export const MOST_HELD_ROWS = 2_000;

/** The annotated sentences that rows have. */
export function annotatedOf(
  rows: readonly Example[],
  annotated: readonly AnnotatedSentence[],
): readonly AnnotatedSentence[] {
  const known = new Set(rows.map(({ sentence }) => sentence));
  return annotated.filter(({ sentence }) => known.has(sentence));
}

/** Rows to train on and rows to validate on. */
export interface DividedRows {
  train: readonly Example[];
  valid: readonly Example[];
  /** Rows that were held out of the training rows; 0 where the data has validation rows of its own. */
  held: number;
}

/**
 * Holds validation rows out of the training rows where the data has none: whole sentences in an order by the seed, until they are
 * `train.validationShare` of the rows ({@link MOST_HELD_ROWS} at most). None when they would be fewer than {@link LEAST_HELD_ROWS}.
 */
export function holdOut(
  { train: { validationShare }, seed }: Recipe,
  { train, valid = [] }: { train: readonly Example[]; valid?: readonly Example[] },
): DividedRows {
  const wanted = Math.min(MOST_HELD_ROWS, Math.round(validationShare * train.length));
  if (valid.length > 0 || wanted < LEAST_HELD_ROWS) return { train, valid, held: 0 };
  const rowsOf = new Map<string, number>();
  for (const { sentence } of train) rowsOf.set(sentence, (rowsOf.get(sentence) ?? 0) + 1);
  const held = new Set<string>();
  let count = 0;
  for (const sentence of createRandom(mixSeed(seed, 0x4e1d)).shuffle([...rowsOf.keys()])) {
    const rows = rowsOf.get(sentence) as number;
    // A sentence with a large part of all rows is for training.
    if (count + rows > wanted) continue;
    held.add(sentence);
    count += rows;
    if (count === wanted) break;
  }
  if (count < LEAST_HELD_ROWS) return { train, valid, held: 0 };
  return {
    train: train.filter(({ sentence }) => !held.has(sentence)),
    valid: train.filter(({ sentence }) => held.has(sentence)),
    held: count,
  };
}
