import { createRandom } from "../base/random.ts";

/** Sparse rows: row i has the features `columns[starts[i] … starts[i + 1])` with `values` in the same places. */
export interface SparseRows {
  starts: Uint32Array;
  columns: Uint32Array;
  values: Float32Array;
}

export interface SolverSettings {
  /** The l2 of the objective. */
  l2: number;
  /** Passes over the rows at most. */
  maxEpochs: number;
  /** Stops once the duality gap, which bounds the distance from the optimum, is at most this share of the objective. */
  gapTolerance: number;
  /** Seed of the order of the rows. */
  seed: number;
}

export interface Solution {
  /** weights[features, labels] */
  weights: Float32Array;
  epochs: number;
  /** {@link objective} at the weights. */
  objective: number;
  /** Upper bound of the distance of `objective` from its least value, as a share of it. */
  gap: number;
}

/**
 * Multinomial logistic regression by stochastic dual coordinate ascent (Shalev-Shwartz & Zhang 2013, proximal SDCA with the step for smooth
 * losses): weights = Σ over rows α_row · x_row / l2, where α approaches target − probability. There is no learning rate to choose, and
 * the duality gap says how far the optimum is. `targets`[rows, labels] are shares that add up to 1 in each row.
 */
export function solve(
  rows: SparseRows,
  targets: Float32Array,
  counts: { features: number; labels: number },
  settings: SolverSettings,
): Solution {
  const { labels } = counts;
  const { l2, maxEpochs, gapTolerance, seed } = settings;
  const rowCount = rows.starts.length - 1;
  const weights = new Float32Array(counts.features * labels);
  const alphas = new Float32Array(rowCount * labels);
  const scores = new Float64Array(labels);
  const change = new Float64Array(labels);
  const random = createRandom(seed);
  const order = Array.from({ length: rowCount }, (_, row) => row);
  let result = { objective: 0, gap: 0 };
  let epochs = 0;
  while (epochs < maxEpochs) {
    random.shuffle(order);
    for (const row of order) {
      const first = row * labels;
      scoreRow(rows, row, weights, scores);
      toProbabilities(scores);
      // The negative entropy is 2-strongly convex in the Euclidean norm for differences that add up to 0 (Pinsker's inequality).
      const step = (2 * l2) / (squaredLength(rows, row) + 2 * l2);
      for (let label = 0; label < labels; label++) {
        const wanted = targets[first + label] - scores[label];
        const before = alphas[first + label];
        alphas[first + label] = before + step * (wanted - before);
        change[label] = (alphas[first + label] - before) / l2;
      }
      for (let i = rows.starts[row]; i < rows.starts[row + 1]; i++) {
        const place = rows.columns[i] * labels;
        const value = rows.values[i];
        for (let label = 0; label < labels; label++) weights[place + label] += value * change[label];
      }
    }
    epochs++;
    result = dualityGap(rows, targets, weights, alphas, { labels, l2 });
    if (result.gap <= gapTolerance) break;
  }
  return { weights, epochs, ...result };
}

/** Σ over rows of the cross-entropy between targets and softmax(weights · x), plus l2 / 2 · Σ weights². */
export function objective(
  rows: SparseRows,
  targets: Float32Array,
  weights: Float32Array | Float64Array,
  settings: { labels: number; l2: number },
): number {
  const { labels, l2 } = settings;
  const scores = new Float64Array(labels);
  let sum = 0;
  for (let row = 0; row + 1 < rows.starts.length; row++) {
    scoreRow(rows, row, weights, scores);
    for (let label = 0; label < labels; label++) sum -= targets[row * labels + label] * scores[label];
    sum += logSumExp(scores);
  }
  return sum + (l2 / 2) * sumOfSquares(weights);
}

function dualityGap(
  rows: SparseRows,
  targets: Float32Array,
  weights: Float32Array,
  alphas: Float32Array,
  settings: { labels: number; l2: number },
): { objective: number; gap: number } {
  const primal = objective(rows, targets, weights, settings);
  let entropy = 0;
  for (let i = 0; i < alphas.length; i++) {
    const share = targets[i] - alphas[i];
    if (share > 0) entropy -= share * Math.log(share);
  }
  const dual = entropy - (settings.l2 / 2) * sumOfSquares(weights);
  return { objective: primal, gap: (primal - dual) / primal };
}

/** scores[labels] = weights · x of a row. */
export function scoreRow(
  rows: SparseRows,
  row: number,
  weights: Float32Array | Float64Array,
  scores: Float64Array,
): void {
  const labels = scores.length;
  scores.fill(0);
  for (let i = rows.starts[row]; i < rows.starts[row + 1]; i++) {
    const place = rows.columns[i] * labels;
    const value = rows.values[i];
    for (let label = 0; label < labels; label++) scores[label] += value * weights[place + label];
  }
}

/** Softmax in place. */
export function toProbabilities(scores: Float64Array): void {
  const shift = logSumExp(scores);
  for (let i = 0; i < scores.length; i++) scores[i] = Math.exp(scores[i] - shift);
}

export function logSumExp(scores: Float64Array): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const score of scores) if (score > most) most = score;
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - most);
  return most + Math.log(sum);
}

function squaredLength(rows: SparseRows, row: number): number {
  let sum = 0;
  for (let i = rows.starts[row]; i < rows.starts[row + 1]; i++) sum += rows.values[i] ** 2;
  return sum;
}

function sumOfSquares(values: Float32Array | Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return sum;
}
