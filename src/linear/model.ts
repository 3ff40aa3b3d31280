import type { Example } from "../data/example.ts";
import { FEATURE_GROUPS, type FeatureGroup, type FeatureSettings, type RowHashes, rowHashes } from "./features.ts";
import { type SparseRows, scoreRow, toProbabilities } from "./solver.ts";

/** How a row becomes a vector. */
export interface VectorSettings extends FeatureSettings {
  /** The Euclidean length of each group's part of a row. */
  groupWeights: Readonly<Record<FeatureGroup, number>>;
}

/** A trained classifier. Its weights are int8 with one scale for each feature, in memory as on disk. */
export interface LinearModel {
  /** In the order of the label set. */
  labels: readonly string[];
  vectors: VectorSettings;
  /** Hashes of the known n-grams, ascending: feature i has the hash hashes[i]. */
  hashes: Uint32Array;
  /** scales[features]; weight[feature, label] = scales[feature] · quantized[feature, label] */
  scales: Float32Array;
  /** quantized[features, labels] */
  quantized: Int8Array;
  /** Score of each label before any n-gram. */
  bias: Float32Array;
}

/** Rows as sparse vectors over the features of a dictionary. Unknown n-grams are left out before the lengths of the groups are set. */
export function vectorsOf(
  rows: readonly RowHashes[],
  dictionary: ReadonlyMap<number, number>,
  groupWeights: Readonly<Record<FeatureGroup, number>>,
): SparseRows {
  const starts = new Uint32Array(rows.length + 1);
  const columns: number[] = [];
  const values: number[] = [];
  for (const [row, groups] of rows.entries()) {
    for (const [place, hashes] of groups.entries()) {
      const before = columns.length;
      for (const hash of hashes) {
        const column = dictionary.get(hash);
        if (column !== undefined) columns.push(column);
      }
      const count = columns.length - before;
      const value = groupWeights[FEATURE_GROUPS[place]] / Math.sqrt(count);
      for (let i = 0; i < count; i++) values.push(value);
    }
    starts[row + 1] = columns.length;
  }
  return { starts, columns: Uint32Array.from(columns), values: Float32Array.from(values) };
}
