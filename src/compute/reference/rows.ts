import type { RotarySpec, Values } from "../backend.ts";
import { dropoutKeeps } from "../backend.ts";
import type { Matrix } from "./products.ts";

// The operations of the reference backend that work on one row or one element at a time.

/** x[T,H·D] as a matrix [T·H,D] of the same numbers. */
export function headsAsRows({ rows, columns, data }: Matrix, headWidth: number): Matrix {
  return { rows: (rows * columns) / headWidth, columns: headWidth, data };
}

/** 1 / √(mean(x²) + epsilon) of row t. */
function inverseRms(x: Matrix, t: number, epsilon: number): number {
  let squares = 0;
  for (let c = 0; c < x.columns; c++) squares += x.data[t * x.columns + c] ** 2;
  return 1 / Math.sqrt(squares / x.columns + epsilon);
}

/** y[T,C] = x / √(mean(x²) + epsilon) · g. */
export function rmsNorm(x: Matrix, g: Values, epsilon: number, y: Values): void {
  for (let t = 0; t < x.rows; t++) {
    const inverse = inverseRms(x, t, epsilon);
    for (let c = 0; c < x.columns; c++) {
      const at = t * x.columns + c;
      y[at] = x.data[at] * inverse * g[c];
    }
  }
}

/** With n = x · r and r = 1/rms: dx = r · (g · dy − n · mean(g · dy · n)) + residual, dg[c] += Σ over rows of dy · n. */
export function rmsNormBackward(
  x: Matrix,
  g: Values,
  dy: Values,
  epsilon: number,
  residual: Values | null,
  dx: Values,
  gradient: Values | null,
): void {
  const width = x.columns;
  const gradientSums = new Float64Array(width);
  for (let t = 0; t < x.rows; t++) {
    const inverse = inverseRms(x, t, epsilon);
    let mean = 0;
    for (let c = 0; c < width; c++) {
      const at = t * width + c;
      mean += (g[c] * dy[at] * x.data[at] * inverse) / width;
      gradientSums[c] += dy[at] * x.data[at] * inverse;
    }
    for (let c = 0; c < width; c++) {
      const at = t * width + c;
      dx[at] = inverse * (g[c] * dy[at] - x.data[at] * inverse * mean) + (residual ? residual[at] : 0);
    }
  }
  if (gradient) for (let c = 0; c < width; c++) gradient[c] += gradientSums[c];
}

/** Rotates each pair of each head by direction · position · frequency (Su et al. 2021); direction is 1 or −1. */
export function rotary(x: Matrix, positions: Int32Array, spec: RotarySpec, direction: number, y: Values): void {
  const { heads, headWidth, frequencies } = spec;
  const pairs = frequencies.length;
  const interleaved = spec.layout === "interleaved";
  y.set(x.data);
  for (let t = 0; t < x.rows; t++) {
    for (let i = 0; i < pairs; i++) {
      const angle = direction * positions[t] * frequencies[i];
      const cosine = Math.cos(angle);
      const sine = Math.sin(angle);
      for (let h = 0; h < heads; h++) {
        const head = t * x.columns + h * headWidth;
        const first = head + (interleaved ? 2 * i : i);
        const second = head + (interleaved ? 2 * i + 1 : i + pairs);
        const a = x.data[first];
        const b = x.data[second];
        y[first] = a * cosine - b * sine;
        y[second] = a * sine + b * cosine;
      }
    }
  }
}

/** h = silu(gate) · up with silu(z) = z / (1 + e⁻ᶻ) (Shazeer 2020). */
export function swiglu(gate: Values, up: Values, h: Values): void {
  for (let i = 0; i < gate.length; i++) h[i] = (gate[i] / (1 + Math.exp(-gate[i]))) * up[i];
}

/** silu′(z) = σ · (1 + z · (1 − σ)) with σ = 1 / (1 + e⁻ᶻ). */
export function swigluBackward(gate: Values, up: Values, dh: Values, dGate: Values, dUp: Values): void {
  for (let i = 0; i < gate.length; i++) {
    const sigmoid = 1 / (1 + Math.exp(-gate[i]));
    dGate[i] = dh[i] * up[i] * sigmoid * (1 + gate[i] * (1 - sigmoid));
    dUp[i] = dh[i] * gate[i] * sigmoid;
  }
}

/** y = a + scale · b. */
export function add(a: Values, b: Values, scale: number, y: Values): void {
  for (let i = 0; i < a.length; i++) y[i] = a[i] + scale * b[i];
}

export function dropout(x: Matrix, probability: number, seed: number, numbers: Int32Array | null, y: Values): void {
  const factor = 1 / (1 - probability);
  for (let t = 0; t < x.rows; t++) {
    const number = numbers ? numbers[t] : t;
    for (let c = 0; c < x.columns; c++) {
      const at = t * x.columns + c;
      y[at] = dropoutKeeps(seed, number, c, probability) ? x.data[at] * factor : 0;
    }
  }
}
