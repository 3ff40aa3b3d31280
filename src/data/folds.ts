import { UserError } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";

/** Places of rows in the list that was divided, in ascending order. */
export interface Fold {
  train: number[];
  held: number[];
}

/**
 * Divides rows into `count` folds for cross-validation; rows of one sentence are in one fold, so that no fold is tested on a sentence that
 * it learnt from. Sentences are shuffled by the seed and each goes to the fold with the fewest rows so far. Throws a UserError when there
 * are fewer sentences than folds.
 */
export function foldsBySentence(rows: readonly { sentence: string }[], count: number, seed: number): Fold[] {
  if (!Number.isInteger(count) || count < 2) {
    throw new UserError(`Cross-validation: got ${count} folds, expected a whole number of at least 2.`);
  }
  const rowsOf = new Map<string, number[]>();
  for (const [row, { sentence }] of rows.entries()) {
    const group = rowsOf.get(sentence);
    if (group === undefined) rowsOf.set(sentence, [row]);
    else group.push(row);
  }
  if (rowsOf.size < count) {
    throw new UserError(
      `Cross-validation: got ${rows.length} rows with ${rowsOf.size} distinct sentences, expected at least ${count}, one for each fold.`,
      { hint: "Use fewer folds or more rows." },
    );
  }
  const held: number[][] = Array.from({ length: count }, () => []);
  for (const group of createRandom(seed).shuffle([...rowsOf.values()])) {
    held.reduce((least, fold) => (fold.length < least.length ? fold : least)).push(...group);
  }
  const ascending = (a: number, b: number) => a - b;
  return held.map((own, fold) => ({
    train: held.flatMap((other, i) => (i === fold ? [] : other)).sort(ascending),
    held: own.sort(ascending),
  }));
}
