import { resolve } from "node:path";
import type { z } from "zod";
import { UserError } from "../base/errors.ts";
import { decoderWeights } from "../models/decoder.ts";
import { checkRecipe, missingModelPaths, missingPaths, readRecipe } from "../recipe/read.ts";
import type { Recipe, recipeSchema } from "../recipe/schema.ts";
import { checkLabelledRows, type DataEvent, readTrainingData, type TrainingData } from "./labelled-rows.ts";
import { openForTraining, saveLabels } from "./open.ts";
import { begunRun, newRun, type RunKind, type Stop, type TrainableRun, workInRun } from "./protocol.ts";
import { openRun, type Run, RunStopped } from "./run.ts";
import { createRunFolder, expectSameBase, openRunFolder } from "./run-folder.ts";
import type { StopOptions } from "./stop-signals.ts";
import { type RunEvent, trainRun } from "./train-run.ts";

/** A line for the user: a slow backend, data without a validation split. */
export interface NoticeEvent {
  kind: "notice";
  text: string;
}

/** Tensors of the model that are loaded or made. */
export interface LoadingEvent {
  kind: "loading";
  done: number;
  total: number;
}

/** An event of a training: of what is read before the first step, then of the run. */
export type TrainingEvent =
  | DataEvent
  | NoticeEvent
  | LoadingEvent
  | { kind: "model"; parameters: number; trained: number; labels: number; backend: string }
  | RunEvent;

const NO_VALIDATION = "the data has no validation split: the last weights are kept, not the best.";

export const FINE_TUNING: RunKind<Recipe> = {
  create: createRunFolder,
  open: openRunFolder,
  missingPaths,
  expectSameBase,
};

/** Fine-tuning on rows that the caller has. */
const FINE_TUNING_ON_ROWS: RunKind<Recipe> = { ...FINE_TUNING, missingPaths: missingModelPaths };

export interface TrainingOptions extends StopOptions {
  /** Rows in the place of the recipe's data folder. */
  data?: TrainingData;
  onEvent?: (event: TrainingEvent) => void;
}

/**
 * Fine-tunes a run to its end, or to a request to stop: reads data and model, makes and locks the folder, saves labels, log, checkpoints and
 * the trained weights. Returns where it stopped, null when it finished. Throws a UserError for data or a model that cannot be used.
 */
export async function runTraining(run: TrainableRun<Recipe>, options: TrainingOptions = {}): Promise<Stop | null> {
  const { folder, recipe } = run;
  const onEvent = options.onEvent ?? (() => {});
  return workInRun(run, options, async ({ signal, begin }) => {
    const data = options.data ? checked(options.data) : await readTrainingData(recipe, onEvent);
    const { labels, train, valid = [] } = data;
    if (valid.length === 0) onEvent({ kind: "notice", text: NO_VALIDATION });
    const opened = await openForTraining(recipe, labels, {
      onNotice: (text) => onEvent({ kind: "notice", text }),
      onLoad: (done, total) => onEvent({ kind: "loading", done, total }),
    });
    let stoppedAt: number | null = null;
    try {
      for await (const event of trainRun(opened, folder, train, valid, { signal })) {
        if (event.kind === "start") {
          await begin(opened.recipe);
          await saveLabels(folder, labels);
          onEvent({
            kind: "model",
            parameters: parameterSum(decoderWeights(opened.model)),
            trained: parameterSum(opened.trainable),
            labels: labels.labels.length,
            backend: opened.backend.description,
          });
        }
        if (event.kind === "stopped") stoppedAt = event.step;
        onEvent(event);
      }
    } finally {
      await opened.close();
    }
    return stoppedAt;
  });
}

function checked(data: TrainingData): TrainingData {
  checkLabelledRows(data.train, data.labels, "data.train");
  if (data.valid?.length) checkLabelledRows(data.valid, data.labels, "data.valid");
  return data;
}

function parameterSum(weights: readonly { rows: number; columns: number }[]): number {
  return weights.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
}

/** The values of a recipe as a program writes them: what has a default may be left out. Paths are relative to the working directory. */
export type RecipeValues = Omit<z.input<typeof recipeSchema>, "data" | "prompt"> &
  Partial<Pick<z.input<typeof recipeSchema>, "data" | "prompt">>;

export interface TrainOptions extends StopOptions {
  /** The run's folder; it must be empty or not exist, unless `resume` is given. */
  run: string;
  /** A recipe file, or the values of a recipe. A resumed run has its own. */
  recipe?: string | RecipeValues;
  /** A data folder or rows, in the place of the recipe's `data.path`. Rows are not saved: give them again when the run is resumed. */
  data?: string | TrainingData;
  /** Continue the run in the folder from its last checkpoint. */
  resume?: boolean;
  /** Hears what happens: data, model, every step, validation and checkpoint. An error that it throws ends the training at once. */
  onEvent?: (event: TrainingEvent) => void;
}

/**
 * Fine-tunes a model by a recipe and opens the finished run. A run that was killed or stopped is continued with `resume`, and ends with the
 * same weights; a finished run is only opened.
 *
 * Throws a UserError (UserErrors for several problems) for a mistake in recipe, data or folder, before any step is made where possible, and a
 * {@link RunStopped} when `signal` aborted or a process signal came.
 */
export async function train(options: TrainOptions): Promise<Run> {
  const { run: directory, data } = options;
  const run = options.resume ? await toResume(options) : await toStart(options);
  if (run) {
    const rows = typeof data === "object" ? data : undefined;
    const stop = await runTraining(run, { ...options, data: rows });
    if (stop) throw new RunStopped(directory, stop);
  }
  const { onEvent } = options;
  return openRun(directory, {
    onNotice: (text) => onEvent?.({ kind: "notice", text }),
    onLoad: (done, total) => onEvent?.({ kind: "loading", done, total }),
  });
}

async function toStart({ run, recipe, data }: TrainOptions): Promise<TrainableRun<Recipe>> {
  if (recipe === undefined) {
    throw new UserError("train: got no recipe, expected a recipe file or the values of a recipe.", {
      hint: 'For example: train({ recipe: "recipes/demo.yaml", run: "runs/first" })',
    });
  }
  const where = typeof recipe === "string" ? recipe : "recipe";
  const resolved =
    typeof recipe === "string"
      ? await readRecipe(recipe)
      : checkRecipe({ data: {}, prompt: {}, ...recipe }, where, process.cwd());
  if (data !== undefined) resolved.data.path = typeof data === "string" ? resolve(data) : undefined;
  return newRun(typeof data === "object" ? FINE_TUNING_ON_ROWS : FINE_TUNING, run, resolved, where);
}

async function toResume({ run, recipe, data }: TrainOptions): Promise<TrainableRun<Recipe> | null> {
  if (recipe !== undefined || typeof data === "string") {
    throw new UserError("train: a resumed run has its own recipe and data folder; leave out recipe and data.");
  }
  return begunRun(data === undefined ? FINE_TUNING : FINE_TUNING_ON_ROWS, run);
}
