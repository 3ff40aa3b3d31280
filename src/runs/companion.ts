import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { checkSchema } from "../base/schema.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { readFolderSums } from "../formats/folder-sums.ts";
import { readJsonObject } from "../formats/json-file.ts";
import type { LinearChoice } from "../linear/choose.ts";
import { trainCompanion } from "../linear/companion.ts";
import { openLinear, saveLinear } from "../linear/file.ts";
import type { LinearModel } from "../linear/model.ts";
import type { DecodeSettings, Recipe } from "../recipe/schema.ts";
import type { ValidationF1 } from "./calibration.ts";
import { type CompanionValidation, linearF1 } from "./companion-scores.ts";
import type { RunFolder } from "./run-folder.ts";

/** The linear companion of a run, with what the run knows of it. */
export interface RunCompanion {
  model: LinearModel;
  /** Rows that it was trained on. */
  rows: number;
  choice: LinearChoice;
  /** Null until the training of the language model has ended, without validation rows, and for decode.method "generate". */
  validation: CompanionValidation | null;
}

/** A companion was trained, or read from the run that is resumed. */
export interface CompanionEvent {
  kind: "companion";
  rows: number;
  /** Of its training; null when it was read. */
  seconds: number | null;
  /** F1 of the companion alone on the validation rows of the training; null without any. */
  validation: (ValidationF1 & { rows: number }) | null;
  /** Micro F1 on training rows that were held out to choose its settings; null for too few sentences. */
  heldOut: { rows: number; microF1: number } | null;
}

export function companionFiles({ directory }: Pick<RunFolder, "directory">): { model: string; notes: string } {
  return { model: join(directory, "companion.bin"), notes: join(directory, "companion.json") };
}

/** Names of the files that {@link saveCompanion} writes into the folder of a run. */
export const COMPANION_FILES = ["companion.bin", "companion.json"];

const f1Schema = z.strictObject({ paperF1: z.number(), microF1: z.number() });
const choiceShape = {
  groupWeights: z.record(z.string(), z.number()),
  minRows: z.int().min(1),
  l2: z.number().positive(),
};
const notesSchema = z.strictObject({
  rows: z.int().min(1),
  choice: z.strictObject({
    best: z.strictObject(choiceShape),
    tried: z.array(z.strictObject({ ...choiceShape, microF1: z.number(), loss: z.number() })),
    heldRows: z.int().min(0),
  }),
  validation: z
    .strictObject({
      rows: z.int().min(1),
      mixture: z.strictObject({ weight: z.number().min(0).max(1), temperature: z.number().positive() }),
      linear: f1Schema,
      model: f1Schema,
      mixed: f1Schema,
      gains: z.boolean(),
    })
    .nullable(),
});

/**
 * The companion of a run that is to be trained: the one in the folder of a run that is resumed, else a new one from the training rows; null
 * when the recipe wants none.
 */
export async function companionFor(
  folder: RunFolder,
  { decode, seed }: Recipe,
  labels: LabelSet,
  train: readonly Example[],
  validated: readonly Example[],
): Promise<(RunCompanion & { event: CompanionEvent }) | null> {
  if (decode.companion === "none") return null;
  const saved = await savedCompanion(folder, labels);
  const trained = saved ? null : await trainCompanion(train, labels, seed);
  const companion = saved ?? { ...(trained as NonNullable<typeof trained>), validation: null };
  const { rows, choice, model } = companion;
  const validation = validated.length > 0 ? { rows: validated.length, ...linearF1(model, labels, validated) } : null;
  const best = choice.tried.find(({ groupWeights, minRows, l2 }) => {
    const wanted = choice.best;
    return groupWeights.head === wanted.groupWeights.head && minRows === wanted.minRows && l2 === wanted.l2;
  });
  const heldOut = best ? { rows: choice.heldRows, microF1: best.microF1 } : null;
  const seconds = trained ? trained.seconds : null;
  return { ...companion, event: { kind: "companion", rows, seconds, validation, heldOut } };
}

/** The companion in a folder; null when there is none that is whole. */
async function savedCompanion(folder: RunFolder, labels: LabelSet): Promise<RunCompanion | null> {
  try {
    return await openCompanion(folder, labels);
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
  }
}

/** Writes the companion and its notes into the folder of a run. */
export async function saveCompanion(folder: RunFolder, companion: RunCompanion): Promise<void> {
  const { model, rows, choice, validation } = companion;
  const files = companionFiles(folder);
  await saveLinear(model, files.model);
  await writeFileAtomic(files.notes, `${JSON.stringify({ rows, choice, validation }, null, 2)}\n`);
}

/**
 * Opens the companion of a run; null for a run without one (of an older version, or with decode.companion "none"). Throws a UserError for a
 * file that is missing its other half, damaged, or made for other labels.
 */
export async function openCompanion(folder: RunFolder, labels: LabelSet): Promise<RunCompanion | null> {
  const files = companionFiles(folder);
  if (!existsSync(files.model) && !existsSync(files.notes)) {
    // A run that lost both would decode otherwise than it was evaluated, and nothing would tell.
    const { files: sums = {} } = (await readFolderSums(folder.directory)) ?? {};
    if (COMPANION_FILES.every((name) => sums[name] === undefined)) return null;
  }
  const model = await openLinear(files.model);
  const notes = checkSchema(notesSchema, await readJsonObject(files.notes, "the notes on a companion"), files.notes);
  if (JSON.stringify(model.labels) !== JSON.stringify(labels.labels)) {
    throw new UserError(`${files.model}: was trained for other labels than those in labels.json.`, {
      hint: "Put the labels of the training back, or train the run again.",
    });
  }
  return { model, ...(notes as Omit<RunCompanion, "model">) };
}

type WantedMixture = Pick<DecodeSettings, "companion" | "method">;

/** Throws a UserError when a run without a companion is to be mixed with one. */
export function expectNoMixture({ companion: wanted }: WantedMixture, directory: string): void {
  if (typeof wanted !== "number" || wanted === 0) return;
  throw new UserError(`${directory}: has no linear companion, expected one for decode.companion ${wanted}.`, {
    hint: "The run was trained with decode.companion none, or by an older version: train it again.",
  });
}
