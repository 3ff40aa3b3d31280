import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { nodeFolder } from "../base/node-folder.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { trainCompanion } from "../linear/companion.ts";
import { saveLinear } from "../linear/file.ts";
import type { Recipe } from "../recipe/schema.ts";
import type { ValidationF1 } from "./calibration.ts";
import { COMPANION_FILES, type RunCompanion, readCompanion } from "./companion-read.ts";
import { linearF1 } from "./companion-scores.ts";
import type { RunFolder } from "./run-folder.ts";

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
  const [modelFile, notesFile] = COMPANION_FILES.map((name) => join(folder.directory, name));
  await saveLinear(model, modelFile);
  await writeFileAtomic(notesFile, `${JSON.stringify({ rows, choice, validation }, null, 2)}\n`);
}

/** Opens the companion of a run; see {@link readCompanion}. */
export const openCompanion = (
  { directory }: Pick<RunFolder, "directory">,
  labels: LabelSet,
): Promise<RunCompanion | null> => readCompanion(nodeFolder(directory), labels);
