import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { Command } from "commander";
import { Option } from "commander";
import { UserError } from "../base/errors.ts";
import { checkOutputFile, checkOutputFolder, expectNotRead, isSamePath } from "../base/output.ts";
import type { SplitName } from "../data/split.ts";
import { renderReport, toJson } from "../evaluate/report.ts";
import { score } from "../evaluate/score.ts";
import { noRelationRemark } from "../evaluate/wording.ts";
import {
  type EvaluationEvent,
  evaluationJson,
  evaluationTitle,
  saveEvaluation,
  saveReport,
} from "../runs/evaluation.ts";
import type { AdapterSource, RunSource } from "../runs/given-adapter.ts";
import { openRun } from "../runs/run.ts";
import { openRunFolder, runFolder } from "../runs/run-folder.ts";
import { type AdapterOptions, adapterOf, addAdapterOptions } from "./adapter-options.ts";
import { ASKING_OPTIONS, addConnectionOptions, expectNoEndpointOptions } from "./endpoint-options.ts";
import { type EndpointOptions, evaluateEndpoint } from "./evaluate-endpoint.ts";
import { evaluateJointly } from "./evaluate-joint.ts";
import { evaluatePairs } from "./evaluate-pairs.ts";
import { type EvaluateOptions, evaluateSeveral } from "./evaluate-runs.ts";
import { companionOption, decodeOf, productsOption, showLoading, storageOption } from "./loading.ts";
import { writeMetrics } from "./metrics-output.ts";
import { parseShare } from "./options.ts";
import { filesIn, runsOf } from "./run-list.ts";
import { warnBadRows } from "./splits.ts";
import { duration, type Progress, progress, say, warn } from "./terminal.ts";

interface PairOptions {
  /** Folder for the report of an adapter made elsewhere. */
  report?: string;
  joint?: boolean;
  allPairs?: boolean;
  precision?: number;
}

type AllOptions = EvaluateOptions & AdapterOptions & PairOptions & EndpointOptions;

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
    .addOption(productsOption())
    .option("--report <dir>", "with --adapter or --endpoint: folder for metrics.json and report.html (default: none)")
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .option("--joint", "give the run nothing but the sentences: it finds the entities too (docs/mentions.md)")
    .option("--all-pairs", "ask every pair of entities of a sentence; a pair without a row counts as no relation")
    .option("--precision <p>", "with --all-pairs: also with the thresholds for this precision", parseShare)
    .action((list: string | undefined, options: AllOptions, own: Command) => {
      if (options.allPairs && options.joint)
        throw new UserError("cre evaluate: got --joint and --all-pairs, expected one.");
      if (options.precision !== undefined && !options.allPairs)
        throw new UserError("--precision: belongs to --all-pairs.");
      if (options.report !== undefined && options.adapter === undefined && options.endpoint === undefined)
        throw new UserError(
          "cre evaluate: --report goes with --adapter or --endpoint: a run has its report in its own folder.",
        );
      if (options.endpoint !== undefined) {
        if (options.joint || options.allPairs)
          throw new UserError(
            "cre evaluate --endpoint: got --joint or --all-pairs, which need a model in this process.",
          );
        return evaluateEndpoint(list, options);
      }
      expectNoEndpointOptions(own, ASKING_OPTIONS);
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

/** Evaluates an adapter made elsewhere and prints the tables. Nothing is written but the file of `--json` and the folder of `--report`. */
async function evaluateAdapter(source: AdapterSource, options: EvaluateOptions & PairOptions): Promise<void> {
  const { json, data, joint, report } = options;
  if (report !== undefined) await checkReportFolder(report, source);
  if (joint) throw new UserError("cre evaluate --joint: expected a run, an adapter made elsewhere finds no entities.");
  if (json !== undefined && json !== "-") {
    await checkOutputFile(json);
    const { adapter, base, labels, recipe } = source;
    const read = (await Promise.all([adapter, base, data].map(filesIn))).flat();
    await expectNotRead(json, [...read, ...[labels, recipe].filter((file) => file !== undefined)]);
  }
  await evaluateSource({ ...source, labels: source.labels ?? data }, options);
}

/** Throws a UserError for a folder that cannot take the report of an adapter. */
async function checkReportFolder(report: string, { adapter, base }: AdapterSource): Promise<void> {
  await checkOutputFolder(report);
  const { metrics, report: html, recipe } = runFolder(report);
  if (existsSync(recipe)) throw new UserError(`${report}: is a run, whose own report would be written over.`);
  for (const read of [adapter, ...(base === undefined ? [] : [base])]) {
    if (!(await isSamePath(report, read))) continue;
    throw new UserError(`${report}: is read by this command, give another folder for the report.`);
  }
  for (const file of [metrics, html]) await checkOutputFile(file);
}

async function evaluateSource(source: RunSource, options: EvaluateOptions & PairOptions): Promise<void> {
  const { report } = options;
  const decode = decodeOf(options);
  const run = await openRun(source, { onNotice: warn, onLoad: showLoading(), decode, storage: options.storage });
  const bar = evaluationBar();
  try {
    const { data, split } = options;
    const onBadRow = options.skipBad ? "skip" : undefined;
    const evaluation = await run.evaluate({ data, split, onBadRow, onEvent: bar.onEvent }).finally(bar.close);
    const written = report === undefined ? run.folder : runFolder(report);
    if (run.given === null) await saveEvaluation(run, evaluation);
    else if (report !== undefined) await saveReport(run, evaluation, written);
    const { metrics, references, truncated, examples, seconds } = evaluation;
    const title = evaluationTitle(run, evaluation);
    await writeMetrics(options.json, evaluationJson(evaluation), () =>
      renderReport(metrics, { title, references, colour: process.stdout.isTTY }),
    );
    if (run.companion === null && run.recipe.decode.companion !== "none") warn(NO_COMPANION);
    if (truncated > 0) warn(`${truncated} sentences were shortened to fit prompt.maxPromptTokens.`);
    const files = run.given === null || report !== undefined ? `; ${written.metrics}, ${written.report}` : "";
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
