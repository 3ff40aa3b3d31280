import { existsSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { resolve } from "node:path";
import { z } from "zod";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { checkSchema } from "../base/schema.ts";
import { buildAtFirstUse } from "../compute/native/first-build.ts";
import { hasFastBackend } from "../compute/open.ts";
import { finishedFolds } from "../crossval/finished-folds.ts";
import type { Dataset } from "../data/dataset.ts";
import type { LabelSet } from "../data/example.ts";
import { foldsBySentence } from "../data/folds.ts";
import { readJsonObject } from "../formats/json-file.ts";
import { type RecipeReading, readRecipeParts } from "../recipe/read.ts";
import { DISTILL_DEFAULTS, type Recipe } from "../recipe/schema.ts";
import { readTrainingData } from "../runs/labelled-rows.ts";
import { type Stop, workInRun } from "../runs/protocol.ts";
import { openRunFolder, type RunFolder, runFolder } from "../runs/run-folder.ts";
import { expectSameLabels, type OwnedLabels } from "../runs/same-labels.ts";
import { answersDigest, rowsDigest } from "../runs/saved-predictions.ts";
import type { StopOptions } from "../runs/stop-signals.ts";
import { teacherFiles } from "../runs/teacher.ts";
import { findTrained } from "../runs/trained.ts";
import { begunTraining, newTraining, type PreparedRun, runTraining, type TrainingEvent } from "../runs/training.ts";
import { askTeachers, TEACHER_DECODE, type TeacherEvent, type TeacherWork } from "./ask-teachers.ts";
import { expectEnsemble } from "./open-runs.ts";
import { readUnlabelled, unlabelledNotice } from "./teacher-rows.ts";

export type DistillEvent = TrainingEvent | TeacherEvent;

export interface DistillOptions extends StopOptions {
  /** The folder of the student's run. */
  run: string;
  /** Folders of finished runs with the same labels. Left out, as all that follows, when a distillation is resumed. */
  teachers?: readonly string[];
  /**
   * A finished tuning on the same training rows, in the place of `teachers`: each training row is asked of the fold runs of its best recipe
   * that did not see it, unlabelled rows of all of them.
   */
  folds?: string;
  /** The recipe file of the student; without it the defaults for `data`. */
  recipe?: string;
  /** Values that replace the recipe's ("train.epochs=2"). */
  overrides?: readonly string[];
  data?: string;
  /** JSONL files of rows without labels. */
  rows?: readonly string[];
  badRows?: Recipe["data"]["badRows"];
  /** Rows that a teacher answers together; default 256. A distillation that is resumed must have the same. */
  windowRows?: number;
  /** Continue the distillation in the folder. */
  resume?: boolean;
  onEvent?: (event: DistillEvent) => void;
}

/** Where a distillation stopped: while teachers answered, or in the training. */
export type DistillStop = Stop & { phase: "teachers" | "training" };

/** The content of teacher.json: what a run is distilled from. */
const aboutSchema = z.strictObject({
  version: z.literal(1),
  /** `fold`: the fold of the training rows that the run did not see, the only ones that it is asked; null for all rows. */
  teachers: z.array(z.strictObject({ run: z.string(), answers: z.string(), fold: z.int().min(0).nullable() })).min(1),
  folds: z.strictObject({ count: z.int().min(2), seed: z.int() }).nullable(),
  rows: z.array(z.string()),
  badRows: z.enum(["stop", "skip"]),
  /** Digest of all rows that the teachers are asked. */
  asked: z.string(),
  unlabelled: z.int().min(0),
});
type About = z.output<typeof aboutSchema>;

/**
 * Trains a student on the mean label distributions of finished runs. The teachers answer first, all training rows and the unlabelled ones; then
 * the student trains as any run does. Returns where it stopped, null when it finished. Throws a UserError for runs that cannot be teachers, and
 * what training throws.
 */
export async function distill(options: DistillOptions): Promise<DistillStop | null> {
  const { run: directory, onEvent = () => {}, signal, onSignal } = options;
  await buildAtFirstUse((text) => onEvent({ kind: "notice", text }));
  if (options.resume) {
    const about = await readAbout(directory);
    if (!existsSync(teacherFiles(runFolder(directory)).rows)) {
      const run = await begunTraining(directory);
      const stop = run && (await teach(run, about, options, null));
      if (stop) return stop;
    }
  } else {
    const { run, about } = await begin(options);
    const stop = await teach(run, about, options, about);
    if (stop) return stop;
  }
  const run = await begunTraining(directory);
  const stop = run && (await runTraining(run, { signal, onSignal, onEvent }));
  return stop && { ...stop, phase: "training" };
}

/** Whether a folder holds a distillation. */
export function isDistillation(directory: string): boolean {
  return existsSync(teacherFiles(runFolder(directory)).about);
}

async function readAbout(directory: string): Promise<About> {
  const { about } = teacherFiles((await openRunFolder(directory)).folder);
  if (!existsSync(about)) {
    throw new UserError(`${directory}: is not a distillation that was begun (it has no ${about}).`, {
      hint: "Begin one in another folder: cre distill RUN… --into RECIPE --run DIR",
    });
  }
  return checkSchema(aboutSchema, await readJsonObject(about, "what a run is distilled from"), about);
}

/** Checks a new distillation; nothing is written yet. */
async function begin(
  options: DistillOptions,
): Promise<{ run: PreparedRun; about: Omit<About, "asked" | "unlabelled"> }> {
  const { teachers = [], folds, recipe, overrides = [], data, rows = [], badRows } = options;
  if ((teachers.length === 0) === (folds === undefined)) {
    throw new UserError("distill: expected finished runs or the folder of a tuning to learn from, one of both.");
  }
  for (const file of rows) {
    if (!existsSync(file)) throw new UserError(`${file}: does not exist, expected JSONL rows.`);
  }
  await expectTeachers(teachers);
  const reading = await readRecipeParts({
    ...{ file: recipe, overrides, dataPath: data, badRows, isFast: hasFastBackend() },
  });
  const run = await newTraining(options.run, withDistill(reading));
  try {
    const dataset = run.rows as Dataset;
    const skip = run.recipe.data.badRows;
    const about = { version: 1 as const, rows: rows.map((file) => resolve(file)), badRows: skip };
    if (folds === undefined) {
      const [first] = await expectTeachers(teachers);
      expectSameLabels(first, dataset, SAME_LABELS);
      const noted = teachers.map((one) => ({ run: resolve(one), answers: "", fold: null }));
      return { run, about: { ...about, teachers: noted, folds: null } };
    }
    const { examples } = await dataset.split("train", { onBadRow: skip });
    const { count, seed, runs } = await finishedFolds(folds, { labels: dataset.labels, examples });
    await expectTeachers(runs.map(({ directory }) => directory));
    const noted = runs.map(({ directory, fold }) => ({ run: resolve(directory), answers: "", fold }));
    return { run, about: { ...about, teachers: noted, folds: { count, seed } } };
  } catch (error) {
    await run.prepared.close();
    throw error;
  }
}

const SAME_LABELS = "A student has the labels of its teachers.";

/** Throws a UserError for runs that have not finished, or that cannot answer together. */
async function expectTeachers(directories: readonly string[]): Promise<OwnedLabels[]> {
  const owned = await expectEnsemble(directories, { decode: TEACHER_DECODE });
  for (const directory of directories) {
    const { folder, recipe } = await openRunFolder(directory);
    await findTrained(folder, recipe);
  }
  return owned;
}

function withDistill(reading: RecipeReading): RecipeReading {
  if (reading.recipe === null) return reading;
  const recipe = { ...reading.recipe, distill: reading.recipe.distill ?? DISTILL_DEFAULTS };
  return { ...reading, recipe, parts: recipe };
}

/** Lets the teachers answer, in the folder of the student. `fresh` is what a new distillation notes; null for one that is resumed. */
async function teach(
  run: PreparedRun,
  about: Omit<About, "asked" | "unlabelled"> | About,
  { onEvent = () => {}, signal, onSignal, windowRows }: DistillOptions,
  fresh: Omit<About, "asked" | "unlabelled"> | null,
): Promise<DistillStop | null> {
  const { folder, recipe } = run;
  const stop = await workInRun(run, { signal, onSignal }, async ({ signal: stopped, begin: beginFolder }) => {
    const dataset = run.rows as Dataset;
    // The training tells of the rows.
    const { labels, train } = await readTrainingData(dataset, recipe.data.badRows, () => {});
    const unlabelled = await readUnlabelled(about.rows, dataset, train, { ...recipe.data, badRows: about.badRows });
    const examples = [...train, ...unlabelled.examples];
    const asked = rowsDigest(examples);
    const teachers = await identified(about.teachers, asked, labels);
    if (fresh) {
      await beginFolder(run.prepared.recipe);
      const noted: About = { ...fresh, teachers, asked, unlabelled: unlabelled.examples.length };
      await writeFileAtomic(teacherFiles(folder).about, `${JSON.stringify(noted, null, 2)}\n`);
    } else expectUnchanged(folder, about as About, { teachers, asked });
    const notices = [unlabelledNotice(unlabelled), about.folds ? null : await seenNotice(teachers, recipe)];
    for (const text of notices) if (text !== null) onEvent({ kind: "notice", text });
    for (const problem of unlabelled.problems) onEvent({ kind: "notice", text: problem });
    const identity = JSON.stringify([teachers.map(({ answers }) => answers), labels.labels]);
    const held = about.folds && foldsBySentence(train, about.folds.count, about.folds.seed).map((fold) => fold.held);
    const others = unlabelled.examples.map((_, i) => train.length + i);
    const askedOf = teachers.map(({ run: directory, fold }) => ({
      run: directory,
      rows: held && fold !== null ? [...(held[fold] ?? []), ...others] : null,
    }));
    const work: TeacherWork = { teachers: askedOf, identity, labels: labels.labels, examples, windowRows };
    return (await askTeachers(folder, work, { signal: stopped, onEvent })) ? null : 0;
  }).finally(run.prepared.close);
  return stop && { ...stop, phase: "teachers" };
}

/** The teachers with digests of all that decides their answers to these rows. */
async function identified(teachers: About["teachers"], asked: string, labels: LabelSet): Promise<About["teachers"]> {
  const found: About["teachers"] = [];
  const owned = await expectEnsemble(
    teachers.map(({ run }) => run),
    { decode: TEACHER_DECODE },
  );
  for (const [i, { run, fold }] of teachers.entries()) {
    expectSameLabels(owned[i], { directory: "the student", labels }, SAME_LABELS);
    const { folder, recipe } = await openRunFolder(run);
    const answers = await answersDigest(
      { folder, recipe: { ...recipe, decode: { ...recipe.decode, ...TEACHER_DECODE } } },
      asked,
    );
    found.push({ run, answers, fold });
  }
  return found;
}

function expectUnchanged({ directory }: RunFolder, about: About, now: Pick<About, "teachers" | "asked">): void {
  const begin = "Put it back as it was, or begin a distillation in another folder.";
  if (now.asked !== about.asked) {
    throw new UserError(`${directory}: the rows are not those that its teachers were asked.`, { hint: begin });
  }
  const other = about.teachers.find(({ answers }, i) => answers !== now.teachers[i].answers);
  if (other) {
    throw new UserError(`${other.run}: is not the teacher that ${directory} began with.`, { hint: begin });
  }
}

/** A warning for teachers that were trained on the rows that they are asked; null for others. */
async function seenNotice(teachers: About["teachers"], { data }: Recipe): Promise<string | null> {
  const place = async (path: string | undefined) =>
    path !== undefined && existsSync(path) ? await realpath(path) : undefined;
  const own = await place(data.path);
  let seen = 0;
  for (const { run } of teachers) {
    const { recipe } = await openRunFolder(run);
    if ((await place(recipe.data.path)) === own) seen++;
  }
  if (seen === 0) return null;
  const who = teachers.length === 1 ? "the teacher was" : `${seen} of ${teachers.length} teachers were`;
  return (
    `${who} trained on these training rows: the distributions there are surer than on new rows, and say little beyond the labels. ` +
    "Unlabelled rows (--rows) teach more; distill.temperature above 1 makes the distributions less sure."
  );
}
