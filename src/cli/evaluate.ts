import { dirname } from "node:path";
import type { Command } from "commander";
import { Option } from "commander";
import { UserError } from "../base/errors.ts";
import { checkOutputFile, expectNotRead } from "../base/output.ts";
import type { SplitName } from "../data/split.ts";
import { renderReport, toJson } from "../evaluate/report.ts";
import { score } from "../evaluate/score.ts";
import { noRelationRemark } from "../evaluate/wording.ts";
import { type EvaluationEvent, evaluationJson, evaluationTitle, saveEvaluation } from "../runs/evaluation.ts";
import type { AdapterSource, RunSource } from "../runs/given-adapter.ts";
import { openRun } from "../runs/run.ts";
import { openRunFolder } from "../runs/run-folder.ts";
import { type AdapterOptions, adapterOf, addAdapterOptions } from "./adapter-options.ts";
import { ASKING_OPTIONS, addConnectionOptions, expectNoEndpointOptions } from "./endpoint-options.ts";
import { type EndpointOptions, evaluateEndpoint } from "./evaluate-endpoint.ts";
import { evaluateJointly } from "./evaluate-joint.ts";
import { evaluatePairs } from "./evaluate-pairs.ts";
import { type EvaluateOptions, evaluateSeveral } from "./evaluate-runs.ts";
import { companionOption, showLoading, storageOption } from "./loading.ts";
import { writeMetrics } from "./metrics-output.ts";
import { parseShare } from "./options.ts";
import { filesIn, runsOf } from "./run-list.ts";
import { warnBadRows } from "./splits.ts";
import { duration, type Progress, progress, say, warn } from "./terminal.ts";

interface PairOptions {
  joint?: boolean;
  allPairs?: boolean;
  precision?: number;
}

type AllOptions = EvaluateOptions & AdapterOptions & PairOptions & EndpointOptions & { output?: string };

export function addEvaluateCommands(program: Command): void {
  const command = program
    .command("evaluate")
    .description("score a run on labelled data in all conventions; writes metrics.json and report.html into the run")
    .argument("[run]", "run folder, or several with commas between: their label probabilities are averaged")
    .option("--data <dir>", "data folder (default: the one that the run was trained on)")
    .addOption(new Option("--split <name>", "which split").choices(["train", "valid", "test"]).default("test"))
    .option("--json <file>", "write the metrics as JSON to a file, or to standard output with -")
    .addOption(
      new Option("--method <name>", "how labels are chosen (default: the recipe's)").choices(["labels", "generate"]),
    )
    .addOption(companionOption())
    .addOption(storageOption("the recipe's"))
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .option("--joint", "give the run nothing but the sentences: it finds the entities too (docs/mentions.md)")
    .option("--all-pairs", "ask every pair of entities of a sentence; a pair without a row counts as no relation")
    .option("--precision <p>", "with --all-pairs: also with the thresholds for this precision", parseShare)
    .option("--output <dir>", "with --endpoint: folder for metrics.json, report.html, predictions and answers")
    .action((list: string | undefined, options: AllOptions, own: Command) => {
      if (options.allPairs && options.joint)
        throw new UserError("cre evaluate: got --joint and --all-pairs, expected one.");
      if (options.precision !== undefined && !options.allPairs)
        throw new UserError("--precision: belongs to --all-pairs.");
      if (options.endpoint !== undefined) {
        if (options.joint || options.allPairs)
          throw new UserError(
            "cre evaluate --endpoint: got --joint or --all-pairs, which need a model in this process.",
          );
        return evaluateEndpoint(list, options);
      }
      expectNoEndpointOptions(own, ASKING_OPTIONS);
      if (options.output !== undefined) throw new UserError("--output: goes with --endpoint only.");
      const adapter = adapterOf(list, options, "evaluate");
      if (adapter) return evaluateAdapter(adapter, options);
      const runs = runsOf(list as string);
      if (options.allPairs) return evaluatePairs(runs, options);
      if (options.joint) return evaluateJointly(runs, options);
      return runs.length === 1 ? evaluateRun(runs[0], options) : evaluateSeveral(runs, options);
    });
  addAdapterOptions(command);
  addConnectionOptions(command, ASKING_OPTIONS);
  program
    .command("score")
    .description("score a file of predictions: JSONL of {label, predict} (LLaMA-Factory) or of cre extract")
    .argument("<predictions>", "JSONL file")
    .option("--gold <file>", "labelled JSONL rows, a Chinese_NRE file, or a data folder (with --split)")
    .addOption(
      new Option("--split <name>", "split of a gold folder").choices(["train", "valid", "test"]).default("test"),
    )
    .option(
      "--no-relation <label>",
      'the label that means "no relation" (default: labels.json of the gold, else unknown)',
    )
    .option("--json <file>", "write the metrics as JSON to a file, or to standard output with -")
    .action(scoreFile);
}

const NO_COMPANION =
  "the run has no linear companion, since it was trained by an older version: there is no linear floor to compare with.";

/** Evaluates a run, prints the tables and writes metrics.json and report.html; for `cre evaluate` and `cre demo`. */
export async function evaluateRun(directory: string, options: EvaluateOptions): Promise<void> {
  await checkEvaluationOutputs(directory, options);
  await evaluateSource(directory, options);
}

/** Evaluates an adapter made elsewhere and prints the tables. Nothing is written but the file of `--json`. */
async function evaluateAdapter(source: AdapterSource, options: EvaluateOptions & { joint?: boolean }): Promise<void> {
  const { json, data, joint } = options;
  if (joint) throw new UserError("cre evaluate --joint: expected a run, an adapter made elsewhere finds no entities.");
  if (json !== undefined && json !== "-") {
    await checkOutputFile(json);
    const { adapter, base, labels, recipe } = source;
    const read = (await Promise.all([adapter, base, data].map(filesIn))).flat();
    await expectNotRead(json, [...read, ...[labels, recipe].filter((file) => file !== undefined)]);
  }
  await evaluateSource({ ...source, labels: source.labels ?? data }, options);
}

async function evaluateSource(source: RunSource, options: EvaluateOptions): Promise<void> {
  const { method, companion } = options;
  const decode = { ...(method ? { method } : {}), ...(companion === undefined ? {} : { companion }) };
  const run = await openRun(source, { onNotice: warn, onLoad: showLoading(), decode, storage: options.storage });
  const bar = evaluationBar();
  try {
    const { data, split } = options;
    const onBadRow = options.skipBad ? "skip" : undefined;
    const evaluation = await run.evaluate({ data, split, onBadRow, onEvent: bar.onEvent }).finally(bar.close);
    if (run.given === null) await saveEvaluation(run, evaluation);
    const { metrics, references, truncated, examples, seconds } = evaluation;
    const title = evaluationTitle(run, evaluation);
    await writeMetrics(options.json, evaluationJson(evaluation), () =>
      renderReport(metrics, { title, references, colour: process.stdout.isTTY }),
    );
    if (run.companion === null && run.recipe.decode.companion !== "none") warn(NO_COMPANION);
    if (truncated > 0) warn(`${truncated} sentences were shortened to fit prompt.maxPromptTokens.`);
    const files = run.given === null ? `; ${run.folder.metrics}, ${run.folder.report}` : "";
    say(`${examples.length} rows in ${duration(seconds)}${files}`);
  } finally {
    await run.close();
  }
}

/** Throws a UserError for an output that cannot be written, or that is one of the files that the run or its data is read from. */
async function checkEvaluationOutputs(directory: string, { json, data }: EvaluateOptions): Promise<void> {
  const { folder, recipe } = await openRunFolder(directory);
  await checkOutputFile(folder.metrics);
  await checkOutputFile(folder.report);
  if (json === undefined || json === "-") return;
  await checkOutputFile(json);
  const folders = [directory, folder.model, dirname(folder.state), data ?? recipe.data.path, recipe.model.path];
  const read = (await Promise.all(folders.map(filesIn))).flat();
  await expectNotRead(json, read);
}

function evaluationBar() {
  let bar: Progress | null = null;
  const onEvent = (event: EvaluationEvent): void => {
    if (event.kind === "data") warnBadRows(event);
    else if (event.kind === "notice") warn(event.text);
    else {
      bar ??= progress("evaluate", event.total);
      bar.update(event.done);
    }
  };
  return { onEvent, close: () => bar?.stop() };
}

interface ScoreOptions {
  gold?: string;
  split: SplitName;
  json?: string;
  /** Commander reads "--no-relation LABEL" as the option "relation". */
  relation?: string | boolean;
}

function noRelationOf({ relation }: ScoreOptions): string | undefined {
  return typeof relation === "string" ? relation : undefined;
}

async function scoreFile(file: string, options: ScoreOptions): Promise<void> {
  const { gold, json } = options;
  if (json !== undefined && json !== "-") {
    await checkOutputFile(json);
    await expectNotRead(json, [file, ...(gold === undefined ? [] : [gold, ...(await filesIn(gold))])]);
  }
  const { metrics, matching, references } = await score(file, { ...options, noRelation: noRelationOf(options) });
  const remark = noRelationRemark(metrics, matching);
  if (remark !== null) warn(`${remark}.`);
  await writeMetrics(options.json, toJson(metrics, { matching, references }), () =>
    renderReport(metrics, { title: file, matching, references, colour: process.stdout.isTTY }),
  );
}
