import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import type { Command } from "commander";
import picocolors from "picocolors";
import { UserError, UserErrors } from "../base/errors.ts";
import { type Dataset, openDataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import type { SplitName } from "../data/split.ts";
import { decoderWeights } from "../models/decoder.ts";
import { missingPaths, resolveRecipe } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { openForTraining, saveLabels, type Workbench } from "../runs/open.ts";
import {
  createRunFolder,
  expectFreeFolder,
  expectSameBase,
  holdRun,
  openRunFolder,
  type RunFolder,
  runFolder,
} from "../runs/run-folder.ts";
import { type RunEvent, trainRun } from "../runs/train-run.ts";
import type { TrainStep } from "../train/train.ts";
import { showLoading } from "./loading.ts";
import { defaultsLine, hasNativeBackend } from "./recipe.ts";
import { Interrupted } from "./report.ts";
import { duration, megabytes, type Progress, percent, progress, say, warn } from "./terminal.ts";

interface TrainOptions {
  data?: string;
  set: string[];
  run?: string;
  resume?: boolean;
  skipBad?: boolean;
}

export function addTrainCommand(program: Command): void {
  const collect = (value: string, previous: string[]) => [...previous, value];
  program
    .command("train")
    .description("fine-tune a model by a recipe; Ctrl-C stops, --resume goes on")
    .argument("[recipe]", "recipe file; without it the defaults for --data")
    .option("--data <dir>", "folder of the data, instead of the recipe's data.path")
    .option("--set <key=value>", "replace one value of the recipe, for example train.epochs=2", collect, [])
    .option("--run <dir>", "run folder (default: runs/NAME of the recipe or data)")
    .option("--resume", "go on with an interrupted run from its last checkpoint")
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .action(async (recipeFile: string | undefined, options: TrainOptions) => {
      if (options.resume) await resumeRun(recipeFile, options);
      else await beginRun(recipeFile, options);
    });
}

async function resumeRun(recipeFile: string | undefined, options: TrainOptions): Promise<void> {
  const directory = options.run ?? (recipeFile ? defaultRun(recipeFile) : undefined);
  if (!directory) throw new UserError("--resume needs --run DIR or the recipe.");
  if (options.set.length > 0 || options.data || options.skipBad) {
    throw new UserError("--resume goes on with the run's own recipe; --set, --data and --skip-bad would change it.");
  }
  const { folder, recipe } = await openRunFolder(directory);
  if (existsSync(folder.done)) {
    say(`${directory}: training is finished already.`);
    return;
  }
  const missing = missingPaths(recipe);
  if (missing.length > 0) throw new UserErrors(`${folder.recipe}: cannot go on:`, missing);
  await expectSameBase(folder, recipe);
  await trainShowing(folder, recipe, false);
}

async function beginRun(recipeFile: string | undefined, options: TrainOptions): Promise<void> {
  if (!recipeFile && !options.data) {
    throw new UserError("cre train: got neither a recipe nor data, expected one of them.", {
      hint: "cre train --data DIR chooses good settings for the data; cre recipe show lists the recipes.",
    });
  }
  const resolved = await resolveRecipe({
    file: recipeFile,
    overrides: options.set,
    dataPath: options.data,
    isNative: hasNativeBackend(),
  });
  const { recipe } = resolved;
  const defaults = defaultsLine(resolved);
  if (defaults !== null) say(`${defaults} (cre recipe show explains every value)`);
  if (options.skipBad) recipe.data.badRows = "skip";
  const missing = missingPaths(recipe);
  if (missing.length > 0) throw new UserErrors(`${recipeFile ?? "cre train"}: cannot start:`, missing);
  await trainNewRun(options.run ?? defaultRun(recipeFile ?? resolve(options.data as string)), recipe);
}

/**
 * Trains a new run, showing progress; used by `cre train` and `cre demo`. Its folder is made just before the first step, so that a mistake
 * in recipe, data or model leaves nothing behind.
 */
export async function trainNewRun(directory: string, recipe: Recipe): Promise<void> {
  await expectFreeFolder(directory);
  await trainShowing(runFolder(directory), recipe, true);
}

function defaultRun(recipeOrData: string): string {
  return join("runs", basename(recipeOrData).replace(/\.ya?ml$/, ""));
}

/** Reads a split and says what was left out. */
export async function readSplit(dataset: Dataset, name: SplitName, onBadRow: "stop" | "skip"): Promise<Example[]> {
  const split = await dataset.split(name, { onBadRow });
  if (split.badRows.length > 0) {
    warn(`${dataset.directory}: ${split.counts.badRows} bad rows of ${name} were left out:`);
    for (const { file, line, problem } of split.badRows.slice(0, 20)) say(`  ${file}, line ${line}: ${problem}`);
  }
  return split.examples;
}

async function readTrainingData(recipe: Recipe): Promise<{ labels: LabelSet; train: Example[]; valid: Example[] }> {
  const dataset = await openDataset(recipe.data.path as string, { format: recipe.data.format });
  const train = await readSplit(dataset, "train", recipe.data.badRows);
  const hasValid = dataset.splitNames.includes("valid");
  if (!hasValid) warn("the data has no validation split: the last weights are kept, not the best.");
  return {
    labels: dataset.labels,
    train,
    valid: hasValid ? await readSplit(dataset, "valid", recipe.data.badRows) : [],
  };
}

async function trainShowing(folder: RunFolder, recipe: Recipe, isNew: boolean): Promise<void> {
  const { labels, train, valid } = await readTrainingData(recipe);
  const bench = await openForTraining(recipe, labels, { onNotice: warn, onLoad: showLoading() });
  const stop = new AbortController();
  let bar: Progress | null = null;
  // Once: a second Ctrl-C ends the process at once, as without us.
  const onSignal = () => {
    (bar?.line ?? say)("stopping after this step and saving a checkpoint; Ctrl-C again stops at once");
    stop.abort();
  };
  process.once("SIGINT", onSignal);
  let release: (() => Promise<void>) | null = null;
  try {
    if (!isNew) release = await holdRun(folder);
    const speed = { tokens: 0, seconds: 0 };
    for await (const event of trainRun(bench, folder, train, valid, { signal: stop.signal })) {
      if (event.kind === "start") {
        if (isNew) await createRunFolder(folder.directory, bench.recipe);
        release ??= await holdRun(folder);
        await saveLabels(folder, labels);
        say(modelLine(folder, bench));
        say(startLine(event));
        bar = progress("train", event.totalSteps, event.resumedAt);
      } else if (event.kind === "step") {
        speed.tokens = 0.95 * speed.tokens + event.tokens;
        speed.seconds = 0.95 * speed.seconds + event.seconds;
        bar?.update(event.step, stepDetail(event, speed.tokens / speed.seconds));
      } else if (event.kind === "validation") {
        bar?.line(validationLine(event));
      } else if (event.kind === "stopped") {
        throw new Interrupted(`after step ${event.step}. Go on with: cre train --resume --run ${folder.directory}`);
      } else if (event.kind === "end") {
        bar?.stop();
        const best = event.best ? `; best validation at step ${event.best.step}` : "";
        say(
          `${picocolors.green("done")} in ${duration(event.seconds)}, ${event.steps} steps${best}: ${folder.directory}`,
        );
      }
    }
  } finally {
    bar?.stop();
    process.off("SIGINT", onSignal);
    await release?.();
    await bench.close();
  }
}

function modelLine(folder: RunFolder, bench: Workbench): string {
  const millions = (weights: readonly { rows: number; columns: number }[]) =>
    (weights.reduce((sum, weight) => sum + weight.rows * weight.columns, 0) / 1e6).toFixed(2);
  return (
    `${picocolors.bold(folder.directory)}  ${millions(decoderWeights(bench.model))} M parameters, ` +
    `${millions(bench.trainable)} M trained; ${bench.renderer.labels.labels.length} labels; ${bench.backend.description}`
  );
}

function stepDetail(event: TrainStep, tokensPerSecond: number): string {
  const memory = megabytes(process.memoryUsage.rss());
  const rate = Math.round(tokensPerSecond);
  return `epoch ${event.epoch.toFixed(1)}  loss ${event.loss.toFixed(4)}  ${rate} tokens/s  ${memory}`;
}

function startLine(event: Extract<RunEvent, { kind: "start" }>): string {
  const resumed = event.resumedAt > 0 ? `, going on after step ${event.resumedAt}` : "";
  const truncated = event.truncated > 0 ? `, ${event.truncated} prompts shortened to fit` : "";
  const epochs = (event.totalSteps / event.stepsPerEpoch).toFixed(1);
  return `${event.examples} training rows${truncated}; ${event.totalSteps} steps (${epochs} epochs)${resumed}`;
}

function validationLine(event: Extract<RunEvent, { kind: "validation" }>): string {
  const best = event.isBest ? picocolors.green("  best so far") : "";
  return `  validation after step ${event.step}: micro F1 ${percent(event.microF1)}, paper F1 ${percent(event.paperF1)}  (${event.rows} rows, ${duration(event.seconds)})${best}`;
}
