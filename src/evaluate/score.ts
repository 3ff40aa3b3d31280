import type { SplitName } from "../data/split.ts";
import type { BootstrapOptions } from "./bootstrap.ts";
import { readGold } from "./gold.ts";
import { readPredictions } from "./predictions.ts";
import { type Reference, trivialReferences } from "./references.ts";
import { type ScoredPredictions, scorePredictions } from "./score-predictions.ts";

export interface ScoreOptions {
  /** Labelled JSONL rows, a Chinese_NRE file or a data folder; only LLaMA-Factory's answers carry their own gold labels. */
  gold?: string;
  /** The split of a gold folder; default test. */
  split?: SplitName;
  /** The label that means "no relation"; default: the one of the gold's labels, else `unknown`. */
  noRelation?: string;
  /** Null computes no intervals. */
  bootstrap?: BootstrapOptions | null;
}

/**
 * Scores a JSONL file of predictions, of `cre extract` or of LLaMA-Factory (`{"label", "predict"}`), with the metrics of `cre evaluate`.
 * Every row that is missing, doubled or not in the gold is counted in `matching`. Throws a UserError for a file that cannot be read or
 * matched.
 */
export async function score(
  predictions: string,
  { gold: goldPath, split = "test", noRelation, bootstrap }: ScoreOptions = {},
): Promise<ScoredPredictions & { references: Reference[] }> {
  const file = await readPredictions(predictions);
  const gold = goldPath === undefined ? null : await readGold(goldPath, split);
  const scored = scorePredictions(file, gold?.examples ?? null, { labels: gold?.labels, noRelation, bootstrap });
  return { ...scored, references: trivialReferences(scored.rows, scored.labels) };
}
