import type { Command } from "commander";
import { Option } from "commander";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import type { WeightStorage } from "../compute/backend.ts";
import { openDataset } from "../data/dataset.ts";
import type { SplitName } from "../data/split.ts";
import { errorExamples } from "../evaluate/error-examples.ts";
import { evaluate } from "../evaluate/evaluate.ts";
import { readGold } from "../evaluate/gold.ts";
import { renderHtmlReport } from "../evaluate/html-report.ts";
import type { LogPoint } from "../evaluate/loss-curve.ts";
import { readPredictions } from "../evaluate/predictions.ts";
import { trivialReferences } from "../evaluate/references.ts";
import { renderReport, toJson } from "../evaluate/report.ts";
import { scorePredictions } from "../evaluate/score-predictions.ts";
import type { ValidationPoint } from "../evaluate/validation-curve.ts";
import { recipeText } from "../recipe/read.ts";
import { openRun } from "../runs/open.ts";
import { type LogLine, readLog } from "../runs/run-folder.ts";
import { showLoading, storageOption } from "./loading.ts";
import { duration, print, progress, say, warn } from "./terminal.ts";
import { readSplit } from "./train.ts";

export interface EvaluateOptions {
  data?: string;
  split: SplitName;
  json?: string;
  skipBad?: boolean;
  method?: "labels" | "generate";
  storage?: WeightStorage;
}

export function addEvaluateCommands(program: Command): void {
  program
    .command("evaluate")
    .description(
      "measure a run on labelled data, in both conventions; writes metrics.json and report.html into the run",
    )
    .argument("<run>", "run folder")
    .option("--data <dir>", "folder of the data (default: what the run was trained on)")
    .addOption(new Option("--split <name>", "which split").choices(["train", "valid", "test"]).default("test"))
    .option("--json <file>", "write the metrics as JSON to a file, or to standard output with -")
    .addOption(
      new Option("--method <name>", "how labels are chosen (default: the recipe's)").choices(["labels", "generate"]),
    )
    .addOption(storageOption("the recipe's"))
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .action(evaluateRun);
  program
    .command("score")
    .description("score anybody's predictions: JSONL of {label, predict} (LLaMA-Factory) or of cre extract")
    .argument("<predictions>", "JSONL file")
    .option("--gold <file>", "labelled JSONL rows, a Chinese_NRE file, or a data folder (with --split)")
    .addOption(
      new Option("--split <name>", "split of a gold folder").choices(["train", "valid", "test"]).default("test"),
    )
    .option("--json <file>", "write the metrics as JSON to a file, or to standard output with -")
    .action(score);
}

/** Evaluates a run, prints the tables and writes metrics.json and report.html; `cre evaluate` and `cre demo`. */
export async function evaluateRun(directory: string, options: EvaluateOptions): Promise<void> {
  const decode = options.method ? { method: options.method } : {};
  const run = await openRun(directory, { onNotice: warn, onLoad: showLoading(), decode, storage: options.storage });
  try {
    const path = options.data ?? run.recipe.data.path;
    if (!path) throw new UserError("The run does not say where its data is; give --data DIR.");
    const dataset = await openDataset(path, { format: run.recipe.data.format, labels: run.renderer.labels });
    const examples = await readSplit(dataset, options.split, options.skipBad ? "skip" : run.recipe.data.badRows);
    const started = performance.now();
    const bar = progress("evaluate", examples.length);
    const { metrics, rows, extractions, truncated } = await evaluate(run.extractor, examples, {
      onRows: (done) => bar.update(done),
    }).finally(() => bar.stop());
    const seconds = (performance.now() - started) / 1000;
    const title = `${directory} on ${dataset.name}, ${options.split}`;
    const references = trivialReferences(rows, run.renderer.labels);
    const json = { ...toJson(metrics, { references }), data: dataset.name, split: options.split, seconds, truncated };
    const text = `${JSON.stringify(json, null, 2)}\n`;
    await writeFileAtomic(run.folder.metrics, text);
    const wrong = errorExamples(
      examples,
      rows,
      extractions.map(({ predictions }) => predictions[0]?.probability ?? null),
    );
    const log: unknown[] = await readLog(run.folder);
    const ofKind = <T>(kind: LogLine["kind"]) => log.filter((line) => (line as LogLine).kind === kind) as T[];
    const html = renderHtmlReport({
      title,
      metrics,
      recipe: recipeText(run.recipe),
      log: ofKind<LogPoint>("step"),
      validations: ofKind<ValidationPoint>("validation"),
      examples: wrong,
      references,
    });
    await writeFileAtomic(run.folder.report, html);
    if (options.json === "-") await print(text);
    else await print(`${renderReport(metrics, { title, references, colour: process.stdout.isTTY })}\n`);
    if (options.json && options.json !== "-") await writeFileAtomic(options.json, text);
    if (truncated > 0) warn(`${truncated} sentences were shortened to fit prompt.maxPromptTokens.`);
    say(`${examples.length} rows in ${duration(seconds)}; ${run.folder.metrics}, ${run.folder.report}`);
  } finally {
    await run.close();
  }
}

async function score(file: string, options: { gold?: string; split: SplitName; json?: string }): Promise<void> {
  const predictions = await readPredictions(file);
  const gold = options.gold ? await readGold(options.gold, options.split) : null;
  const { metrics, rows, labels, matching } = scorePredictions(predictions, gold?.examples ?? null, {
    labels: gold?.labels,
  });
  const references = trivialReferences(rows, labels);
  const text = `${JSON.stringify(toJson(metrics, { matching, references }), null, 2)}\n`;
  if (options.json === "-") await print(text);
  else await print(`${renderReport(metrics, { title: file, matching, references, colour: process.stdout.isTTY })}\n`);
  if (options.json && options.json !== "-") await writeFileAtomic(options.json, text);
}
