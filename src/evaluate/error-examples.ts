import type { Example } from "../data/example.ts";
import { isExact } from "./metrics.ts";
import { argmaxOf, type ScoredRow } from "./rows.ts";

/** A row that was predicted wrongly, for people to read. */
export interface ErrorExample {
  sentence: string;
  head: string;
  tail: string;
  gold: readonly string[];
  predicted: readonly string[];
  /** Of the single best label. */
  probability?: number;
}

/**
 * The rows whose predicted set is not the gold set, the most probable predictions first where probabilities are known. `examples`, `rows` and `probabilities`
 * have one order.
 */
export function errorExamples(
  examples: readonly Pick<Example, "sentence" | "head" | "tail">[],
  rows: readonly ScoredRow[],
  probabilities?: readonly (number | null)[],
): ErrorExample[] {
  const wrong = rows.flatMap((row, place): ErrorExample[] => {
    if (isExact(row)) return [];
    const { sentence, head, tail } = examples[place];
    const best = argmaxOf(row);
    const predicted = row.predicted.length === 0 && best !== null ? [best] : row.predicted;
    const probability = probabilities?.[place] ?? undefined;
    return [{ sentence, head, tail, gold: row.gold, predicted, ...(probability === undefined ? {} : { probability }) }];
  });
  return wrong.sort((a, b) => (b.probability ?? 0) - (a.probability ?? 0));
}
