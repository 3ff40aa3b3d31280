import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { nodeFolder } from "../base/node-folder.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { precisionCurve, thresholdFor } from "../evaluate/certainty.ts";
import { computeMetrics } from "../evaluate/metrics.ts";
import type { ScoredRow } from "../evaluate/rows.ts";
import { chooseRelations, type Prediction, type RelationChoice } from "../extract/combine.ts";
import type { RelationThresholds } from "../extract/triples.ts";
import { CALIBRATION_FILE, type Calibration, readCalibration } from "./calibration-read.ts";
import { LEAST_PREDICTIONS, type PairScores, pairPrecision } from "./pair-scores.ts";
import type { RunFolder } from "./run-folder.ts";

/** F1 of the two conventions that a run can be chosen by, as fractions. */
export interface ValidationF1 {
  paperF1: number;
  microF1: number;
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

/** Writes the calibration into the folder of a run. */
export function saveCalibration({ directory }: Pick<RunFolder, "directory">, calibration: Calibration): Promise<void> {
  return writeFileAtomic(join(directory, CALIBRATION_FILE), `${JSON.stringify(calibration, null, 2)}\n`);
}

/** The calibration of a run; see {@link readCalibration}. */
export const openCalibration = ({ directory }: Pick<RunFolder, "directory">): Promise<Calibration | null> =>
  readCalibration(nodeFolder(directory));

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
