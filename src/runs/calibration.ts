import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../base/files.ts";
import { checkSchema } from "../base/schema.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { computeMetrics } from "../evaluate/metrics.ts";
import type { ScoredRow } from "../evaluate/rows.ts";
import { chooseRelations, type RelationChoice } from "../extract/combine.ts";
import type { MentionScale } from "../extract/mention-scores.ts";
import { readJsonObject } from "../formats/json-file.ts";
import type { DecodeSettings } from "../recipe/schema.ts";
import type { RunFolder } from "./run-folder.ts";

/** F1 of the two conventions that a run can be chosen by, as fractions. */
export interface ValidationF1 {
  paperF1: number;
  microF1: number;
}

/** What the validation rows say of how relations are chosen. */
export interface Calibration {
  /** Validation rows that it was fitted on. */
  rows: number;
  /** For `decode.noRelationWeight: auto`: of the language model alone, and of its mixture with the companion (null without a companion). */
  noRelationWeight: { model: number; mixed: number | null };
  /** Of a run that finds mentions: how shares become probabilities, fitted on so many sentences, and F1 of their mentions. */
  mentions?: { sentences: number; scale: MentionScale; f1: number };
}

/** Name of the file in the folder of a run. */
export const CALIBRATION_FILE = "calibration.json";

const weightSchema = z.number().positive();
const calibrationSchema = z.strictObject({
  rows: z.int().min(1),
  noRelationWeight: z.strictObject({ model: weightSchema, mixed: weightSchema.nullable() }),
  mentions: z
    .strictObject({
      sentences: z.int().min(1),
      scale: z.strictObject({
        bias: z.number(),
        ofShare: z.number(),
        ofRatio: z.number(),
        threshold: z.number().min(0).max(1),
      }),
      f1: z.number(),
    })
    .optional(),
});

/** Writes the calibration into the folder of a run. */
export function saveCalibration({ directory }: Pick<RunFolder, "directory">, calibration: Calibration): Promise<void> {
  return writeFileAtomic(join(directory, CALIBRATION_FILE), `${JSON.stringify(calibration, null, 2)}\n`);
}

/** The calibration of a run; null for a run without one. Throws a UserError for a file that is damaged. */
export async function openCalibration({ directory }: Pick<RunFolder, "directory">): Promise<Calibration | null> {
  const file = join(directory, CALIBRATION_FILE);
  if (!existsSync(file)) return null;
  return checkSchema(calibrationSchema, await readJsonObject(file, "the calibration of a run"), file);
}

type WantedChoice = Pick<DecodeSettings, "noRelationWeight" | "furtherRelations">;

/** How a run chooses relations, with the number in the place of "auto": 1 where nothing was fitted. */
export function choiceOf(
  { noRelationWeight: wanted, furtherRelations }: WantedChoice,
  calibration: Calibration | null,
  isMixed: boolean,
): RelationChoice {
  const { model = 1, mixed = null } = calibration?.noRelationWeight ?? {};
  const fitted = (isMixed ? mixed : model) ?? 1;
  return { noRelationWeight: wanted === "auto" ? fitted : wanted, furtherRelations };
}

/** Labelled rows with the relations that are chosen by these probabilities, one list for each row. */
export function rowsOf(
  examples: readonly Example[],
  labels: LabelSet,
  choice: RelationChoice,
  probabilities: readonly Float64Array[],
): ScoredRow[] {
  return examples.map(({ relations = [], sentence }, i) => {
    const { predictions } = chooseRelations(probabilities[i], labels, choice);
    return { gold: relations, predicted: predictions.map(({ relation }) => relation), group: sentence };
  });
}

export function validationF1(rows: readonly ScoredRow[], labels: LabelSet): ValidationF1 {
  const { paper, micro } = computeMetrics(rows, labels, { bootstrap: null }).conventions;
  return { paperF1: paper.f1, microF1: micro.f1 };
}

/** The weights that are tried: a factor of √2 between two of them, 1 in the middle. */
const TRIED = Array.from({ length: 9 }, (_, i) => 2 ** ((i - 4) / 2));
/** A gain of less than this is noise of a few rows. */
const LEAST_GAIN = 0.002;

/**
 * The factor on the probability of "no relation" with the highest F1 on validation rows. F1 wants another decision than accuracy does: a
 * relation is worth giving from a probability of about half the F1 on (Lipton et al. 2014), so that the weight is usually below 1. F1 jumps with
 * single rows: each weight counts with its two neighbours, half as much, and 1 stays unless the gain is clear.
 */
export function fitNoRelationWeight(
  examples: readonly Example[],
  labels: LabelSet,
  furtherRelations: number,
  metric: keyof ValidationF1,
  probabilities: readonly Float64Array[],
): number {
  if (labels.noRelation === null) return 1;
  const scores = TRIED.map((noRelationWeight) => {
    const choice = { noRelationWeight, furtherRelations };
    return validationF1(rowsOf(examples, labels, choice, probabilities), labels)[metric];
  });
  const smooth = scores.map((score, i) => {
    const near = [scores[i - 1], scores[i + 1]].filter((one) => one !== undefined);
    return (score + near.reduce((sum, one) => sum + one / 2, 0)) / (1 + near.length / 2);
  });
  const usual = TRIED.indexOf(1);
  const best = smooth.indexOf(Math.max(...smooth));
  const gains = [scores, smooth].every((list) => list[best] >= list[usual] + LEAST_GAIN);
  return gains ? TRIED[best] : 1;
}
