import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { UserError } from "../base/errors.ts";
import type { Example, LabelSet } from "../data/example.ts";
import type { ScoredRow } from "../evaluate/rows.ts";
import type { RecipeReading } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { openRun } from "../runs/run.ts";
import { LEFTOVER, LOCK, openRunFolder, readLog, runFolder } from "../runs/run-folder.ts";
import { findPredictions, savePredictions } from "../runs/saved-predictions.ts";
import { begunTraining, NO_VALIDATION, newTraining, runTraining, type TrainingEvent } from "../runs/training.ts";

/** Thrown when work on folds was asked to stop. What is finished is kept, and so is the checkpoint of the training in progress. */
export class FoldsStopped extends Error {}

/** One training on all folds but one. */
export interface FoldRun {
  /** Its run folder. */
  directory: string;
  /** The recipe to train by, with its seed. */
  reading: RecipeReading & { recipe: Recipe };
  labels: LabelSet;
  train: readonly Example[];
  held: readonly Example[];
}

export interface FoldOptions {
  signal: AbortSignal;
  onEvent: (event: TrainingEvent | { kind: "rows"; done: number; total: number }) => void;
}

/** A recipe with another seed. */
export function withSeed(reading: RecipeReading, seed: number): FoldRun["reading"] {
  const recipe = { ...(reading.recipe as Recipe), seed };
  return { ...reading, recipe, parts: recipe };
}

/**
 * Trains a fold, from its last checkpoint if it was begun, and removes the checkpoints at the end: they are several times as large as the
 * result. Its validation rows are held out of its training rows (`train.validationShare`). Throws a {@link FoldsStopped} when it was asked to stop.
 */
export async function trainFold(fold: FoldRun, { signal, onEvent }: FoldOptions): Promise<void> {
  const { directory, reading, labels, train } = fold;
  const folder = runFolder(directory);
  const data = { labels, train };
  const isBegun = existsSync(folder.recipe);
  if (!isBegun) await removeBeginning(directory);
  const run = isBegun ? await begunTraining(directory, data) : await newTraining(directory, reading, data);
  if (run !== null) {
    const stop = await runTraining(run, {
      signal,
      onEvent(event) {
        if (event.kind !== "notice" || !event.text.startsWith(NO_VALIDATION)) onEvent(event);
      },
    });
    if (stop !== null) throw new FoldsStopped();
  }
  await rm(dirname(folder.state), { recursive: true, force: true });
}

/** What a process that was killed while it made the folder of a run left there: without a recipe it is not a run yet. */
async function removeBeginning(directory: string): Promise<void> {
  if (!existsSync(directory)) return;
  for (const name of await readdir(directory)) {
    if (name !== LOCK && name !== "base.json" && !LEFTOVER.test(name)) {
      throw new UserError(`${directory}: holds ${name} and no recipe.yaml, expected a run or nothing.`, {
        hint: "Move it away, then repeat the command.",
      });
    }
    await rm(`${directory}/${name}`, { force: true });
  }
}

/** The kept answers of a trained fold to its held-out rows, with the decoding of a recipe; null when there are none. */
export async function keptAnswers(
  { directory, held }: Pick<FoldRun, "directory" | "held">,
  { decode }: Pick<Recipe, "decode">,
): Promise<ScoredRow[] | null> {
  if (!existsSync(runFolder(directory).recipe)) return null;
  const { folder, recipe: own } = await openRunFolder(directory);
  return findPredictions({ folder, recipe: { ...own, decode } }, held, null);
}

/** Extracts the held-out rows of a trained fold with the decoding of a recipe, and keeps the answers. */
export async function answerHeld(
  { directory, held }: Pick<FoldRun, "directory" | "held">,
  { decode }: Pick<Recipe, "decode">,
  { signal, onEvent }: FoldOptions,
): Promise<ScoredRow[]> {
  const run = await openRun(directory, {
    decode,
    onNotice: (text) => onEvent({ kind: "notice", text }),
    onLoad: (done, total) => onEvent({ kind: "loading", done, total }),
  });
  try {
    const evaluation = await run.evaluate({
      data: held,
      bootstrap: null,
      onEvent(event) {
        if (event.kind !== "rows") return;
        if (signal.aborted) throw new FoldsStopped();
        onEvent(event);
      },
    });
    await savePredictions(run, evaluation);
    return evaluation.rows;
  } finally {
    await run.close();
  }
}

/** Seconds of the steps of a training, without what was made again after a crash. */
export async function trainingSeconds({ directory }: Pick<FoldRun, "directory">): Promise<number> {
  const log = await readLog(runFolder(directory));
  return log.reduce((sum, line) => sum + (typeof line.seconds === "number" ? line.seconds : 0), 0);
}
