import { UserError } from "../base/errors.ts";
import { checkOutputFile } from "../base/output.ts";
import { plainTable } from "../base/plain-table.ts";
import { type AllPairsEvaluation, evaluateAllPairs, type PairsScore } from "../runs/all-pairs.ts";
import { openRun } from "../runs/run.ts";
import type { EvaluateOptions } from "./evaluate-runs.ts";
import { decodeOf, showLoading } from "./loading.ts";
import { writeMetrics } from "./metrics-output.ts";
import { warnBadRows } from "./splits.ts";
import { type Progress, progress, warn } from "./terminal.ts";

/** Evaluates a run on all pairs of entities of each sentence and prints the table. */
export async function evaluatePairs(
  runs: readonly string[],
  options: EvaluateOptions & { precision?: number },
): Promise<void> {
  const [directory] = runs;
  if (runs.length > 1) throw new UserError(`cre evaluate --all-pairs: got ${runs.length} runs, expected one.`);
  if (options.method)
    throw new UserError("cre evaluate --all-pairs: --method is not possible, labels are chosen among all.");
  if (options.json !== undefined && options.json !== "-") await checkOutputFile(options.json);
  const { companion, precision } = options;
  const decode = decodeOf({ companion, products: options.products });
  const run = await openRun(directory, { onNotice: warn, onLoad: showLoading(), decode, storage: options.storage });
  let bar: Progress | null = null;
  try {
    const evaluation = await evaluateAllPairs(run, {
      data: options.data,
      split: options.split,
      precision,
      onBadRow: options.skipBad ? "skip" : undefined,
      onEvent(event) {
        if (event.kind === "data") warnBadRows(event);
        else if (event.kind === "notice") warn(event.text);
        else {
          bar ??= progress("pairs", event.total);
          bar.update(event.done);
        }
      },
    }).finally(() => bar?.stop());
    await writeMetrics(options.json, evaluation, () => renderPairs(directory, evaluation));
  } finally {
    await run.close();
  }
}

/** The table of an evaluation of all pairs. */
export function renderPairs(
  directory: string,
  { data, split, sentences, pairs, labelled, all, atPrecision }: AllPairsEvaluation,
): string {
  const percent = (share: number) => (100 * share).toFixed(1);
  const row = (name: string, { precision, recall, f1, hits, found, gold }: PairsScore) => [
    name,
    ...[precision, recall, f1].map(percent),
    ...[hits, found, gold].map(String),
  ];
  const table = plainTable(
    ["relations", "precision", "recall", "F1", "right", "found", "gold"],
    [
      row("all that are found", all),
      ...(atPrecision ? [row(`with --precision ${atPrecision.wanted}`, atPrecision)] : []),
    ],
  );
  const about = [
    `${sentences} sentences, ${pairs} pairs of entities asked, ${labelled} of them are rows; a pair without a row counts as no relation`,
    ...(atPrecision
      ? [`threshold ${atPrecision.usualThreshold.toFixed(3)}, relations with many predictions have their own`]
      : []),
  ];
  return `${directory} on ${data}, ${split}, all pairs of each sentence\n\n${table}\n\n${about.join("\n")}\n`;
}
