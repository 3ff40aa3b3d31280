import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import type { Command } from "commander";
import picocolors from "picocolors";
import { UserError, UserErrors } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { openBackend } from "../compute/open.ts";
import { exportBase } from "../export/base.ts";
import { initDecoder } from "../models/init.ts";
import { parameterCount } from "../models/layer.ts";
import type { DecoderSpec } from "../models/spec.ts";
import {
  missingPretrainPaths,
  type PretrainRecipe,
  pretrainRecipeText,
  readPretrainRecipe,
} from "../pretrain/recipe.ts";
import { specFromInit } from "../runs/open.ts";
import {
  createPretrainFolder,
  openPretrainData,
  openPretrainFolder,
  type PretrainData,
  type PretrainEvent,
  pretrainRun,
} from "../runs/pretrain-run.ts";
import { expectFreeFolder, holdRun, type RunFolder, runFolder } from "../runs/run-folder.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { collect, wholeNumber } from "./options.ts";
import { Interrupted } from "./report.ts";
import { duration, megabytes, type Progress, progress, say, warn } from "./terminal.ts";

interface PretrainOptions {
  set: string[];
  run?: string;
  resume?: boolean;
  untilStep?: number;
  minutes?: number;
  decayNow?: number;
  tokens?: string;
}

export function addPretrainCommand(model: Command): void {
  model
    .command("pretrain")
    .description("train a model from nothing on text; Ctrl-C stops, --resume goes on")
    .argument("[recipe]", "recipe file (not needed with --resume)")
    .option("--set <key=value>", "replace one value of the recipe, for example train.steps=200", collect, [])
    .option("--run <dir>", "run folder (default: runs/NAME of the recipe)")
    .option("--resume", "go on from the last checkpoint; --set may change train.steps and other times, not the numbers")
    .option("--until-step <n>", "save and stop after this step", wholeNumber)
    .option("--minutes <n>", "save and stop after so many minutes", wholeNumber)
    .option(
      "--decay-now <steps>",
      "with --resume: start the final phase at the checkpoint; the run ends with it",
      wholeNumber,
    )
    .option("--tokens <dir>", "folder that keeps the text in ids (default: tokens in the run folder)")
    .action(async (recipeFile: string | undefined, options: PretrainOptions) => {
      const { folder, recipe } = options.resume
        ? await openExisting(recipeFile, options)
        : await beginNew(recipeFile, options);
      if (options.resume && existsSync(folder.done)) {
        say(`${folder.directory}: pretraining is finished already.`);
        return;
      }
      await pretrainShowing(folder, recipe, options);
    });
}

export function addExportBaseCommand(model: Command): void {
  model
    .command("export-base")
    .description("write a pretraining run's last checkpoint as a Hugging Face folder in bfloat16, with a model card")
    .argument("<run>", "run folder of cre model pretrain")
    .requiredOption("--output <dir>", "model folder to write")
    .option("--tokens <dir>", "folder that keeps the text in ids (default: tokens in the run folder)")
    .action(async (directory: string, options: { output: string; tokens?: string }) => {
      const { folder, recipe } = await openExisting(undefined, { run: directory, set: [] });
      const { tokenizer, spec } = await openSizes(recipe);
      const backend = openBackend(recipe.precision, warn);
      try {
        const data = await openData(folder, recipe, tokenizer, options.tokens);
        const { storage } = recipe.model;
        const model = await initDecoder(backend, spec, recipe.seed, { storage, trainable: true });
        const { step } = await exportBase(model, tokenizer, recipe, data, folder, options.output);
        say(`${options.output}: ${millions(parameterCount(spec))} M parameters after ${step} steps.`);
      } finally {
        await backend.close();
      }
    });
}

/** The tokenizer of a recipe and the sizes of its model. */
async function openSizes(recipe: PretrainRecipe): Promise<{ tokenizer: Tokenizer; spec: DecoderSpec }> {
  const tokenizer = await openModelTokenizer(recipe.model.tokenizer, { modelType: recipe.model.init.family });
  return { tokenizer, spec: specFromInit(recipe.model.init, tokenizer) };
}

async function openData(
  folder: RunFolder,
  recipe: PretrainRecipe,
  tokenizer: Tokenizer,
  cache: string | undefined,
): Promise<PretrainData> {
  const reading = progress("tokens", null);
  try {
    const tokens = cache ?? join(folder.directory, "tokens");
    return await openPretrainData(recipe, tokenizer, tokens, (source, documents, characters) =>
      reading.update(documents, `documents of ${source}, ${characters} characters`),
    );
  } finally {
    reading.stop();
  }
}

async function openExisting(
  recipeFile: string | undefined,
  options: PretrainOptions,
): Promise<{ folder: RunFolder; recipe: PretrainRecipe }> {
  const directory = options.run ?? (recipeFile ? defaultRun(recipeFile) : undefined);
  if (!directory) throw new UserError("--resume needs --run DIR or the recipe.");
  const { folder, recipe } = await openPretrainFolder(directory, options.set);
  expectPaths(recipe, folder.recipe);
  return { folder, recipe };
}

async function beginNew(
  recipeFile: string | undefined,
  options: PretrainOptions,
): Promise<{ folder: RunFolder; recipe: PretrainRecipe }> {
  if (!recipeFile) {
    throw new UserError("A recipe is missing.", { hint: "For example: cre model pretrain recipes/base-zh.yaml" });
  }
  if (options.decayNow !== undefined) throw new UserError("--decay-now needs --resume and a run that was begun.");
  const recipe = await readPretrainRecipe(recipeFile, options.set);
  expectPaths(recipe, recipeFile);
  const directory = options.run ?? defaultRun(recipeFile);
  await expectFreeFolder(directory);
  return { folder: runFolder(directory), recipe };
}

function expectPaths(recipe: PretrainRecipe, file: string): void {
  const missing = missingPretrainPaths(recipe);
  if (missing.length === 0) return;
  throw new UserErrors(`${file}: cannot start:`, missing, {
    hint: "--set data.folder=DIR says where the sources are.",
  });
}

function defaultRun(recipeFile: string): string {
  return join("runs", basename(recipeFile).replace(/\.ya?ml$/, ""));
}

async function pretrainShowing(folder: RunFolder, recipe: PretrainRecipe, options: PretrainOptions): Promise<void> {
  const { tokenizer, spec } = await openSizes(recipe);
  const stop = new AbortController();
  let bar: Progress | null = null;
  // Once: a second Ctrl-C ends the process at once, as without us.
  const onSignal = () => {
    (bar?.line ?? say)("stopping after this step and saving a checkpoint; Ctrl-C again stops at once");
    stop.abort();
  };
  const backend = openBackend(recipe.precision, warn);
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  let release: (() => Promise<void>) | null = null;
  try {
    if (!options.resume) await createPretrainFolder(folder.directory, recipe);
    release = await holdRun(folder);
    const data = await openData(folder, recipe, tokenizer, options.tokens);
    const { storage } = recipe.model;
    const model = await initDecoder(backend, spec, recipe.seed, { storage, trainable: true });
    say(`${picocolors.bold(folder.directory)}  ${millions(parameterCount(spec))} M parameters; ${backend.description}`);
    for (const { name, train, heldOut } of data.sources) {
      say(
        `  ${name}: ${millions(train.tokens.length)} M tokens, ${millions(train.characters)} M characters in ${train.ends.length} documents; ` +
          `held out ${heldOut.ends.length} documents, ${heldOut.characters} characters`,
      );
    }
    const limits = {
      signal: stop.signal,
      untilStep: options.untilStep,
      seconds: options.minutes === undefined ? undefined : 60 * options.minutes,
    };
    for await (const event of pretrainRun(model, recipe, data, folder, limits, options.decayNow ?? null)) {
      if (event.kind === "start") {
        // What was changed on resuming holds from now on.
        await writeFileAtomic(folder.recipe, pretrainRecipeText(recipe));
        bar = begin(event);
      }
      if (event.kind === "step") bar?.update(event.step, stepDetail(event));
      else if (event.kind === "validation") bar?.line(validationLine(event));
      else if (event.kind === "stopped") {
        throw new Interrupted(
          `after step ${event.step}. Go on with: cre model pretrain --resume --run ${folder.directory}`,
        );
      } else if (event.kind === "end") {
        bar?.stop();
        say(`${picocolors.green("done")} after ${event.step} steps: ${folder.directory}`);
      }
    }
  } finally {
    bar?.stop();
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    await release?.();
    await backend.close();
  }
}

const millions = (count: number) => (count / 1e6).toFixed(2);

function begin(event: Extract<PretrainEvent, { kind: "start" }>): Progress {
  const tokens = millions(event.totalSteps * event.tokensPerStep);
  const resumed = event.resumedAt > 0 ? `, going on after step ${event.resumedAt}` : "";
  say(`${event.totalSteps} steps of ${event.tokensPerStep} tokens, ${tokens} M in all${resumed}`);
  return progress("pretrain", event.totalSteps, event.resumedAt);
}

function stepDetail(event: Extract<PretrainEvent, { kind: "step" }>): string {
  const share = event.shareOfPeak === null ? "" : ` (${(100 * event.shareOfPeak).toFixed(0)} % of peak)`;
  const memory = megabytes(process.memoryUsage.rss());
  return `loss ${event.loss.toFixed(4)}  ${Math.round(event.tokensPerSecond)} tokens/s${share}  ${memory}`;
}

function validationLine(event: Extract<PretrainEvent, { kind: "validation" }>): string {
  const each = Object.entries(event.sources).map(([name, score]) => `${name} ${score.bitsPerCharacter.toFixed(3)}`);
  const total = `${event.bitsPerCharacter.toFixed(3)} bits per character`;
  return `  held out after step ${event.step}: ${total}  (${each.join(", ")}; ${duration(event.seconds)})`;
}
