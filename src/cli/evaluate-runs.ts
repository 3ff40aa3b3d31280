import { dirname, join } from "node:path";
import { checkOutputFile, expectNotRead } from "../base/output.ts";
import type { SplitName } from "../data/split.ts";
import { type EnsembleEvaluation, evaluateRuns } from "../ensemble/evaluate-runs.ts";
import { renderReport, toJson } from "../evaluate/report.ts";
import type { DecodeSettings, ModelStorage } from "../recipe/answer-schema.ts";
import { openRunFolder } from "../runs/run-folder.ts";
import { answersPrinter } from "./answers-printer.ts";
import { decodeOf } from "./loading.ts";
import { writeMetrics } from "./metrics-output.ts";
import { filesIn } from "./run-list.ts";
import { say } from "./terminal.ts";

/** The options of `cre evaluate`. */
export interface EvaluateOptions {
  data?: string;
  split: SplitName;
  json?: string;
  skipBad?: boolean;
  method?: "labels" | "generate";
  companion?: "auto" | number;
  storage?: ModelStorage;
  products?: DecodeSettings["precision"];
}

/** Evaluates several runs together and prints the table; only answers are written into their folders. */
export async function evaluateSeveral(runs: readonly string[], options: EvaluateOptions): Promise<void> {
  const { data, split, json, storage } = options;
  await checkJsonOutput(runs, options);
  const printer = answersPrinter();
  const evaluation = await evaluateRuns(runs, {
    ...{ data, split, storage, onBadRow: options.skipBad ? ("skip" as const) : undefined },
    decode: decodeOf(options),
    onEvent: printer.onEvent,
  }).finally(printer.close);
  const { metrics, references, examples } = evaluation;
  await writeMetrics(json, ensembleJson(evaluation), () =>
    renderReport(metrics, { title: titleOf(evaluation), references, colour: process.stdout.isTTY }),
  );
  say(`${examples.length} rows; the answers of each run are kept in its folder (predictions/)`);
}

function titleOf({ runs, data, split }: EnsembleEvaluation): string {
  return `${runs.length} runs together on ${data}, ${split}`;
}

function ensembleJson({ metrics, references, runs, data, split }: EnsembleEvaluation) {
  const each = runs.map(({ directory, metrics: { conventions, macro } }) => ({ run: directory, conventions, macro }));
  return { ...toJson(metrics, { references }), data, split, runs: each };
}

async function checkJsonOutput(runs: readonly string[], { json, data }: EvaluateOptions): Promise<void> {
  if (json === undefined || json === "-") return;
  await checkOutputFile(json);
  const read: string[] = await filesIn(data);
  for (const directory of runs) {
    const { folder, recipe } = await openRunFolder(directory);
    const folders = [directory, join(directory, "predictions"), folder.model, dirname(folder.state)];
    for (const one of [...folders, recipe.data.path, recipe.model.path]) read.push(...(await filesIn(one)));
  }
  await expectNotRead(json, read);
}
