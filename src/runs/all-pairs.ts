import { UserError } from "../base/errors.ts";
import { openDataset } from "../data/dataset.ts";
import type { OnBadRow, SplitName } from "../data/split.ts";
import type { CertainRow } from "../evaluate/certainty.ts";
import { thresholdsFor } from "./calibration.ts";
import { type DataEvent, readLabelledSplit } from "./labelled-rows.ts";
import type { NoticeEvent } from "./notice.ts";
import { chosenSentences, labelOfKey, scorePairs } from "./pair-scores.ts";
import type { Run } from "./run.ts";
import { lookNotice, recordTestLook } from "./test-looks.ts";

export interface AllPairsOptions {
  /** Data folder; default: the one that the run was trained on. */
  data?: string;
  split?: SplitName;
  /** Also scores the relations that the thresholds for this precision leave. */
  precision?: number;
  onBadRow?: OnBadRow;
  onEvent?: (event: DataEvent | NoticeEvent | { kind: "rows"; done: number; total: number }) => void;
}

/** Relations that were found, against those that rows have. Fractions in [0, 1]. */
export interface PairsScore {
  precision: number;
  recall: number;
  f1: number;
  hits: number;
  found: number;
  gold: number;
}

export interface AllPairsEvaluation {
  data: string;
  split: SplitName;
  sentences: number;
  /** Pairs in either order, and those of them that a row has. */
  pairs: number;
  labelled: number;
  /** Every relation that the run finds. */
  all: PairsScore;
  /** Those with the probability for a wanted precision; null where none was wanted. */
  atPrecision: (PairsScore & { wanted: number; usualThreshold: number }) | null;
}

/**
 * Asks every pair of entities of each sentence, as documents are asked: entities are those that rows of the sentence name (and `SPLIT.mentions.jsonl`
 * has). A pair that no row has counts as no relation. Throws a UserError for a precision that the run never had on validation rows.
 */
export async function evaluateAllPairs(run: Run, options: AllPairsOptions = {}): Promise<AllPairsEvaluation> {
  const { recipe, labels, folder, extractor } = run;
  const { data = recipe.data.path, split = "test", onBadRow = recipe.data.badRows, onEvent = () => {} } = options;
  if (data === undefined) {
    throw new UserError(`${folder.directory}: does not know where its data is.`, { hint: "Give it with --data DIR." });
  }
  const { precision } = options;
  const thresholds = precision === undefined ? null : thresholdsFor(run.calibration, precision, folder.directory);
  const dataset = await openDataset(data, { format: recipe.data.format, labels, normalize: recipe.data.normalize });
  const examples = await readLabelledSplit(dataset, split, onBadRow, onEvent);
  const chosen = chosenSentences(
    examples,
    await dataset.mentions(split),
    labels,
    recipe.seed,
    Number.POSITIVE_INFINITY,
  );
  const { rows, ...counts } = await scorePairs(extractor, chosen, null, (done, total) =>
    onEvent({ kind: "rows", done, total }),
  );
  if (split === "test") {
    const text = lookNotice(await recordTestLook(folder, dataset.name, examples));
    if (text !== null) onEvent({ kind: "notice", text });
  }
  const leastOf = (label: string) => thresholds?.relations.get(label) ?? thresholds?.usual ?? 0;
  const kept = rows.map(({ gold, predictions }) => ({
    gold,
    predictions: predictions.filter(({ relation, probability }) => probability >= leastOf(labelOfKey(relation))),
  }));
  const atPrecision =
    thresholds && precision !== undefined
      ? { ...scoreOf(kept), wanted: precision, usualThreshold: thresholds.usual }
      : null;
  return { data: dataset.name, split, ...counts, all: scoreOf(rows), atPrecision };
}

function scoreOf(rows: readonly CertainRow[]): PairsScore {
  let [hits, found, gold] = [0, 0, 0];
  for (const row of rows) {
    gold += row.gold.length;
    found += row.predictions.length;
    hits += row.predictions.filter(({ relation }) => row.gold.includes(relation)).length;
  }
  const share = (of: number) => (of === 0 ? 0 : hits / of);
  return { precision: share(found), recall: share(gold), f1: share((found + gold) / 2), hits, found, gold };
}
