import { existsSync } from "node:fs";
import type { z } from "zod";
import { methodOf } from "../adapters/methods.ts";
import { UserError } from "../base/errors.ts";
import { buildAtFirstUse } from "../compute/native/first-build.ts";
import { hasFastBackend } from "../compute/open.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import type { AnnotatedSentence } from "../data/mentions-file.ts";
import { mergedNotice, mergeRows } from "../data/split.ts";
import { decoderWeights } from "../models/decoder.ts";
import { attentionNotice, contextNotice } from "../recipe/check.ts";
import { factsOfRows, type RecipeReading, readRecipeParts } from "../recipe/read.ts";
import type { Recipe, recipeSchema } from "../recipe/schema.ts";
import { type CompanionEvent, companionFor, saveCompanion } from "./companion.ts";
import { annotatedOf, holdOut } from "./held-out.ts";
import { type DataEvent, labelledRows, readTrainingData, type TrainingData } from "./labelled-rows.ts";
import { expectRoom, passBytes } from "./memory.ts";
import { joinedFor, type Negatives, negativesFor } from "./negatives.ts";
import type { NoticeEvent } from "./notice.ts";
import { openPrepared, saveLabels } from "./open.ts";
import { type PreparedRecipe, prepareForRows, prepareTraining, trainingNeed, type Where } from "./prepare.ts";
import { begunRun, type RunKind, type Stop, type TrainableRun, workInRun } from "./protocol.ts";
import { openRun, type Run, RunStopped } from "./run.ts";
import {
  createRunFolder,
  expectBaseSums,
  expectFreeFolder,
  expectSameBase,
  openRunFolder,
  runFolder,
  saveBaseSums,
} from "./run-folder.ts";
import type { StopOptions } from "./stop-signals.ts";
import { encodeTaughtRows, softTeacher, type Teacher, teacherFor } from "./teacher.ts";
import { type RunEvent, trainRun, validationRows } from "./train-run.ts";

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
  | CompanionEvent
  /** After the last step: pairs that are asked to fit the precision of probabilities. */
  | { kind: "pairs"; done: number; total: number }
  | { kind: "model"; parameters: number; trained: number; labels: number; backend: string }
  | RunEvent;

/** How the notice for data without a validation split begins. */
export const NO_VALIDATION = "the data has no validation split";

function heldOutNotice(held: number, rows: number): string {
  return `${NO_VALIDATION}: ${held} of the ${rows} training rows are held out to validate on (train.validationShare).`;
}

/** The notice for data without a validation split; names the file that may have been meant. */
function noValidation(rows: Dataset | TrainingData, { decode }: Recipe): string {
  const near = "split" in rows ? rows.nearSplit("valid") : null;
  const floor = decode.companion === "auto" ? ", and the linear companion is a floor only, not mixed in" : "";
  return `${NO_VALIDATION}: the last weights are kept, not the best${floor}.${near ? ` ${near}` : ""}`;
}

/** Fine-tuning reports missing paths with all other problems of the recipe, when it is prepared. */
const FINE_TUNING: RunKind<Recipe> = {
  create: createRunFolder,
  open: openRunFolder,
  missingPaths: () => [],
  expectSameBase,
};

/** A run whose recipe is checked against its model, tokenizer and labels; no weight has been read. `runTraining` closes it. */
export interface PreparedRun extends TrainableRun<Recipe> {
  prepared: PreparedRecipe;
  /** Rows that the caller has, or the data set to read them from. */
  rows: TrainingData | Dataset;
  /** What the user should know of the rows. */
  notices: readonly string[];
}

/** Prepares a new run. Throws a UserErrors that lists every problem of the recipe. */
export async function newTraining(
  directory: string,
  reading: RecipeReading,
  data?: TrainingData,
  where?: Where,
): Promise<PreparedRun> {
  await expectFreeFolder(directory);
  const made = await prepareRows(reading, data, where);
  return { kind: FINE_TUNING, folder: runFolder(directory), recipe: made.prepared.recipe, isNew: true, ...made };
}

/** Prepares a run that was begun; null when it has finished. Throws a UserErrors that lists every problem. */
export async function begunTraining(
  directory: string,
  data?: TrainingData,
  where?: Where,
): Promise<PreparedRun | null> {
  const run = await begunRun(FINE_TUNING, directory);
  if (run === null) return null;
  const made = await prepareRows(await readRecipeParts({ file: run.folder.recipe }), data, where);
  const { prepared } = made;
  try {
    if (prepared.base) await expectBaseSums(run.folder, prepared.base.source);
    return { ...run, recipe: prepared.recipe, ...made };
  } catch (error) {
    await prepared.close();
    throw error;
  }
}

async function prepareRows(
  reading: RecipeReading,
  data: TrainingData | undefined,
  where?: Where,
): Promise<Pick<PreparedRun, "prepared" | "rows" | "notices">> {
  if (data) {
    const { rows, notices } = checked(data, reading.parts.data.normalize);
    const splitNames = rows.valid?.length ? (["train", "valid"] as const) : (["train"] as const);
    return { prepared: await prepareForRows(reading, { labels: data.labels, splitNames }, where), rows, notices };
  }
  const prepared = await prepareTraining(reading, where);
  return { prepared, rows: prepared.dataset, notices: prepared.dataset.notices };
}

export interface TrainingOptions extends StopOptions {
  onEvent?: (event: TrainingEvent) => void;
}

/**
 * Fine-tunes a run to its end, or to a request to stop: reads data and model, makes and locks the folder, saves labels, the linear companion, log,
 * checkpoints and the trained weights. Returns where it stopped, null when it finished. Throws a UserError for data or a model that cannot be used.
 */
export async function runTraining(run: PreparedRun, options: TrainingOptions = {}): Promise<Stop | null> {
  const { folder, recipe, prepared } = run;
  const onEvent = options.onEvent ?? (() => {});
  return workInRun(run, options, async ({ signal, begin }) => {
    const data = await readLearningData(run, onEvent);
    const { labels, train, own, drawn, valid, teacher, negatives } = data;
    const onNotice = (text: string) => onEvent({ kind: "notice", text });
    const need = { ...trainingNeed(recipe, prepared.spec), pass: passNeed(prepared, train) };
    expectRoom(folder.directory, need, onNotice);
    const companion = await companionFor(folder, recipe, labels, data.known, validationRows(recipe, valid));
    const opened = await openPrepared(prepared, {
      isResumed: existsSync(folder.state),
      onNotice,
      onLoad: (done, total) => onEvent({ kind: "loading", done, total }),
    });
    let stoppedAt: number | null = null;
    try {
      // After what the backend says: a missing compiler is the first thing to know.
      if (data.joinedNotice !== null) onNotice(data.joinedNotice);
      if (companion) onEvent(companion.event);
      const taught = teacher && encodeTaughtRows(opened, own, teacher, drawn);
      if (taught) onNotice(taught.notice);
      for await (const event of trainRun(
        opened,
        folder,
        train,
        valid,
        { signal, isNew: run.isNew, onPairs: (done, total) => onEvent({ kind: "pairs", done, total }) },
        companion,
        taught,
        recipe.train.negatives > 0 ? { drawn: negatives.examples.length, candidates: negatives.candidates } : null,
        data.annotated,
      )) {
        if (event.kind === "start") {
          await begin(opened.recipe);
          // A run that was begun has noted them with its first step.
          if (prepared.base && !existsSync(folder.state)) await saveBaseSums(folder, prepared.base.source.checks.sums);
          await saveLabels(folder, labels);
          if (companion) await saveCompanion(folder, companion);
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
  }).finally(prepared.close);
}

/** What a run learns from. */
export interface LearningData {
  labels: LabelSet;
  /** The rows that are learnt: the data's own, then the drawn ones. */
  train: readonly Example[];
  own: readonly Example[];
  /** What a companion learns: of joined sentences a few pairs across both alone. */
  known: readonly Example[];
  /** Negatives and rows of joined sentences. */
  drawn: readonly Example[];
  /** How many sentences were joined; told after what the backend says. */
  joinedNotice: string | null;
  negatives: Negatives;
  /** Entities of validation sentences that no row names. */
  annotated: readonly AnnotatedSentence[];
  /** Rows to validate on; held out of the training rows where the data has none. */
  valid: readonly Example[];
  teacher: Teacher | null;
}

/** Reads the rows of a run and reports what the user should know of them. Throws a UserError for rows that cannot be used. */
export async function readLearningData(
  { folder, recipe, prepared, rows, notices }: PreparedRun,
  onEvent: (event: DataEvent | NoticeEvent) => void,
): Promise<LearningData> {
  const data = "split" in rows ? await readTrainingData(rows, recipe.data.badRows, onEvent) : rows;
  const { labels } = data;
  const { train: own, valid, held } = holdOut(recipe, data);
  const negatives = negativesFor(recipe, data, { train: own, valid });
  const joined = joinedFor(recipe, labels, own);
  const teacher = (await teacherFor(folder, recipe, labels)) ?? softTeacher(own, labels);
  const onNotice = (text: string) => onEvent({ kind: "notice", text });
  for (const text of notices) onNotice(text);
  if (held > 0) onNotice(heldOutNotice(held, data.train.length));
  if (valid.length === 0) onNotice(noValidation(rows, recipe));
  if (negatives.notice !== null) onNotice(negatives.notice);
  for (const text of [contextNotice(recipe.prompt, prepared.spec), attentionNotice(recipe, prepared.spec)]) {
    if (text !== null) onNotice(text);
  }
  const known = [...own, ...negatives.examples, ...joined.ofCompanion];
  const drawn = [...negatives.examples, ...joined.examples];
  const train = [...own, ...drawn];
  const annotated = annotatedOf(valid, [...(data.annotated ?? []), ...(data.annotatedValid ?? [])]);
  return { labels, train, own, known, drawn, joinedNotice: joined.notice, negatives, annotated, valid, teacher };
}

/** Rows of the training set that are rendered to know how long they are. */
const MEASURED_ROWS = 64;

/** Bytes of one pass: its examples with the mean length of some rows. */
function passNeed({ recipe, spec, renderer }: PreparedRecipe, train: readonly Example[]): number {
  const { batchExamples, promptLoss, recompute } = recipe.train;
  const every = Math.ceil(train.length / MEASURED_ROWS);
  const lengths = train
    .filter((_, i) => i % every === 0)
    .flatMap((example) => {
      try {
        const { promptIds, answerIds } = renderer.renderExample(example);
        return [{ prompt: promptIds.length, answer: answerIds.length }];
      } catch (error) {
        // A row that cannot be used is reported where all rows are read.
        if (error instanceof UserError) return [];
        throw error;
      }
    });
  const meanOf = (part: "prompt" | "answer") =>
    lengths.reduce((sum, length) => sum + length[part], 0) / Math.max(1, lengths.length);
  const examples = Math.min(batchExamples, train.length);
  const tokens = examples * (meanOf("prompt") + meanOf("answer"));
  const outputs = promptLoss > 0 ? tokens : examples * meanOf("answer");
  const kept = methodOf(recipe.adapter).keptNumbers?.(recipe.adapter, spec);
  return passBytes(spec, { tokens, outputs, recompute, kept });
}

function checked(
  { labels, train, valid = [], annotated, annotatedValid }: TrainingData,
  normalize: Recipe["data"]["normalize"],
): { rows: TrainingData; notices: string[] } {
  const notices: string[] = [];
  const read = (rows: readonly Example[], name: string) => {
    const { examples, merged } = labelledRows(rows, labels, name, normalize);
    const notice = mergedNotice(name, merged);
    if (notice !== null) notices.push(notice);
    return examples;
  };
  const rows = { labels, train: read(train, "data.train"), valid: valid.length > 0 ? read(valid, "data.valid") : [] };
  return { rows: { ...rows, annotated, annotatedValid }, notices };
}

function parameterSum(weights: readonly { rows: number; columns: number }[]): number {
  return weights.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
}

/** The values of a recipe as a program writes them; any of them may be left out. Paths are relative to the working directory. */
export type RecipeInput = DeepPartial<z.input<typeof recipeSchema>>;

type DeepPartial<T> = T extends readonly unknown[] ? T : T extends object ? { [K in keyof T]?: DeepPartial<T[K]> } : T;

export interface TrainOptions extends StopOptions {
  /** The run's folder; it must be empty or not exist, unless `resume` is given. */
  run: string;
  /** A recipe file, or the values of a recipe; without it the defaults for the data. A resumed run has its own. */
  recipe?: string | RecipeInput;
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
  const { run: directory, onEvent } = options;
  await buildAtFirstUse((text) => onEvent?.({ kind: "notice", text }));
  const run = options.resume ? await toResume(options) : await toStart(options);
  if (run) {
    const stop = await runTraining(run, options);
    if (stop) throw new RunStopped(directory, stop);
  }
  return openRun(directory, {
    onNotice: (text) => onEvent?.({ kind: "notice", text }),
    onLoad: (done, total) => onEvent?.({ kind: "loading", done, total }),
  });
}

async function toStart({ run, recipe, data }: TrainOptions): Promise<PreparedRun> {
  if (recipe === undefined && data === undefined) {
    throw new UserError("train: got neither a recipe nor data, expected one of them.", {
      hint: 'For example: train({ data: "my-data", run: "runs/first" })',
    });
  }
  const rows = typeof data === "object" ? data : undefined;
  const reading = await readRecipeParts({
    ...(typeof recipe === "string" ? { file: recipe } : { values: recipe }),
    dataPath: typeof data === "string" ? data : undefined,
    facts: rows && factsOfRows(mergeRows(rows.train).examples, rows.labels),
    isFast: hasFastBackend(),
  });
  return newTraining(run, reading, rows);
}

async function toResume({ run, recipe, data }: TrainOptions): Promise<PreparedRun | null> {
  if (recipe !== undefined || typeof data === "string") {
    throw new UserError("train: a resumed run has its own recipe and data folder; leave out recipe and data.");
  }
  return begunTraining(run, data);
}
