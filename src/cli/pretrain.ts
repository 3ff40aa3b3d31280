import { basename, join, relative } from "node:path";
import type { Command } from "commander";
import picocolors from "picocolors";
import { UserError } from "../base/errors.ts";
import { checkOutputFolder } from "../base/output.ts";
import { packageRoot } from "../compute/native/levels.ts";
import { openBackend } from "../compute/open.ts";
import { exportBase } from "../export/base.ts";
import { checkModelFolder } from "../export/output-folder.ts";
import { initDecoder } from "../models/init.ts";
import { parameterCount } from "../models/layer.ts";
import { type PretrainRecipe, readPretrainRecipe } from "../pretrain/recipe.ts";
import type { TokenSource } from "../pretrain/token-file.ts";
import { collectPretraining, handOver } from "../runs/collected.ts";
import type { NoticeEvent } from "../runs/notice.ts";
import { openPretrainFolder } from "../runs/pretrain-run.ts";
import {
  openPretrainSizes,
  openRunTokens,
  PRETRAINING,
  type PretrainingEvent,
  runPretraining,
  type TokensEvent,
} from "../runs/pretraining.ts";
import { begunRun, expectPaths, newRun, type TrainableRun } from "../runs/protocol.ts";
import { collect, wholeNumber } from "./options.ts";
import { Interrupted } from "./report.ts";
import { duration, megabytes, type Progress, progress, STOPPING, say, warn } from "./terminal.ts";

interface PretrainOptions {
  set: string[];
  run?: string;
  resume?: boolean;
  untilStep?: number;
  minutes?: number;
  decayNow?: number;
  tokens?: string;
  handOver?: string;
  collect?: string;
}

export function addPretrainCommand(model: Command): void {
  model
    .command("pretrain")
    .description("train a model on text, from random weights or from another model's; Ctrl-C stops, --resume continues")
    .argument("[recipe]", "recipe file (not needed with --resume)")
    .option("--set <key=value>", "replace one value of the recipe, for example train.steps=200", collect, [])
    .option("--run <dir>", "run folder (default: runs/NAME of the recipe)")
    .option(
      "--resume",
      "continue from the last checkpoint; --set may change train.steps and other times, not the numbers",
    )
    .option("--until-step <n>", "save and stop after this step", wholeNumber)
    .option("--minutes <n>", "save and stop after this time", wholeNumber)
    .option(
      "--decay-now <steps>",
      "with --resume: start a final phase of this many steps at the checkpoint",
      wholeNumber,
    )
    .option("--tokens <dir>", "folder for the token ids of the text (default: tokens in the run folder)")
    .option("--hand-over <dir>", "train nothing: write what engines/torch/pretrain.py trains on a GPU")
    .option("--collect <dir>", "train nothing: make the run of what engines/torch/pretrain.py wrote")
    .action(async (recipeFile: string | undefined, options: PretrainOptions) => {
      if (options.tokens !== undefined) await checkOutputFolder(options.tokens);
      if (options.handOver !== undefined) return handOverShowing(recipeFile, options, options.handOver);
      if (options.collect !== undefined) return collectShowing(recipeFile, options, options.collect);
      const run = options.resume ? await toResume(recipeFile, options) : await toStart(recipeFile, options);
      if (run) await pretrainShowing(run, options);
    });
}

export function addExportBaseCommand(model: Command): void {
  model
    .command("export-base")
    .description("write a pretraining run's last checkpoint as a Hugging Face folder in bfloat16, with a model card")
    .argument("<run>", "run folder of cre model pretrain")
    .requiredOption("--output <dir>", "model folder to write")
    .option("--overwrite", "replace a model that is there")
    .option("--tokens <dir>", "folder for the token ids of the text (default: tokens in the run folder)")
    .action(async (directory: string, options: { output: string; overwrite?: boolean; tokens?: string }) => {
      const { folder, recipe } = await openPretrainFolder(directory);
      const read = [directory, recipe.model.tokenizer];
      await checkModelFolder(options.output, { overwrite: options.overwrite, read, writes: "model" });
      if (options.tokens !== undefined) await checkOutputFolder(options.tokens);
      // The weights are the run's own: the model that they began as may be gone.
      const { start: _start, ...model } = recipe.model;
      expectPaths(PRETRAINING, { ...recipe, model }, `${folder.recipe}: cannot be read:`);
      const { tokenizer, spec } = await openPretrainSizes(recipe);
      const bar = tokensBar();
      const backend = openBackend(recipe.precision, warn);
      try {
        const data = await openRunTokens(folder, recipe, tokenizer, options.tokens, bar.update);
        bar.close();
        const { storage } = recipe.model;
        const decoder = await initDecoder(backend, spec, recipe.seed, { storage, trainable: true });
        const { step } = await exportBase(decoder, tokenizer, recipe, data, folder, options.output, warn);
        say(`${options.output}: ${millions(parameterCount(spec))} M parameters after ${step} steps.`);
      } finally {
        bar.close();
        await backend.close();
      }
    });
}

async function handOverShowing(recipeFile: string | undefined, options: PretrainOptions, directory: string) {
  expectAlone(options, "--hand-over");
  const recipe = await readPretrainRecipe(expectRecipe(recipeFile), options.set);
  expectPaths(PRETRAINING, recipe, `${recipeFile}: cannot be handed over:`);
  await checkOutputFolder(directory);
  const bar = tokensBar();
  const { spec, tokens } = await handOver(recipe, directory, bar.update).finally(bar.close);
  const size = `${millions(parameterCount(spec))} M parameters, ${millions(tokens)} M tokens`;
  const script = relative(process.cwd(), join(packageRoot, "engines", "torch", "pretrain.py"));
  say(`${directory}: ${size}. Where PyTorch and a GPU are: python ${script} ${directory} --output OUT`);
  say(`Then here: cre model pretrain ${recipeFile} --collect OUT`);
}

async function collectShowing(recipeFile: string | undefined, options: PretrainOptions, collected: string) {
  expectAlone(options, "--collect");
  const file = expectRecipe(recipeFile);
  const recipe = await readPretrainRecipe(file, options.set);
  const directory = options.run ?? defaultRun(file);
  const bar = tokensBar();
  const show = (event: TokensEvent | NoticeEvent) => (event.kind === "notice" ? warn(event.text) : bar.update(event));
  const validation = await collectPretraining(recipe, collected, directory, file, show, options.tokens).finally(
    bar.close,
  );
  say(validationLine({ kind: "validation", ...validation }));
  say(`${picocolors.green("done")} after ${validation.step} steps: ${directory}`);
}

/** Options of a training make no sense where nothing is trained. */
function expectAlone(options: PretrainOptions, name: string): void {
  const training = { "--resume": options.resume, "--until-step": options.untilStep, "--minutes": options.minutes };
  const all = { ...training, "--decay-now": options.decayNow };
  const other = Object.entries(all).find(([, value]) => value !== undefined)?.[0];
  if (other) throw new UserError(`${name} trains nothing: it does not go with ${other}.`);
}

function expectRecipe(recipeFile: string | undefined): string {
  if (recipeFile !== undefined) return recipeFile;
  throw new UserError("A recipe is missing.", { hint: "For example: cre model pretrain recipes/base-zh.yaml" });
}

async function toResume(
  recipeFile: string | undefined,
  options: PretrainOptions,
): Promise<TrainableRun<PretrainRecipe> | null> {
  const directory = options.run ?? (recipeFile ? defaultRun(recipeFile) : undefined);
  if (!directory) throw new UserError("--resume needs --run DIR or the recipe.");
  const run = await begunRun(PRETRAINING, directory, options.set);
  if (!run) say(`${directory}: pretraining is finished already.`);
  return run;
}

async function toStart(
  recipeFile: string | undefined,
  options: PretrainOptions,
): Promise<TrainableRun<PretrainRecipe>> {
  const file = expectRecipe(recipeFile);
  if (options.decayNow !== undefined) throw new UserError("--decay-now needs --resume and a run that was begun.");
  return newRun(PRETRAINING, options.run ?? defaultRun(file), await readPretrainRecipe(file, options.set), file);
}

function defaultRun(recipeFile: string): string {
  return join("runs", basename(recipeFile).replace(/\.ya?ml$/, ""));
}

async function pretrainShowing(run: TrainableRun<PretrainRecipe>, options: PretrainOptions): Promise<void> {
  const { directory } = run.folder;
  const { untilStep, minutes, decayNow, tokens } = options;
  const seconds = minutes === undefined ? undefined : 60 * minutes;
  const printer = pretrainingPrinter(directory);
  const stop = await runPretraining(run, { untilStep, seconds, decayNow, tokens, ...printer }).finally(printer.close);
  if (!stop) return;
  const next = `Resume with: cre model pretrain --resume --run ${directory}`;
  throw new Interrupted(`after step ${stop.step}. ${next}`, stop.signal);
}

/** Prints the events of a pretraining, with a progress bar until it is closed. */
function pretrainingPrinter(directory: string) {
  const tokens = tokensBar();
  let bar: Progress | null = null;
  const onEvent = (event: PretrainingEvent): void => {
    if (event.kind === "notice") warn(event.text);
    else if (event.kind === "tokens") tokens.update(event);
    else if (event.kind === "model") {
      tokens.close();
      say(`${picocolors.bold(directory)}  ${millions(event.parameters)} M parameters; ${event.backend}`);
      for (const source of event.sources) say(sourceLine(source));
    } else if (event.kind === "start") {
      say(startLine(event));
      bar = progress("pretrain", event.totalSteps, event.resumedAt);
    } else if (event.kind === "step") bar?.update(event.step, stepDetail(event));
    else if (event.kind === "validation") bar?.line(validationLine(event));
    else if (event.kind === "end") {
      bar?.stop();
      say(`${picocolors.green("done")} after ${event.step} steps: ${directory}`);
    }
  };
  const close = () => {
    tokens.close();
    bar?.stop();
  };
  return { onEvent, onSignal: () => (bar?.line ?? say)(STOPPING), close };
}

/** A bar that counts documents while text is tokenized; none for text whose tokens are in the cache. */
function tokensBar() {
  let bar: Progress | null = null;
  return {
    update({ documents, source, characters }: TokensEvent) {
      bar ??= progress("tokens", null);
      bar.update(documents, `documents of ${source}, ${characters} characters`);
    },
    close: () => {
      bar?.stop();
      bar = null;
    },
  };
}

type EventOf<Kind extends PretrainingEvent["kind"]> = Extract<PretrainingEvent, { kind: Kind }>;

const millions = (count: number) => (count / 1e6).toFixed(2);

function sourceLine({ name, train, heldOut }: TokenSource): string {
  const trained = `${millions(train.tokens.length)} M tokens, ${millions(train.characters)} M characters in ${train.ends.length} documents`;
  return `  ${name}: ${trained}; held out ${heldOut.ends.length} documents, ${heldOut.characters} characters`;
}

function startLine(event: EventOf<"start">): string {
  const tokens = millions(event.totalSteps * event.tokensPerStep);
  const resumed = event.resumedAt > 0 ? `, resuming after step ${event.resumedAt}` : "";
  return `${event.totalSteps} steps of ${event.tokensPerStep} tokens, ${tokens} M in all${resumed}`;
}

function stepDetail(event: EventOf<"step">): string {
  const share = event.shareOfPeak === null ? "" : ` (${(100 * event.shareOfPeak).toFixed(0)} % of peak)`;
  const memory = megabytes(process.memoryUsage.rss());
  return `loss ${event.loss.toFixed(4)}  ${Math.round(event.tokensPerSecond)} tokens/s${share}  ${memory}`;
}

function validationLine(event: EventOf<"validation">): string {
  const each = Object.entries(event.sources).map(([name, score]) => `${name} ${score.bitsPerCharacter.toFixed(3)}`);
  const total = `${event.bitsPerCharacter.toFixed(3)} bits per character`;
  const when = event.step === 0 ? "before the first step" : `after step ${event.step}`;
  return `  held out ${when}: ${total}  (${each.join(", ")}; ${duration(event.seconds)})`;
}
