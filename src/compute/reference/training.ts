import type { AdamWSettings, MuonSettings, Values } from "../backend.ts";
import type { Matrix } from "./products.ts";

// Losses, choices and the optimizer of the reference backend.

/** log Σ exp of row t. */
function logSumExp(logits: Matrix, t: number): number {
  const start = t * logits.columns;
  let largest = Number.NEGATIVE_INFINITY;
  for (let c = 0; c < logits.columns; c++) largest = Math.max(largest, logits.data[start + c]);
  let total = 0;
  for (let c = 0; c < logits.columns; c++) total += Math.exp(logits.data[start + c] - largest);
  return largest + Math.log(total);
}

/** Returns the loss and writes dLogits[T,V] = weight · (softmax − target distribution). */
export function crossEntropy(
  logits: Matrix,
  targets: Int32Array,
  weights: Float32Array,
  labelSmoothing: number,
  dLogits: Values,
): number {
  const width = logits.columns;
  let loss = 0;
  for (let t = 0; t < logits.rows; t++) {
    const normaliser = logSumExp(logits, t);
    let sum = 0;
    for (let c = 0; c < width; c++) {
      const logProbability = logits.data[t * width + c] - normaliser;
      const target = labelSmoothing / width + (c === targets[t] ? 1 - labelSmoothing : 0);
      sum -= target * logProbability;
      dLogits[t * width + c] = weights[t] * (Math.exp(logProbability) - target);
    }
    loss += weights[t] * sum;
  }
  return loss;
}

/** out[N] = log softmax(logits[rows[n]])[tokens[n]]. */
export function logProbabilities(logits: Matrix, rows: Int32Array, tokens: Int32Array, out: Values): void {
  for (let n = 0; n < rows.length; n++) {
    out[n] = logits.data[rows[n] * logits.columns + tokens[n]] - logSumExp(logits, rows[n]);
  }
}

/** out[T] = index of the largest value of each row, the first one on ties. */
export function argmax(x: Matrix, out: Values): void {
  for (let t = 0; t < x.rows; t++) {
    let best = 0;
    for (let c = 1; c < x.columns; c++) {
      if (x.data[t * x.columns + c] > x.data[t * x.columns + best]) best = c;
    }
    out[t] = best;
  }
}

export function sumOfSquares(values: Values): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ** 2;
  return sum;
}

/** One step of Adam (Kingma & Ba 2015) with decoupled decay (Loshchilov & Hutter 2019). */
export function adamW(
  parts: { value: Values; gradient: Values; moment1: Values; moment2: Values },
  settings: AdamWSettings,
): void {
  const { value, gradient, moment1, moment2 } = parts;
  const { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale } = settings;
  const correction1 = 1 - beta1 ** step;
  const correction2 = 1 - beta2 ** step;
  for (let i = 0; i < value.length; i++) {
    const g = gradient[i] * gradientScale;
    moment1[i] = beta1 * moment1[i] + (1 - beta1) * g;
    moment2[i] = beta2 * moment2[i] + (1 - beta2) * g * g;
    const update = moment1[i] / correction1 / (Math.sqrt(moment2[i] / correction2) + epsilon);
    value[i] -= learningRate * (update + weightDecay * value[i]);
  }
}

/** One step of Muon on w[rows,columns]; backend.ts has the formulas. */
export function muon(
  parts: { value: Values; gradient: Values; moment1: Values },
  { rows, columns }: { rows: number; columns: number },
  { learningRate, momentum, weightDecay }: MuonSettings,
): void {
  const { value, gradient, moment1 } = parts;
  const update = new Float64Array(value.length);
  for (let i = 0; i < value.length; i++) {
    moment1[i] += (1 - momentum) * (gradient[i] - moment1[i]);
    update[i] = gradient[i] + momentum * (moment1[i] - gradient[i]);
  }
  const direction = orthogonal({ rows, columns, data: update });
  const scale = 0.2 * Math.sqrt(Math.max(rows, columns));
  for (let i = 0; i < value.length; i++) {
    value[i] -= learningRate * (scale * direction[i] + weightDecay * value[i]);
  }
}

/** About the nearest matrix with orthonormal rows or columns: five Newton-Schulz steps with the coefficients of Jordan 2024. */
function orthogonal({ rows, columns, data }: Matrix): Float64Array {
  const [m, n] = [Math.min(rows, columns), Math.max(rows, columns)];
  const at = rows > columns ? (r: number, c: number) => c * m + r : (r: number, c: number) => r * n + c;
  const norm = Math.sqrt(sumOfSquares(data)) + 1e-7;
  let x = Float64Array.from({ length: m * n }, (_, i) => data[at(Math.floor(i / n), i % n)] / norm);
  for (let step = 0; step < 5; step++) {
    const square = product(x, transposed(x, m, n), m, n, m);
    const fourth = product(square, square, m, m, m);
    const factor = square.map((value, i) => -4.775 * value + 2.0315 * fourth[i]);
    const added = product(factor, x, m, m, n);
    x = x.map((value, i) => 3.4445 * value + added[i]);
  }
  const out = new Float64Array(m * n);
  for (let i = 0; i < x.length; i++) out[at(Math.floor(i / n), i % n)] = x[i];
  return out;
}

/** a[rows,depth] · b[depth,columns]. */
function product(a: Float64Array, b: Float64Array, rows: number, depth: number, columns: number): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    for (let d = 0; d < depth; d++) {
      const factor = a[r * depth + d];
      for (let c = 0; c < columns; c++) out[r * columns + c] += factor * b[d * columns + c];
    }
  }
  return out;
}

function transposed(x: Float64Array, rows: number, columns: number): Float64Array {
  return Float64Array.from({ length: x.length }, (_, i) => x[(i % rows) * columns + Math.floor(i / rows)]);
}
