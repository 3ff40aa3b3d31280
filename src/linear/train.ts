import { UserError } from "../base/errors.ts";
import { type Example, type LabelSet, quoted } from "../data/example.ts";
import { type RowHashes, rowHashes } from "./features.ts";
import { type LinearModel, type VectorSettings, vectorsOf } from "./model.ts";
import { type SolverSettings, type SparseRows, solve } from "./solver.ts";

export interface LinearSettings extends VectorSettings, SolverSettings {
  /** An n-gram is a feature when at least this number of training rows has it. */
  minRows: number;
  /** The most frequent n-grams that are trained; bounds memory and time. */
  maxTrainedFeatures: number;
  /** The features that are kept after training, those with the largest weights: bounds the file. */
  maxFeatures: number;
}

/** Chosen by cross-validation on training rows (docs/linear.md). */
export const LINEAR_DEFAULTS: LinearSettings = {
  maxNgram: 4,
  windowCharacters: 12,
  groupWeights: { between: 2, left: 1, right: 1, sentence: 2, head: 1, tail: 1, pair: 2, layout: 1 },
  minRows: 2,
  maxTrainedFeatures: 200_000,
  maxFeatures: 80_000,
  l2: 0.2,
  maxEpochs: 20,
  gapTolerance: 0.02,
  seed: 1,
};

/**
 * Trains the classifier on rows with relations; a row with several distinct relations has equal shares of them as its target. The same
 * rows, settings and seed give the same model. Throws a UserError for no rows, a row without relations, or a relation outside the set.
 */
export function trainLinear(
  examples: readonly Example[],
  labels: Pick<LabelSet, "labels">,
  settings: Partial<LinearSettings> = {},
): LinearModel {
  const all = { ...LINEAR_DEFAULTS, ...settings };
  const { maxNgram, windowCharacters, groupWeights } = all;
  const targets = targetsOf(examples, labels.labels);
  const hashes = examples.map((example) => rowHashes(example, all));
  const trained = frequentHashes(hashes, all.minRows, all.maxTrainedFeatures);
  const dictionary = new Map(Array.from(trained, (hash, feature) => [hash, feature]));
  const rows = vectorsOf(hashes, (hash) => dictionary.get(hash), groupWeights);
  const counts = { features: trained.length, labels: labels.labels.length };
  const { weights } = solve(rows, targets, counts, all);
  const kept = strongestFeatures(weights, rows, counts, all.maxFeatures);
  kept.sort((a, b) => trained[a] - trained[b]);
  return {
    labels: [...labels.labels],
    vectors: { maxNgram, windowCharacters, groupWeights },
    hashes: Uint32Array.from(kept, (feature) => trained[feature]),
    ...quantizeRows(weights, kept, counts.labels),
  };
}

/** targets[rows, labels] */
function targetsOf(examples: readonly Example[], labels: readonly string[]): Float32Array {
  if (examples.length === 0)
    throw new UserError("The linear companion: got no rows to train on, expected at least one.");
  const placeOf = new Map(labels.map((label, place) => [label, place]));
  const targets = new Float32Array(examples.length * labels.length);
  for (const [row, { relations = [] }] of examples.entries()) {
    const gold = new Set(relations);
    if (gold.size === 0) {
      throw new UserError(`The linear companion: training row ${row + 1} has no relations, expected at least one.`);
    }
    for (const label of gold) {
      const place = placeOf.get(label);
      if (place === undefined) {
        throw new UserError(
          `The linear companion: training row ${row + 1} has the relation ${quoted(label)}, expected one of the ${labels.length} labels.`,
          { hint: "Do the rows and the label set belong to the same data set?" },
        );
      }
      targets[row * labels.length + place] = 1 / gold.size;
    }
  }
  return targets;
}

/** The n-grams of at least `minRows` rows, most frequent first: features that are often used together lie together in memory. */
function frequentHashes(rows: readonly RowHashes[], minRows: number, most: number): Uint32Array {
  const counts = new Map<number, number>();
  for (const groups of rows) {
    for (const group of groups) for (const hash of group) counts.set(hash, (counts.get(hash) ?? 0) + 1);
  }
  const kept: [hash: number, count: number][] = [];
  for (const entry of counts) if (entry[1] >= minRows) kept.push(entry);
  kept.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  return Uint32Array.from(kept.slice(0, most), ([hash]) => hash);
}

/** The features that move scores most over the training rows: Σ values² · the variance of a feature's weights over the labels. */
function strongestFeatures(
  weights: Float32Array,
  rows: SparseRows,
  { features, labels }: { features: number; labels: number },
  most: number,
): number[] {
  const strengths = new Float64Array(features);
  for (let i = 0; i < rows.columns.length; i++) strengths[rows.columns[i]] += rows.values[i] ** 2;
  for (let feature = 0; feature < features; feature++) {
    let sum = 0;
    let squares = 0;
    for (const weight of weights.subarray(feature * labels, (feature + 1) * labels)) {
      sum += weight;
      squares += weight * weight;
    }
    strengths[feature] *= squares - (sum * sum) / labels;
  }
  const order = Array.from({ length: features }, (_, feature) => feature);
  order.sort((a, b) => strengths[b] - strengths[a] || a - b);
  return order.slice(0, most);
}

const MAX_INT8 = 127;

/** Weights of the kept features as int8, rounded to the nearest, with the scale that maps the largest of a feature to 127. */
function quantizeRows(
  weights: Float32Array,
  kept: readonly number[],
  labels: number,
): { scales: Float32Array; quantized: Int8Array } {
  const scales = new Float32Array(kept.length);
  const quantized = new Int8Array(kept.length * labels);
  for (const [place, feature] of kept.entries()) {
    const row = weights.subarray(feature * labels, (feature + 1) * labels);
    const largest = row.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0);
    scales[place] = largest / MAX_INT8;
    if (scales[place] === 0) continue;
    for (let label = 0; label < labels; label++) {
      // A scale near the smallest float32 rounds coarsely: the quotient may pass 127.
      quantized[place * labels + label] = Math.max(
        -MAX_INT8,
        Math.min(MAX_INT8, Math.round(row[label] / scales[place])),
      );
    }
  }
  return { scales, quantized };
}
