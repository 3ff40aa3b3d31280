import type { Values } from "../backend.ts";

// The products of the reference backend as plain loops: sums in float64, one rounding when a result is stored.

/** Row-major numbers [rows, columns]. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Values;
}

/** y[T,O] = scale · x[T,I] · wᵀ + bias[O] + residual[T,O]. */
export function matmul(
  x: Matrix,
  w: Matrix,
  terms: { scale: number; bias: Values | null; residual: Values | null },
  y: Matrix,
): void {
  const { scale, bias, residual } = terms;
  const inputs = w.columns;
  const outputs = w.rows;
  const xs = x.data;
  const ws = w.data;
  for (let t = 0; t < x.rows; t++) {
    for (let o = 0; o < outputs; o++) {
      const xStart = t * inputs;
      const wStart = o * inputs;
      let sum = 0;
      for (let i = 0; i < inputs; i++) sum += xs[xStart + i] * ws[wStart + i];
      sum *= scale;
      if (bias) sum += bias[o];
      if (residual) sum += residual[t * outputs + o];
      y.data[t * outputs + o] = sum;
    }
  }
}

/** dx[T,I] = scale · dy[T,O] · w + residual[T,I]. */
export function matmulBackwardInput(
  dy: Matrix,
  w: Matrix,
  terms: { scale: number; residual: Values | null },
  dx: Matrix,
): void {
  const inputs = w.columns;
  const outputs = w.rows;
  const ws = w.data;
  const sums = new Float64Array(inputs);
  for (let t = 0; t < dy.rows; t++) {
    sums.fill(0);
    for (let o = 0; o < outputs; o++) {
      const factor = terms.scale * dy.data[t * outputs + o];
      const wStart = o * inputs;
      for (let i = 0; i < inputs; i++) sums[i] += factor * ws[wStart + i];
    }
    for (let i = 0; i < inputs; i++) {
      dx.data[t * inputs + i] = sums[i] + (terms.residual ? terms.residual[t * inputs + i] : 0);
    }
  }
}

/** gradient[O,I] += scale · dy[T,O]ᵀ · x[T,I]. */
export function matmulBackwardWeight(dy: Matrix, x: Matrix, scale: number, gradient: Values): void {
  const inputs = x.columns;
  const outputs = dy.columns;
  const xs = x.data;
  const sums = new Float64Array(inputs);
  for (let o = 0; o < outputs; o++) {
    sums.fill(0);
    for (let t = 0; t < dy.rows; t++) {
      const factor = scale * dy.data[t * outputs + o];
      const xStart = t * inputs;
      for (let i = 0; i < inputs; i++) sums[i] += factor * xs[xStart + i];
    }
    for (let i = 0; i < inputs; i++) gradient[o * inputs + i] += sums[i];
  }
}

/** gradient[O] += Σ over rows of dy[T,O]. */
export function biasBackward(dy: Matrix, gradient: Values): void {
  for (let o = 0; o < dy.columns; o++) {
    let sum = 0;
    for (let t = 0; t < dy.rows; t++) sum += dy.data[t * dy.columns + o];
    gradient[o] += sum;
  }
}

/** y[i] = x[rows[i]]. */
export function gatherRows(x: Matrix, rows: Int32Array, y: Values): void {
  const width = x.columns;
  for (let i = 0; i < rows.length; i++) {
    for (let c = 0; c < width; c++) y[i * width + c] = x.data[rows[i] * width + c];
  }
}

/** x[rows[i]] += y[i], in order. */
export function scatterAddRows(y: Matrix, rows: Int32Array, x: Values): void {
  const width = y.columns;
  for (let i = 0; i < rows.length; i++) {
    for (let c = 0; c < width; c++) x[rows[i] * width + c] += y.data[i * width + c];
  }
}

/** x[rows[i]] = y[i], in order. */
export function scatterRows(y: Matrix, rows: Int32Array, x: Values): void {
  const width = y.columns;
  for (let i = 0; i < rows.length; i++) {
    for (let c = 0; c < width; c++) x[rows[i] * width + c] = y.data[i * width + c];
  }
}
