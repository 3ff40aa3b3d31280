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
  /** Duality gap during the last epoch as a share of the objective: a bound of what more epochs could gain. */
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
  const share = new Float64Array(labels);
  const change = new Float64Array(labels);
  const random = createRandom(seed);
  const order = Array.from({ length: rowCount }, (_, row) => row);
  let epochs = 0;
  let gap = Number.POSITIVE_INFINITY;
  while (epochs < maxEpochs && gap > gapTolerance) {
    random.shuffle(order);
    const sums = { loss: 0, gap: 0, squares: 0 };
    for (const row of order) {
      const target = targets.subarray(row * labels, (row + 1) * labels);
      const alpha = alphas.subarray(row * labels, (row + 1) * labels);
      scoreRow(rows, row, weights, scores);
      addGap(scores, target, alpha, sums);
      toProbabilities(scores);
      for (let label = 0; label < labels; label++) {
        share[label] = Math.max(0, target[label] - alpha[label]);
        change[label] = scores[label] - share[label];
      }
      const step = stepLength(scores, share, change, squaredLength(rows, row) / l2);
      for (let label = 0; label < labels; label++) {
        const before = alpha[label];
        alpha[label] = before - step * change[label];
        change[label] = (alpha[label] - before) / l2;
      }
      addToWeights(rows, row, change, weights);
    }
    epochs++;
    gap = sums.gap / (sums.loss + sums.squares / 2);
  }
  return { weights, epochs, gap };
}

/**
 * Adds the loss of a row, its part α · scores of l2 · Σ weights², and its part of the duality gap. The parts are of the moment when the row is
 * visited, which spares a pass over all rows: together they lie between the gap before and after the epoch.
 */
function addGap(
  scores: Float64Array,
  target: Float32Array,
  alpha: Float32Array,
  sums: { loss: number; gap: number; squares: number },
): void {
  let loss = logSumExp(scores);
  let squares = 0;
  let entropy = 0;
  for (let label = 0; label < scores.length; label++) {
    loss -= target[label] * scores[label];
    squares += alpha[label] * scores[label];
    const share = target[label] - alpha[label];
    if (share > 0) entropy -= share * Math.log(share);
  }
  sums.loss += loss;
  sums.squares += squares;
  sums.gap += loss - entropy + squares;
}

const STEP_HALVINGS = 6;

/**
 * How far to go from `share` (target − α) towards the probabilities: between the step that always gains (the negative entropy is 2-strongly
 * convex where differences add up to 0, by Pinsker's inequality) and 1, the largest found by halving at which the dual still rises.
 */
function stepLength(probabilities: Float64Array, share: Float64Array, change: Float64Array, stiffness: number): number {
  let squares = 0;
  for (let label = 0; label < change.length; label++) squares += change[label] ** 2;
  let least = 2 / (stiffness + 2);
  let most = 1;
  for (let i = 0; i < STEP_HALVINGS; i++) {
    const step = Math.sqrt(least * most);
    let slope = -step * stiffness * squares;
    for (let label = 0; label < change.length; label++) {
      const towards = share[label] + step * change[label];
      if (towards > 0 && probabilities[label] > 0) slope += change[label] * Math.log(probabilities[label] / towards);
    }
    if (slope > 0) least = step;
    else most = step;
  }
  return least;
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

/** scores[labels] = weights · x of a row. */
export function scoreRow(
  rows: SparseRows,
  row: number,
  weights: Float32Array | Float64Array,
  scores: Float64Array,
): void {
  const labels = scores.length;
  const { columns, values } = rows;
  const end = rows.starts[row + 1];
  scores.fill(0);
  let i = rows.starts[row];
  // Four features at a time: a score is read and written once for all of them.
  for (; i + 3 < end; i += 4) {
    const [a, b, c, d] = [
      columns[i] * labels,
      columns[i + 1] * labels,
      columns[i + 2] * labels,
      columns[i + 3] * labels,
    ];
    const [p, q, r, s] = [values[i], values[i + 1], values[i + 2], values[i + 3]];
    for (let label = 0; label < labels; label++) {
      scores[label] +=
        p * weights[a + label] + q * weights[b + label] + r * weights[c + label] + s * weights[d + label];
    }
  }
  for (; i < end; i++) {
    const place = columns[i] * labels;
    const value = values[i];
    for (let label = 0; label < labels; label++) scores[label] += value * weights[place + label];
  }
}

/** weights += x of a row · change[labels]. */
function addToWeights(rows: SparseRows, row: number, change: Float64Array, weights: Float32Array): void {
  const labels = change.length;
  for (let i = rows.starts[row]; i < rows.starts[row + 1]; i++) {
    const place = rows.columns[i] * labels;
    const value = rows.values[i];
    for (let label = 0; label < labels; label++) weights[place + label] += value * change[label];
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
