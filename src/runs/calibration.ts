import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { checkSchema } from "../base/schema.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { type PrecisionPoint, precisionCurve, thresholdFor } from "../evaluate/certainty.ts";
import { computeMetrics } from "../evaluate/metrics.ts";
import type { ScoredRow } from "../evaluate/rows.ts";
import { chooseRelations, type Prediction, type RelationChoice } from "../extract/combine.ts";
import type { MentionScale } from "../extract/mention-scores.ts";
import type { RelationThresholds } from "../extract/triples.ts";
import { readJsonObject } from "../formats/json-file.ts";
import type { Mixture } from "../linear/mixture.ts";
import type { Scale } from "../linear/scale.ts";
import type { DecodeSettings } from "../recipe/schema.ts";
import { LEAST_PREDICTIONS, type PairPrecision, type PairScores, pairPrecision } from "./pair-scores.ts";
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

/** A calibration with what all pairs of sentences and the mentions say; what there is none of is left out. */
export function calibrationWith(
  calibration: Calibration,
  pairs: PairScores,
  mentions: Calibration["mentions"] | null,
): Calibration {
  return {
    ...calibration,
    ...(pairs.pairs > 0 ? { pairs: pairPrecision(pairs) } : {}),
    ...(mentions ? { mentions } : {}),
  };
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

/** The precision of predicted relations by their probability; a curve of their own for relations that are predicted often. */
export function precisionOf(
  examples: readonly Example[],
  labels: LabelSet,
  decoded: readonly { predictions: readonly Prediction[] }[],
): NonNullable<Calibration["precision"]> {
  const rows = examples.map(({ relations = [] }, i) => ({ gold: relations, predictions: decoded[i].predictions }));
  const counts = new Map<string, number>();
  for (const { predictions } of rows) {
    for (const { relation } of predictions) counts.set(relation, (counts.get(relation) ?? 0) + 1);
  }
  const often = labels.labels.filter((one) => one !== labels.noRelation && (counts.get(one) ?? 0) >= LEAST_PREDICTIONS);
  return {
    all: precisionCurve(rows, (relation) => relation !== labels.noRelation),
    relations: Object.fromEntries(often.map((one) => [one, precisionCurve(rows, (relation) => relation === one)])),
  };
}

/**
 * Thresholds for a precision that all pairs of the validation sentences had, or the validation rows in the calibration of an older version. A relation that never had it is given from the largest probability above all of its
 * predictions on. Throws a UserError for a run without a curve, and when no predictions had the precision.
 */
export function thresholdsFor(
  calibration: Calibration | null,
  precision: number,
  directory: string,
): RelationThresholds {
  const curves = calibration?.pairs ?? calibration?.precision;
  if (!curves) {
    throw new UserError(`${directory}: does not know how precise its predictions are.`, {
      hint: "Fit it on labelled rows: cre calibrate RUN --data DIR",
    });
  }
  const { all, relations } = curves;
  const usual = thresholdFor(all, precision);
  if (usual === null) {
    const best = all.reduce((most, point) => Math.max(most, point.precision), 0);
    throw new UserError(
      `${directory}: none of its predictions had a precision of ${precision} on the validation rows, expected at most ${best.toFixed(2)}.`,
    );
  }
  const own = Object.entries(relations).map(([name, curve]): [string, number] => {
    return [name, thresholdFor(curve, precision) ?? Math.max(usual, 1)];
  });
  return { usual, relations: new Map(own) };
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
