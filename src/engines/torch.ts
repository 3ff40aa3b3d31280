import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { methodOf } from "../adapters/methods.ts";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { decoderWeights } from "../models/decoder.ts";
import { readResultJson } from "../runs/collected-files.ts";
import { companionFor, saveCompanion } from "../runs/companion.ts";
import type { CompanionValidation } from "../runs/companion-scores.ts";
import { expectRoom } from "../runs/memory.ts";
import { openPrepared, saveLabels } from "../runs/open.ts";
import { trainingNeed } from "../runs/prepare.ts";
import { type Stop, workInRun } from "../runs/protocol.ts";
import { type LogLine, type RunFolder, saveBaseSums } from "../runs/run-folder.ts";
import type { StopOptions } from "../runs/stop-signals.ts";
import { encodeTaughtRows } from "../runs/teacher.ts";
import { dueSteps, learntRows, originOf, validationRows } from "../runs/train-run.ts";
import { saveResult, validateWeights } from "../runs/trained-weights.ts";
import { type LearningData, type PreparedRun, readLearningData, type TrainingEvent } from "../runs/training.ts";
import { loadWeightValues, saveWeightValues, type TrainingProgress } from "../runs/training-state.ts";
import { planSteps } from "../train/batches.ts";
import { expectHandOver, hasHandOver, type Learnt, writeHandOver } from "./hand-over.ts";
import {
  PARALLEL_WAYS,
  type ParallelWay,
  runTrainer,
  type TrainerEvent,
  trainerCommand,
  usualLaunch,
} from "./launch.ts";
import { torchStatus } from "./python.ts";
import { type Collected, OUTPUT, readCollected } from "./result.ts";

/** How the trainer is started. */
export interface TorchEngine {
  /** The words of the command before the trainer's script; null: one process, or one for each GPU of this machine. */
  launch: readonly string[] | null;
  parallel: ParallelWay;
}

const engineSchema = z.object({
  engine: z.literal("torch"),
  launch: z.array(z.string()).min(1).nullable(),
  parallel: z.enum(PARALLEL_WAYS),
});

export type TorchEvent =
  | TrainingEvent
  | { kind: "handed over"; directory: string; command: string[]; rows: number; steps: number; truncated: number }
  | { kind: "trainer"; event: Extract<TrainerEvent, { kind: "start" }> };

export interface TorchOptions extends StopOptions {
  /** Writes the hand-over and trains nothing. */
  isDryRun?: boolean;
  /** Takes this folder in the place of a training. */
  collected?: string;
  onEvent?: (event: TorchEvent) => void;
}

const engineFile = (directory: string) => join(directory, "engine.json");

/** The engine that a run was begun with; null for a run that trains here. */
export async function engineOf(directory: string): Promise<TorchEngine | null> {
  const file = engineFile(directory);
  if (!existsSync(file)) return null;
  const { launch, parallel } = await readResultJson(file, engineSchema);
  return { launch, parallel };
}

/** What a run learns, with the steps of its plan. */
function learntOf({ prepared }: PreparedRun, { train, own, drawn, valid, teacher }: LearningData) {
  const { recipe } = prepared;
  const taught = teacher && encodeTaughtRows(prepared, own, teacher, drawn);
  const { encoded, truncated } = learntRows(prepared, train, taught);
  const plan = planSteps(encoded.length, recipe.train, recipe.seed);
  const validated = validationRows(recipe, valid);
  const due = dueSteps(recipe, plan, validated.length);
  const learnt: Learnt = { encoded, plan, due, origin: originOf(recipe, encoded, validated) };
  return { learnt, truncated, validated, notice: taught?.notice ?? null };
}

/**
 * Fine-tunes a run with engines/torch/train.py: writes the hand-over into the run's folder, starts the trainer, takes its result. A run that
 * was begun continues where it was. Returns where it stopped, null when it finished, or after a dry run. Throws a UserError for a recipe that
 * the trainer cannot train, and when it fails.
 */
export async function trainWithTorch(
  run: PreparedRun,
  engine: TorchEngine,
  options: TorchOptions = {},
): Promise<Stop | null> {
  const { folder, prepared } = run;
  const onEvent = options.onEvent ?? (() => {});
  const onNotice = (text: string) => onEvent({ kind: "notice", text });
  return workInRun(run, options, async ({ signal, begin }) => {
    expectHandOver(prepared);
    const data = await readLearningData(run, onEvent);
    const { learnt, truncated, validated, notice } = learntOf(run, data);
    for (const text of [data.joinedNotice, notice]) if (text !== null) onNotice(text);
    const { plan, origin, encoded } = learnt;
    const collected =
      options.collected === undefined ? null : await readCollected(options.collected, origin, plan.totalSteps);
    await begin(prepared.recipe);
    await saveLabels(folder, data.labels);
    if (collected) return finishRun(run, data, learnt, validated, collected, onEvent);
    await writeFileAtomic(engineFile(folder.directory), `${JSON.stringify({ engine: "torch", ...engine })}\n`);
    const handOver = join(folder.directory, "hand-over");
    if (!(await hasHandOver(handOver, origin))) await writeHandOver(handOver, prepared, learnt, onNotice);
    const output = join(handOver, OUTPUT);
    const launch = engine.launch ?? (options.isDryRun ? null : usualLaunch(await usableTorch()));
    const command = trainerCommand(launch, join(handOver, "train.py"), handOver, output, engine.parallel);
    onEvent({
      kind: "handed over",
      directory: handOver,
      command,
      rows: encoded.length,
      steps: plan.totalSteps,
      truncated,
    });
    if (options.isDryRun) return null;
    if (!existsSync(join(output, "result.json"))) {
      const logFile = join(handOver, "trainer.log");
      const { totalSteps, stepsPerEpoch } = plan;
      const { stoppedAt } = await runTrainer(command, logFile, signal, (event) => {
        if (event.kind === "step") onEvent(event);
        if (event.kind !== "start") return;
        onEvent({ kind: "trainer", event });
        const { resumedAt } = event;
        onEvent({ kind: "start", totalSteps, stepsPerEpoch, examples: encoded.length, resumedAt, truncated });
      });
      if (stoppedAt !== null) return stoppedAt;
    }
    return finishRun(run, data, learnt, validated, await readCollected(output, origin, plan.totalSteps), onEvent);
  }).finally(prepared.close);
}

async function usableTorch() {
  const status = await torchStatus();
  if (status.missing.length === 0) return status;
  throw new UserError(`--engine torch: ${status.program} lacks ${status.missing.join(", ")}.`, {
    hint: "`cre doctor --engine torch` says how to install it; CRE_PYTHON names another Python, --launch another command; --dry-run needs none.",
  });
}

/** Makes a finished run of what a trainer made: validates its adapters here, keeps the best one, fits what is fitted on validation rows. */
async function finishRun(
  run: PreparedRun,
  { labels, known, annotated }: LearningData,
  { due, plan }: Learnt,
  validated: LearningData["valid"],
  { kept, log, trainedBy }: Collected,
  onEvent: (event: TorchEvent) => void,
): Promise<null> {
  const { folder, prepared } = run;
  const { recipe } = prepared;
  const started = performance.now();
  const onNotice = (text: string) => onEvent({ kind: "notice", text });
  if (trainedBy === null)
    onNotice("the folder has an adapter and no log of its training: nothing tells which rows it learnt.");
  if (recipe.train.patience > 0)
    onNotice("train.patience ends no training elsewhere: all validations are made now, after its end.");
  expectRoom(folder.directory, trainingNeed(recipe, prepared.spec), onNotice);
  const companion = await companionFor(folder, recipe, labels, known, validated);
  const opened = await openPrepared(prepared, {
    onNotice,
    onLoad: (done, total) => onEvent({ kind: "loading", done, total }),
  });
  try {
    if (companion) onEvent(companion.event);
    const { backend, model, trainable } = opened;
    if (prepared.base) await saveBaseSums(folder, prepared.base.source.checks.sums);
    if (companion) await saveCompanion(folder, companion);
    const numbers = (weights: readonly { rows: number; columns: number }[]) =>
      weights.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
    const parameters = numbers(decoderWeights(model));
    onEvent({
      kind: "model",
      parameters,
      trained: numbers(trainable),
      labels: labels.labels.length,
      backend: backend.description,
    });
    const progress: TrainingProgress = { step: plan.totalSteps, best: null, waited: 0, averaged: 0 };
    const lines = [...log];
    let bestProbabilities: Float64Array[] | null = null;
    for (const { step, folder: one } of kept) {
      await methodOf(recipe.adapter).elsewhere?.readTrained(model, one);
      if (!due.validates(step)) continue;
      const { probabilities, ...validation } = await validateWeights(opened, validated, step, progress);
      if (validation.isBest) {
        await saveWeightValues(backend, trainable, folder.best);
        bestProbabilities = probabilities;
      }
      lines.push({ kind: "validation", ...validation });
      onEvent({ kind: "validation", ...validation });
    }
    if (progress.best) await loadWeightValues(backend, trainable, folder.best);
    await writeLog(folder, lines);
    const mixture: CompanionValidation | null = await saveResult(
      opened,
      folder,
      validated,
      companion,
      bestProbabilities,
      annotated,
      (done, total) => onEvent({ kind: "pairs", done, total }),
    );
    if (mixture) onEvent({ kind: "mixture", ...mixture });
    const engine = await engineOf(folder.directory);
    const note = { engine: "torch", launch: null, parallel: "ddp", ...engine, trainedBy };
    await writeFileAtomic(engineFile(folder.directory), `${JSON.stringify(note)}\n`);
    const done = { steps: plan.totalSteps, best: progress.best };
    await writeFileAtomic(folder.done, `${JSON.stringify(done)}\n`);
    const seconds = trainedBy?.seconds ?? (performance.now() - started) / 1000;
    onEvent({ kind: "end", steps: plan.totalSteps, best: progress.best, waited: 0, seconds });
    return null;
  } finally {
    await opened.close();
  }
}

/** Writes the log anew: a result that is taken a second time has its lines once. */
async function writeLog(folder: RunFolder, lines: readonly LogLine[]): Promise<void> {
  const inOrder = [...lines].sort((a, b) => a.step - b.step || (a.kind === "step" ? -1 : 1));
  await writeFileAtomic(folder.log, inOrder.map((line) => `${JSON.stringify(line)}\n`).join(""));
}
