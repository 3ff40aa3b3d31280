import { z } from "zod";
import type { Folder } from "../base/folder.ts";
import { checkSchema } from "../base/schema.ts";
import type { PrecisionPoint } from "../evaluate/certainty.ts";
import type { RelationChoice } from "../extract/combine.ts";
import type { MentionScale } from "../extract/mention-scores.ts";
import { readFolderJson } from "../formats/json-object.ts";
import type { Mixture } from "../linear/mixture.ts";
import type { Scale } from "../linear/scale.ts";
import type { DecodeSettings } from "../recipe/answer-schema.ts";
import type { PairPrecision } from "./pair-scores.ts";

/** What the validation rows say of how relations are chosen. */
export interface Calibration {
  /** Validation rows that it was fitted on. */
  rows: number;
  /** For `decode.noRelationWeight: auto`: of the language model alone, and of its mixture with the companion (null without a companion). */
  noRelationWeight: { model: number; mixed: number | null };
  /**
   * Calibrates the probabilities that are shown: of the language model alone, and of its mixture with the companion at a weight. Absent in runs of older
   * versions.
   */
  scale?: { model: Scale; mixed: (Scale & { weight: number }) | null };
  /** Predicted relations by their probability, of all and of each relation with enough predictions. */
  precision?: { all: PrecisionPoint[]; relations: Record<string, PrecisionPoint[]> };
  /** Of all pairs of entities of validation sentences; a pair without a row counts as no relation. Documents are decided by it. */
  pairs?: PairPrecision;
  /** Of a run that finds mentions: how shares become probabilities, the sentences that it was fitted on, and F1 of their mentions. */
  mentions?: { sentences: number; scale: MentionScale; f1: number };
}

/** Name of the file in the folder of a run. */
export const CALIBRATION_FILE = "calibration.json";

const weightSchema = z.number().positive();
const pointSchema = z.strictObject({ probability: z.number(), precision: z.number(), recall: z.number() });
const scaleShape = { temperature: weightSchema, noRelation: weightSchema };
const calibrationSchema = z.strictObject({
  rows: z.int().min(1),
  noRelationWeight: z.strictObject({ model: weightSchema, mixed: weightSchema.nullable() }),
  scale: z
    .strictObject({
      model: z.strictObject(scaleShape),
      mixed: z.strictObject({ ...scaleShape, weight: z.number().min(0).max(1) }).nullable(),
    })
    .optional(),
  precision: z
    .strictObject({ all: z.array(pointSchema), relations: z.record(z.string(), z.array(pointSchema)) })
    .optional(),
  pairs: z
    .strictObject({
      sentences: z.int().min(1),
      pairs: z.int().min(1),
      all: z.array(pointSchema),
      relations: z.record(z.string(), z.array(pointSchema)),
    })
    .optional(),
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

/** The calibration of a run; null for a run without one. Throws a UserError for a file that is damaged. */
export async function readCalibration(folder: Folder): Promise<Calibration | null> {
  if (!folder.has(CALIBRATION_FILE)) return null;
  const values = await readFolderJson(folder, CALIBRATION_FILE, "the calibration of a run");
  return checkSchema(calibrationSchema, values, folder.path(CALIBRATION_FILE));
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

/** The mixture that a run with a companion decodes with; null for the language model alone. */
export function mixtureOf(
  { validation }: { validation: { mixture: Mixture; gains: boolean } | null },
  { companion: wanted, method }: Pick<DecodeSettings, "companion" | "method">,
): Mixture | null {
  if (wanted === "none" || method === "generate") return null;
  if (wanted !== "auto") return wanted > 0 ? { weight: wanted, temperature: 1 } : null;
  return validation?.gains ? validation.mixture : null;
}

/** How shown probabilities are calibrated; null where that was not fitted, or for another weight of the companion. */
export function scaleOf(calibration: Pick<Calibration, "scale"> | null, mixture: Mixture | null): Scale | null {
  const { model, mixed } = calibration?.scale ?? { model: null, mixed: null };
  if (mixture === null) return model;
  if (mixed === null || mixed.weight !== mixture.weight) return null;
  return { temperature: mixed.temperature, noRelation: mixed.noRelation };
}
