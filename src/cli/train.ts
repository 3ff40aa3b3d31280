import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type Command, Option } from "commander";
import picocolors from "picocolors";
import { UserError } from "../base/errors.ts";
import { hasFastBackend } from "../compute/open.ts";
import { PARALLEL_WAYS, type ParallelWay, wordsOf } from "../engines/launch.ts";
import { runAround } from "../engines/result.ts";
import { engineOf, type TorchEngine, type TorchEvent, trainWithTorch } from "../engines/torch.ts";
import { type RecipeSource, readRecipeParts } from "../recipe/read.ts";
import { continuing } from "../runs/given-start.ts";
import type { Stop } from "../runs/protocol.ts";
import { runFolder } from "../runs/run-folder.ts";
import { begunTraining, newTraining, type PreparedRun, runTraining, type TrainingEvent } from "../runs/training.ts";
import type { TrainStep } from "../train/train.ts";
import { showLoading } from "./loading.ts";
import { collect } from "./options.ts";
import { defaultsLine } from "./recipe.ts";
import { Interrupted } from "./report.ts";
import { warnBadRows } from "./splits.ts";
import { duration, megabytes, type Progress, percent, progress, STOPPING, say, warn } from "./terminal.ts";
import { handOverLines, trainerLine } from "./train-torch.ts";

interface TrainOptions {
  data?: string;
  set: string[];
  run?: string;
  resume?: boolean;
  skipBad?: boolean;
  engine?: "torch";
  launch?: string;
  parallel?: ParallelWay;
  dryRun?: boolean;
  collect?: string;
  adapter?: string;
}

export function addTrainCommand(program: Command): void {
  program
    .command("train")
    .description("fine-tune a model by a recipe; Ctrl-C stops, --resume continues")
    .argument("[recipe]", "recipe file; without it the defaults for --data")
    .option("--data <dir>", "data folder, instead of the recipe's data.path")
    .option("--set <key=value>", "replace one value of the recipe, for example train.epochs=2", collect, [])
    .option("--adapter <dir>", "continue from the weights of a PEFT folder on the recipe's model")
    .option("--run <dir>", "run folder (default: runs/NAME of the recipe or data)")
    .option("--resume", "continue a run from its last checkpoint")
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .addOption(
      new Option("--engine <name>", "torch: train with PyTorch, on GPUs or several machines (docs/gpus.md)").choices([
        "torch",
      ]),
    )
    .option("--launch <command>", 'with --engine: how its script is started, for example "torchrun --nproc-per-node 8"')
    .addOption(
      new Option("--parallel <way>", "with --engine: each process has the base (ddp) or a shard of it (fsdp)").choices(
        PARALLEL_WAYS,
      ),
    )
    .option("--dry-run", "with --engine: write what its script needs, print its command, train nothing")
    .option("--collect <dir>", "train nothing: make the run of what the script of --engine wrote")
    .action(async (recipeFile: string | undefined, options: TrainOptions) => {
      expectEngine(options);
      if (options.collect !== undefined) await collectRun(recipeFile, options, options.collect);
      else if (options.resume) await resumeRun(recipeFile, options);
      else await beginRun(recipeFile, options);
    });
}

async function resumeRun(recipeFile: string | undefined, options: TrainOptions): Promise<void> {
  const directory = options.run ?? (recipeFile ? defaultRun(recipeFile) : undefined);
  if (!directory) throw new UserError("--resume needs --run DIR or the recipe.");
  if (options.set.length > 0 || options.data || options.skipBad || options.adapter) {
    throw new UserError("--resume uses the run's own recipe; --set, --data, --adapter and --skip-bad would change it.");
  }
  const engine = await engineOf(directory);
  const run = await begunTraining(directory, undefined, { isElsewhere: engine !== null });
  if (run && engine) await trainWithTorchShowing(run, engineWith(options, engine), options);
  else if (run) await trainShowing(run);
  else say(`${directory}: training is finished already.`);
}

async function beginRun(file: string | undefined, options: TrainOptions): Promise<void> {
  const { set, data, run, skipBad, adapter } = options;
  if (file === undefined && data === undefined) {
    throw new UserError("cre train: got neither a recipe nor data, expected one of them.", {
      hint: "cre train --data DIR chooses good settings for the data; cre recipe show lists the recipes.",
    });
  }
  const badRows = skipBad ? "skip" : undefined;
  const isElsewhere = options.engine !== undefined;
  const source = { file, overrides: set, dataPath: data, badRows, isFast: isElsewhere || hasFastBackend() } as const;
  const directory = run ?? defaultRun(file ?? resolve(data as string));
  const start = adapter === undefined ? source : await continuing(source, adapter);
  if (!isElsewhere) return trainNewRun(directory, start);
  if (adapter !== undefined)
    throw new UserError("--adapter: the torch engine starts from fresh weights, expected no --engine with it.");
  const reading = await readRecipeParts(source);
  const begun = await newTraining(directory, reading, undefined, { isElsewhere });
  showDefaults(reading);
  await trainWithTorchShowing(begun, engineWith(options, null), options);
}

/** Trains a new run and prints its progress; for `cre train` and `cre demo`. `onBegun` is called when the run's folder is made. */
export async function trainNewRun(directory: string, source: RecipeSource, onBegun = () => {}): Promise<void> {
  const reading = await readRecipeParts(source);
  const run = await newTraining(directory, reading);
  showDefaults(reading);
  await trainShowing(run, onBegun);
}

function showDefaults(reading: Parameters<typeof defaultsLine>[0]): void {
  const defaults = defaultsLine(reading);
  if (defaults !== null) say(`${defaults} (cre recipe show explains every value)`);
}

async function collectRun(file: string | undefined, options: TrainOptions, collected: string): Promise<void> {
  const directory = options.run ?? (file ? defaultRun(file) : runAround(resolve(collected)));
  if (!directory) throw new UserError("--collect needs --run DIR or the recipe.");
  const isBegun = existsSync(runFolder(directory).recipe);
  if (!isBegun && file === undefined)
    throw new UserError(`${directory}: has no run. Give the recipe that was handed over.`);
  const { set, data, skipBad } = options;
  const source = { file, overrides: set, dataPath: data, badRows: skipBad ? "skip" : undefined } as const;
  const run = isBegun ? await begunTraining(directory) : await newTraining(directory, await readRecipeParts(source));
  if (run) await trainWithTorchShowing(run, { launch: null, parallel: "ddp" }, { ...options, collect: collected });
  else say(`${directory}: training is finished already.`);
}

function engineWith({ launch, parallel }: TrainOptions, before: TorchEngine | null): TorchEngine {
  return {
    launch: launch === undefined ? (before?.launch ?? null) : wordsOf(launch),
    parallel: parallel ?? before?.parallel ?? "ddp",
  };
}

/** Throws a UserError for options of an engine where none is used. */
function expectEngine({ engine, launch, parallel, dryRun, resume, collect: collected }: TrainOptions): void {
  const all = { "--launch": launch, "--parallel": parallel, "--dry-run": dryRun };
  const given = Object.entries(all).find(([, value]) => value !== undefined)?.[0];
  if (given !== undefined && engine === undefined && !resume) {
    throw new UserError(`${given} is for a training elsewhere: give --engine torch too.`);
  }
  const other = resume ? "--resume" : engine ? "--engine" : given;
  if (collected !== undefined && other) throw new UserError(`--collect trains nothing: it does not go with ${other}.`);
}

function defaultRun(recipeOrData: string): string {
  return join("runs", basename(recipeOrData).replace(/\.ya?ml$/, ""));
}

async function trainShowing(run: PreparedRun, onBegun = () => {}): Promise<void> {
  const { directory } = run.folder;
  const printer = trainingPrinter(directory, onBegun);
  const stop = await runTraining(run, printer).finally(printer.close);
  endShowing(directory, stop);
}

function endShowing(directory: string, stop: Stop | null): void {
  if (!stop) return;
  throw new Interrupted(`after step ${stop.step}. Resume with: cre train --resume --run ${directory}`, stop.signal);
}

async function trainWithTorchShowing(run: PreparedRun, engine: TorchEngine, options: TrainOptions): Promise<void> {
  const { directory } = run.folder;
  const printer = trainingPrinter(directory, () => {});
  const onEvent = (event: TorchEvent) => {
    if (event.kind === "handed over") for (const line of handOverLines(event, options.dryRun ?? false)) say(line);
    else if (event.kind === "trainer") say(trainerLine(event.event));
    else printer.onEvent(event);
  };
  const { dryRun: isDryRun, collect: collected } = options;
  const { onSignal, close } = printer;
  const stop = await trainWithTorch(run, engine, { isDryRun, collected, onEvent, onSignal }).finally(close);
  endShowing(directory, stop);
}

/** Prints the events of a training, with a progress bar until it is closed. */
export function trainingPrinter(directory: string, onBegun: () => void) {
  const loading = showLoading();
  const speed = { tokens: 0, seconds: 0 };
  let bar: Progress | null = null;
  let isFitting = false;
  const onEvent = (event: TrainingEvent): void => {
    if (event.kind === "notice") warn(event.text);
    else if (event.kind === "data") warnBadRows(event);
    else if (event.kind === "loading") loading(event.done, event.total);
    else if (event.kind === "companion") say(companionLine(event));
    else if (event.kind === "model") {
      onBegun();
      say(modelLine(directory, event));
    } else if (event.kind === "start") {
      say(startLine(event));
      bar = progress("train", event.totalSteps, event.resumedAt);
    } else if (event.kind === "step") {
      speed.tokens = 0.95 * speed.tokens + event.tokens;
      speed.seconds = 0.95 * speed.seconds + event.seconds;
      bar?.update(event.step, stepDetail(event, speed.tokens / speed.seconds));
    } else if (event.kind === "pairs") {
      if (!isFitting) {
        bar?.stop();
        bar = progress("pairs", event.total);
      }
      isFitting = true;
      bar?.update(event.done);
    } else if (event.kind === "validation") (bar?.line ?? say)(validationLine(event));
    else if (event.kind === "mixture") (bar?.line ?? say)(mixtureLine(event));
    else if (event.kind === "end") {
      bar?.stop();
      say(endLine(directory, event));
    }
  };
  return { onEvent, onSignal: () => (bar?.line ?? say)(STOPPING), close: () => bar?.stop() };
}

type EventOf<Kind extends TrainingEvent["kind"]> = Extract<TrainingEvent, { kind: Kind }>;

function modelLine(directory: string, { parameters, trained, labels, backend }: EventOf<"model">): string {
  const millions = (count: number) => (count / 1e6).toFixed(2);
  const sizes = `${millions(parameters)} M parameters, ${millions(trained)} M trained`;
  return `${picocolors.bold(directory)}  ${sizes}; ${labels} labels; ${backend}`;
}

function companionLine({ rows, seconds, validation, heldOut }: EventOf<"companion">): string {
  const made = seconds === null ? "read from the run" : `trained on ${rows} rows in ${duration(seconds)}`;
  const held = heldOut ? `; micro F1 ${percent(heldOut.microF1)} on ${heldOut.rows} held-out training rows` : "";
  const scored = validation
    ? `; validation micro F1 ${percent(validation.microF1)}, paper F1 ${percent(validation.paperF1)}`
    : held;
  return `linear companion: ${made}${scored}`;
}

function mixtureLine({ mixture, model, mixed, gains }: EventOf<"mixture">): string {
  const between = (name: "microF1" | "paperF1") => `${percent(model[name])} → ${percent(mixed[name])}`;
  const use = gains ? picocolors.green("mixed in from now on") : "not mixed in";
  return `  with the companion (weight ${mixture.weight.toFixed(2)}): micro F1 ${between("microF1")}, paper F1 ${between("paperF1")}  ${use}`;
}

function stepDetail(event: TrainStep, tokensPerSecond: number): string {
  const memory = megabytes(process.memoryUsage.rss());
  const rate = Math.round(tokensPerSecond);
  return `epoch ${event.epoch.toFixed(1)}  loss ${event.loss.toFixed(4)}  ${rate} tokens/s  ${memory}`;
}

function startLine(event: EventOf<"start">): string {
  const resumed = event.resumedAt > 0 ? `, resuming after step ${event.resumedAt}` : "";
  const truncated = event.truncated > 0 ? `, ${event.truncated} prompts shortened to fit` : "";
  const epochs = (event.totalSteps / event.stepsPerEpoch).toFixed(1);
  return `${event.examples} training rows${truncated}; ${event.totalSteps} steps (${epochs} epochs)${resumed}`;
}

function validationLine(event: EventOf<"validation">): string {
  const best = event.isBest ? picocolors.green("  best so far") : "";
  return `  validation after step ${event.step}: micro F1 ${percent(event.microF1)}, paper F1 ${percent(event.paperF1)}  (${event.rows} rows, ${duration(event.seconds)})${best}`;
}

function endLine(directory: string, { steps, seconds, best, waited }: EventOf<"end">): string {
  const kept = best ? `; best validation at step ${best.step}` : "";
  const early = waited > 0 ? ` (ended early: ${waited} validations without a better one)` : "";
  return `${picocolors.green("done")} in ${duration(seconds)}, ${steps} steps${early}${kept}: ${directory}`;
}
