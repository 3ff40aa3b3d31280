import type { Values } from "../backend.ts";
import type { Matrix } from "./products.ts";

// The operations of the reference backend that work on columns or take the length of rows, and tanh.

/** g / divisors; 0 where the divisor is 0. */
function factorsOf(g: Values, divisors: Values): Float64Array {
  return Float64Array.from(g, (value, c) => (divisors[c] > 0 ? value / divisors[c] : 0));
}

/** y[T,O] = x · g / divisors + bias. */
export function scaleColumns(x: Matrix, g: Values, divisors: Values, bias: Values | null, y: Values): void {
  const factors = factorsOf(g, divisors);
  for (let i = 0; i < x.data.length; i++) {
    const c = i % x.columns;
    y[i] = x.data[i] * factors[c] + (bias ? bias[c] : 0);
  }
}

/** dx = dy · g / divisors, dg[c] += Σ over rows of dy · x / divisors. */
export function scaleColumnsBackward(
  x: Matrix,
  g: Values,
  divisors: Values,
  dy: Values,
  dx: Values,
  gradient: Values | null,
): void {
  const factors = factorsOf(g, divisors);
  const sums = new Float64Array(x.columns);
  for (let i = 0; i < x.data.length; i++) {
    const c = i % x.columns;
    dx[i] = dy[i] * factors[c];
    sums[c] += dy[i] * x.data[i];
  }
  if (!gradient) return;
  for (const [c, sum] of sums.entries()) if (divisors[c] > 0) gradient[c] += sum / divisors[c];
}

/** out[t] = √ of the sum of the squares of row t. */
export function rowNorms(x: Matrix, out: Values): void {
  for (let t = 0; t < x.rows; t++) {
    let squares = 0;
    for (let c = 0; c < x.columns; c++) squares += x.data[t * x.columns + c] ** 2;
    out[t] = Math.sqrt(squares);
  }
}

export function tanh(x: Values, y: Values): void {
  for (let i = 0; i < x.length; i++) y[i] = Math.tanh(x[i]);
}

/** tanh′(z) = 1 − y² with y = tanh(z). */
export function tanhBackward(y: Values, dy: Values, dx: Values): void {
  for (let i = 0; i < y.length; i++) dx[i] = dy[i] * (1 - y[i] ** 2);
}
