import { UserError } from "../base/errors.ts";
import { type Example, type LabelSet, quoted } from "../data/example.ts";
import { type LinearModel, type VectorSettings, vectorsOf } from "./model.ts";
import { countRows, type NumberedRows, numberRows } from "./number-rows.ts";
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
  groupWeights: {
    ...{ between: 2, left: 1, right: 1, sentence: 2, head: 1, tail: 1, pair: 2, layout: 1 },
    ...{ clause: 2, kinds: 1 },
  },
  minRows: 2,
  maxTrainedFeatures: 400_000,
  maxFeatures: 80_000,
  l2: 0.2,
  maxEpochs: 8,
  gapTolerance: 0.02,
  seed: 1,
};

/** Rows to train on or to score: their n-grams and the shares of their relations. */
export interface LabelledRows {
  numbered: NumberedRows;
  /** targets[rows, labels] */
  targets: Float32Array;
  labels: number;
}

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
  return trainOnRows(labelledRows(examples, labels.labels, all), labels.labels, all);
}

/** Reads rows for {@link fitRows}. Throws a UserError as {@link trainLinear} does. */
export function labelledRows(
  examples: readonly Example[],
  labels: readonly string[],
  settings: VectorSettings,
): LabelledRows {
  const targets = targetsOf(examples, labels);
  return { numbered: numberRows(examples, settings), targets, labels: labels.length };
}

/** As {@link trainLinear}, on rows that were read before with the same settings of the features. */
export function trainOnRows(rows: LabelledRows, labels: readonly string[], settings: LinearSettings): LinearModel {
  const { hashes } = rows.numbered;
  const { features, weights, vectors } = fitRows(rows, Array.from(rows.numbered.rows.keys()), settings);
  const counts = { features: features.length, labels: labels.length };
  const kept = strongestFeatures(weights, vectors, counts, settings.maxFeatures);
  kept.sort((a, b) => hashes[features[a]] - hashes[features[b]]);
  const { maxNgram, windowCharacters, groupWeights } = settings;
  return {
    labels: [...labels],
    vectors: { maxNgram, windowCharacters, groupWeights },
    hashes: Uint32Array.from(kept, (feature) => hashes[features[feature]]),
    ...quantizeRows(weights, kept, counts.labels),
  };
}

/** A classifier with float32 weights for n-grams by number. */
export interface FittedRows {
  /** The n-gram of each feature, by its number. */
  features: Uint32Array;
  /** The feature of an n-gram; undefined when it is none. */
  featureOf: (number: number) => number | undefined;
  /** weights[features, labels] */
  weights: Float32Array;
  /** The rows that it was trained on. */
  vectors: SparseRows;
}

/** Fits the rows at these places. */
export function fitRows(
  { numbered, targets, labels }: LabelledRows,
  places: readonly number[],
  settings: LinearSettings,
): FittedRows {
  const features = frequentNumbers(countRows(numbered, places), settings.minRows, settings.maxTrainedFeatures);
  const featureAt = new Int32Array(numbered.hashes.length).fill(-1);
  for (const [feature, number] of features.entries()) featureAt[number] = feature;
  const featureOf = (number: number) => (featureAt[number] < 0 ? undefined : featureAt[number]);
  const own = places.map((place) => numbered.rows[place]);
  const vectors = vectorsOf(own, featureOf, settings.groupWeights);
  const ownTargets = new Float32Array(places.length * labels);
  for (const [row, place] of places.entries()) {
    ownTargets.set(targets.subarray(place * labels, (place + 1) * labels), row * labels);
  }
  const { weights } = solve(vectors, ownTargets, { features: features.length, labels }, settings);
  return { features, featureOf, weights, vectors };
}

/** The n-grams of at least `minRows` rows, most frequent first: features that are often used together lie together in memory. */
function frequentNumbers(counts: Uint32Array, minRows: number, most: number): Uint32Array {
  // One number for each n-gram that sorts by falling count, then by number: typed arrays sort several times as fast as lists.
  const keys = new Float64Array(counts.length);
  let kept = 0;
  for (let number = 0; number < counts.length; number++) {
    if (counts[number] >= minRows) keys[kept++] = number - counts[number] * counts.length;
  }
  const sorted = keys.subarray(0, kept).sort().subarray(0, most);
  return Uint32Array.from(sorted, (key) => ((key % counts.length) + counts.length) % counts.length);
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
