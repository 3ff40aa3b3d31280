import type { Example } from "../data/example.ts";
import { FEATURE_GROUPS, type FeatureGroup, type FeatureSettings, type RowHashes, rowHashes } from "./features.ts";
import { type SparseRows, toProbabilities } from "./solver.ts";

/** How a row becomes a vector. */
export interface VectorSettings extends FeatureSettings {
  /** The Euclidean length of each group's part of a row. */
  groupWeights: Readonly<Record<FeatureGroup, number>>;
}

/** A trained classifier. Its weights are int8 with a scale for each feature, in memory as in the file. */
export interface LinearModel {
  /** In the order of the label set. */
  labels: readonly string[];
  vectors: VectorSettings;
  /** Hashes of the known n-grams, ascending. */
  hashes: Uint32Array;
  /** scales[features]; the weight of a feature and a label is scale · quantized. */
  scales: Float32Array;
  /** quantized[features, labels] */
  quantized: Int8Array;
}

/** Rows of `linearProbabilities` that are turned into vectors at once. */
const CHUNK_ROWS = 1000;

/** The probability of every label of each example, in the order of the label set; they add up to 1. */
export function linearProbabilities(model: LinearModel, examples: readonly Example[]): Float64Array[] {
  const featureOf = (hash: number) => ascendingPlace(model.hashes, hash);
  const result: Float64Array[] = [];
  for (let first = 0; first < examples.length; first += CHUNK_ROWS) {
    const chunk = examples.slice(first, first + CHUNK_ROWS).map((example) => rowHashes(example, model.vectors));
    const rows = vectorsOf(chunk, featureOf, model.vectors.groupWeights);
    for (let row = 0; row < chunk.length; row++) {
      const scores = scoresOf(model, rows, row);
      toProbabilities(scores);
      result.push(scores);
    }
  }
  return result;
}

function scoresOf(model: LinearModel, rows: SparseRows, row: number): Float64Array {
  const scores = new Float64Array(model.labels.length);
  for (let i = rows.starts[row]; i < rows.starts[row + 1]; i++) {
    const feature = rows.columns[i];
    const value = rows.values[i] * model.scales[feature];
    const place = feature * scores.length;
    for (let label = 0; label < scores.length; label++) scores[label] += value * model.quantized[place + label];
  }
  return scores;
}

/** Binary search: unlike a map it costs nothing to prepare, so that calls with a single row are fast too. */
function ascendingPlace(hashes: Uint32Array, hash: number): number | undefined {
  let first = 0;
  let end = hashes.length;
  while (first < end) {
    const middle = (first + end) >> 1;
    if (hashes[middle] < hash) first = middle + 1;
    else end = middle;
  }
  return hashes[first] === hash ? first : undefined;
}

/** Rows as sparse vectors; `featureOf` a hash is undefined for an unknown n-gram. Unknown n-grams are left out before the lengths of the groups are set. */
export function vectorsOf(
  rows: readonly RowHashes[],
  featureOf: (hash: number) => number | undefined,
  groupWeights: Readonly<Record<FeatureGroup, number>>,
): SparseRows {
  const starts = new Uint32Array(rows.length + 1);
  const most = rows.reduce((sum, groups) => groups.reduce((own, { length }) => own + length, sum), 0);
  const columns = new Uint32Array(most);
  const values = new Float32Array(most);
  let end = 0;
  for (const [row, groups] of rows.entries()) {
    for (const [place, hashes] of groups.entries()) {
      const start = end;
      for (const hash of hashes) {
        const column = featureOf(hash);
        if (column !== undefined) columns[end++] = column;
      }
      values.fill(groupWeights[FEATURE_GROUPS[place]] / Math.sqrt(end - start), start, end);
    }
    starts[row + 1] = end;
  }
  return { starts, columns: columns.subarray(0, end), values: values.subarray(0, end) };
}
