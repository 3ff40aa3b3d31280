import { performance } from "node:perf_hooks";
import type { Example } from "../data/example.ts";
import type { Recipe } from "../recipe/schema.ts";
import { passRoom } from "../runs/memory.ts";
import { openPrepared } from "../runs/open.ts";
import { prepareForRows } from "../runs/prepare.ts";
import { isFinished, runFolder } from "../runs/run-folder.ts";
import { encodeExamples } from "../runs/train-run.ts";
import { planSteps } from "../train/batches.ts";
import { train } from "../train/train.ts";
import type { Candidate } from "./candidates.ts";
import { type FoldRun, keptAnswers } from "./fold-run.ts";
import { type FoldPlan, foldRun } from "./plan.ts";

/** What a plan will cost; losers that are dropped early make it less. */
export interface FoldEstimate {
  trainings: number;
  /** Trainings that are finished already. */
  finished: number;
  /** Seconds of what is left: trainings, and extractions of held-out rows. */
  seconds: number;
}

/** Steps that are timed; the first one of a process is slower and not counted. */
const TIMED_STEPS = 4;
const TIMED_ROWS = 32;

/**
 * Estimates the time of a plan on this machine: makes a few steps and extracts a few rows for each kind of training (model, prompt, method
 * and batch), in memory, and multiplies. Nothing is written. Throws as opening a model does.
 */
export async function estimateFolds(
  plan: FoldPlan,
  seeds: readonly number[],
  onProgress: (done: number, total: number) => void = () => {},
): Promise<FoldEstimate> {
  const speeds = new Map<string, Speed>();
  const kinds = new Set(plan.candidates.map(({ recipe }) => speedKey(recipe)));
  const estimate = { trainings: 0, finished: 0, seconds: 0 };
  const trained = new Set<string>();
  for (const candidate of plan.candidates) {
    const key = speedKey(candidate.recipe);
    for (const seed of seeds) {
      for (const fold of plan.folds.keys()) {
        const run = foldRun(plan, candidate, seed, fold);
        const isFirst = !trained.has(run.directory);
        trained.add(run.directory);
        const isDone = await isFinished(runFolder(run.directory));
        if (isFirst) {
          estimate.trainings++;
          if (isDone) estimate.finished++;
        }
        const isAnswered = (await keptAnswers(run, candidate.recipe)) !== null;
        if (isAnswered) continue;
        const speed = speeds.get(key) ?? (await measure(candidate, run));
        speeds.set(key, speed);
        onProgress(speeds.size, kinds.size);
        if (isFirst && !isDone) estimate.seconds += speed.loading + trainingTime(candidate.recipe, run, speed);
        estimate.seconds += speed.loading + run.held.length * speed.row;
      }
    }
  }
  return estimate;
}

/** What decides the time of a step and of a row. */
function speedKey({ model, prompt, adapter, train, decode, precision }: Recipe): string {
  const { batchExamples, accumulation, recompute, sharePrefixes, onePass, promptLoss, severalRelations } = train;
  const settings = [batchExamples, accumulation, recompute, sharePrefixes, onePass, promptLoss, severalRelations];
  return JSON.stringify([model, prompt, adapter, settings, decode.method, decode.bothDirections, precision]);
}

interface Speed {
  /** Seconds to open the model. */
  loading: number;
  /** Seconds of a step. */
  step: number;
  /** Seconds of a row that is extracted. */
  row: number;
}

async function measure({ reading }: Candidate, { labels, train: rows, held }: FoldRun): Promise<Speed> {
  const began = performance.now();
  const opened = await openPrepared(await prepareForRows(reading, { labels, splitNames: ["train"] }));
  try {
    const loading = (performance.now() - began) / 1000;
    const { recipe, model, groups, extractor } = opened;
    const { encoded } = encodeExamples(opened, rows.slice(0, neededRows(recipe)));
    const plan = planSteps(encoded.length, { ...recipe.train, epochs: TIMED_STEPS + 1 }, recipe.seed);
    const seconds: number[] = [];
    const { room } = passRoom(opened);
    for await (const step of train(model, groups, encoded, plan, recipe.train, recipe.seed, 0, room)) {
      seconds.push(step.seconds);
      if (seconds.length > TIMED_STEPS) break;
    }
    const extracting = performance.now();
    const some = everyNth(held, TIMED_ROWS);
    await extractor.extract(some);
    const row = (performance.now() - extracting) / 1000 / some.length;
    const timed = seconds.length > 1 ? seconds.slice(1) : seconds;
    return { loading, step: timed.reduce((sum, one) => sum + one, 0) / timed.length, row };
  } finally {
    await opened.close();
  }
}

/** Rows that the timed steps read. */
function neededRows({ train: { batchExamples, accumulation } }: Recipe): number {
  return (TIMED_STEPS + 1) * batchExamples * accumulation;
}

function everyNth(rows: readonly Example[], count: number): Example[] {
  const step = Math.max(1, Math.floor(rows.length / count));
  return rows.filter((_, i) => i % step === 0).slice(0, count);
}

function trainingTime({ train: settings, seed }: Recipe, { train: rows }: FoldRun, { step }: Speed): number {
  const separate = settings.severalRelations === "separate";
  const examples = separate ? rows.reduce((sum, { relations = [] }) => sum + new Set(relations).size, 0) : rows.length;
  return planSteps(examples, settings, seed).totalSteps * step;
}
