import { z } from "zod";
import { UserError } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { checkSchema } from "../base/schema.ts";
import type { LabelSet } from "../data/example.ts";
import { readFolderSums } from "../formats/folder-sums.ts";
import { readFolderJson } from "../formats/json-object.ts";
import type { LinearChoice } from "../linear/choose.ts";
import type { LinearModel } from "../linear/model.ts";
import { readLinear } from "../linear/read.ts";
import type { DecodeSettings } from "../recipe/answer-schema.ts";
import type { CompanionValidation } from "./companion-scores.ts";

/** The linear companion of a run, with what the run knows of it. */
export interface RunCompanion {
  model: LinearModel;
  /** Rows that it was trained on. */
  rows: number;
  choice: LinearChoice;
  /** Null until the training of the language model has ended, without validation rows, and for decode.method "generate". */
  validation: CompanionValidation | null;
}

/** Names of the files of a companion in the folder of a run: the model, the notes on it. */
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
 * Reads the companion of a run; null for a run without one (of an older version, or with decode.companion "none"). Throws a UserError for a
 * file that is missing its other half, damaged, or made for other labels.
 */
export async function readCompanion(folder: Folder, labels: LabelSet): Promise<RunCompanion | null> {
  if (!COMPANION_FILES.some((name) => folder.has(name))) {
    // A run that lost both would decode otherwise than it was evaluated, and nothing would tell.
    const { files: sums = {} } = (await readFolderSums(folder)) ?? {};
    if (COMPANION_FILES.every((name) => sums[name] === undefined)) return null;
  }
  const [modelFile, notesFile] = COMPANION_FILES;
  const model = await readLinear(folder, modelFile);
  const values = await readFolderJson(folder, notesFile, "the notes on a companion");
  const notes = checkSchema(notesSchema, values, folder.path(notesFile));
  if (JSON.stringify(model.labels) !== JSON.stringify(labels.labels)) {
    throw new UserError(`${folder.path(modelFile)}: was trained for other labels than those in labels.json.`, {
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
