import { UserError } from "../base/errors.ts";
import { checkOutputFile } from "../base/output.ts";
import { plainTable } from "../base/plain-table.ts";
import type { JointScore } from "../evaluate/joint.ts";
import { evaluateJoint, type JointEvaluation, saveJoint } from "../runs/joint.ts";
import { openRun } from "../runs/run.ts";
import type { EvaluateOptions } from "./evaluate-runs.ts";
import { decodeOf, showLoading } from "./loading.ts";
import { writeMetrics } from "./metrics-output.ts";
import { warnBadRows } from "./splits.ts";
import { type Progress, progress, say, warn } from "./terminal.ts";

/** Evaluates a run that is given sentences alone, prints the table and writes joint.json and joint.jsonl into the run. */
export async function evaluateJointly(runs: readonly string[], options: EvaluateOptions): Promise<void> {
  const [directory] = runs;
  if (runs.length > 1) throw new UserError(`cre evaluate --joint: got ${runs.length} runs, expected one.`);
  if (options.method)
    throw new UserError("cre evaluate --joint: --method is not possible, labels are chosen among all.");
  if (options.json !== undefined && options.json !== "-") await checkOutputFile(options.json);
  const { companion } = options;
  const decode = decodeOf({ companion, products: options.products });
  const run = await openRun(directory, { onNotice: warn, onLoad: showLoading(), decode, storage: options.storage });
  let bar: Progress | null = null;
  try {
    const evaluation = await evaluateJoint(run, {
      data: options.data,
      split: options.split,
      onBadRow: options.skipBad ? "skip" : undefined,
      onEvent(event) {
        if (event.kind === "data") warnBadRows(event);
        else if (event.kind === "notice") warn(event.text);
        else {
          bar ??= progress("sentences", event.total);
          bar.update(event.done);
        }
      },
    }).finally(() => bar?.stop());
    const file = await saveJoint(run, evaluation);
    const { rows: _, ...scores } = evaluation;
    await writeMetrics(options.json, scores, () => renderJoint(directory, evaluation));
    say(`${evaluation.metrics.sentences} sentences, ${evaluation.pairs} pairs asked; ${file}`);
  } finally {
    await run.close();
  }
}

/** The table of a joint evaluation. */
export function renderJoint(directory: string, { data, split, metrics, withoutPair }: JointEvaluation): string {
  const row = (name: string, { precision, recall, f1, interval, predicted, gold }: JointScore) => [
    name,
    ...[precision, recall, f1].map(percent),
    `${percent(interval.low)} – ${percent(interval.high)}`,
    `${predicted}`,
    `${gold}`,
  ];
  const table = plainTable(
    ["", "precision", "recall", "F1", "95 % interval", "found", "gold"],
    [row("triples", metrics.triples), row("relations", metrics.relations), row("mentions", metrics.mentions)],
  );
  const legend = [
    'triples    (head, relation, tail), "no relation" a label like the others; a pair that no row has is wrong',
    'relations  the same without "no relation"',
    "mentions   texts of entities, each once in a sentence; only entities of annotated pairs are gold",
  ];
  const none = `fewer than two entities were found in ${withoutPair} of ${metrics.sentences} sentences`;
  return `${directory} on ${data}, ${split}, sentences alone\n\n${table}\n\n${legend.join("\n")}\n${none}\n`;
}

const percent = (share: number) => (100 * share).toFixed(1);
