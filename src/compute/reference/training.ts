import type { AdamWSettings, Values } from "../backend.ts";
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
