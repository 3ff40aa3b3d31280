import type { AttentionSegment, AttentionSpec, Backend, Rotation, Values } from "../backend.ts";
import type { AttentionInputs, FusedKernels, Kernels, Operand } from "../kernels.ts";
import { createBackend } from "../shell.ts";
import * as attentions from "./attention.ts";
import { multiplyBytes } from "./byte-products.ts";
import * as columns from "./columns.ts";
import * as products from "./products.ts";
import * as rowwise from "./rows.ts";
import * as training from "./training.ts";
import {
  newWeight,
  productOf,
  type ReferenceWeight,
  setValue,
  trainingOf,
  type WeightNumbers,
  weightBytes,
} from "./weights.ts";

/**
 * Opens the reference backend: every operation as the obvious loop, computed in float64 and stored in `precision`. It is the judge of the
 * other backends, and the fallback where the native one is not built.
 */
export function openReference(options: { precision?: "float32" | "float64" } = {}): Backend {
  return createBackend(referenceKernels(options.precision ?? "float32"));
}

type Numbers = Operand<Values>;
type ProductRest = [Parameters<typeof products.matmul>[2], products.Matrix];

/** Kernels whose tensors, narrow or wide, are row-major values in `precision`. */
export function referenceKernels(precision: "float32" | "float64"): Kernels<Values, WeightNumbers> {
  const zeros = (count: number): Values =>
    precision === "float64" ? new Float64Array(count) : new Float32Array(count);
  const zerosLike = (x: Numbers): Values => zeros(x.data.length);

  /** A sum of products in float64; storing it is the only rounding. */
  const sumOf =
    (
      multiply: (x: Numbers, w: ReferenceWeight, ...rest: ProductRest) => void,
      side: "rows" | "columns",
    ): FusedKernels<Values, WeightNumbers>["matmulSum"] =>
    ([first, ...plus], { bias, residual }) => {
      const shape = { rows: first.x.rows, columns: first.w[side] };
      const y = zeros(shape.rows * shape.columns);
      let added = residual?.data ?? null;
      for (const { x, w, scale } of plus) {
        const sum = new Float64Array(y.length);
        multiply(x, w, { scale, bias: null, residual: added }, { ...shape, data: sum });
        added = sum;
      }
      const terms = { scale: first.scale, bias: bias?.data.product ?? null, residual: added };
      multiply(first.x, first.w, terms, { ...shape, data: y });
      return y;
    };
  const matmulSum = sumOf((x, w, ...rest) => {
    if (w.data.bytes) multiplyBytes(x, w.data.bytes, ...rest);
    else products.matmul(x, productOf(w), ...rest);
  }, "rows");
  const matmulBackwardSum = sumOf((dy, w, ...rest) => {
    products.matmulBackwardInput(dy, productOf(w), ...rest);
  }, "columns");

  const attentionBackward = (
    forward: AttentionInputs<Values>,
    dOutput: Numbers,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
    rotation: Rotation | null = null,
  ) => {
    const gradients = { dq: zerosLike(forward.q), dk: zerosLike(forward.k), dv: zerosLike(forward.v) };
    attentions.attentionBackward(forward, dOutput, segments, spec, gradients, rotation);
    return gradients;
  };

  return {
    name: "reference",
    description: `plain TypeScript, 1 thread, ${precision}`,
    arithmetic: `plain TypeScript, ${precision}`,
    precision,

    // ---- tensors and weights

    tensor(values, rows, columns) {
      const made = zeros(rows * columns);
      if (values) made.set(values);
      return made;
    },
    read: (x) => x.data.slice(),
    tensorBytes: ({ rows, columns }) => rows * columns * (precision === "float64" ? 8 : 4),
    weight(spec, values) {
      const made = newWeight(spec, zeros);
      if (values) setValue(spec, made, values);
      return made;
    },
    writeWeight(w, values, part) {
      if (part === "value") setValue(w, w.data, values);
      else trainingOf(w)[part].set(values);
    },
    readWeight: (w, part) => (part === "value" ? w.data.value : trainingOf(w)[part]).slice(),
    weightBytes: (w) => weightBytes(w.data),

    // ---- products

    embed(table, ids) {
      const y = zeros(ids.length * table.columns);
      products.gatherRows(productOf(table), ids, y);
      return y;
    },
    embedBackward: (table, ids, dy) => products.scatterAddRows(dy, ids, trainingOf(table).gradient),
    matmul: (product, added) => matmulSum([product], added),
    matmulBackwardInput: (product, added) => matmulBackwardSum([product], added),
    matmulSum,
    matmulBackwardSum,
    matmulBackwardWeight: (dy, x, w, scale) => products.matmulBackwardWeight(dy, x, scale, trainingOf(w).gradient),
    biasBackward: (dy, b) => products.biasBackward(dy, trainingOf(b).gradient),

    // ---- rows, heads, elements

    rmsNorm(x, g, epsilon) {
      const y = zerosLike(x);
      rowwise.rmsNorm(rowwise.headsAsRows(x, g.columns), g.data.product, epsilon, y);
      return y;
    },
    rmsNormBackward(x, g, dy, epsilon, residual) {
      const dx = zerosLike(x);
      const heads = rowwise.headsAsRows(x, g.columns);
      const gradient = g.data.training?.gradient ?? null;
      rowwise.rmsNormBackward(heads, g.data.product, dy.data, epsilon, residual?.data ?? null, dx, gradient);
      return dx;
    },
    rotary(x, positions, spec, direction) {
      const y = zerosLike(x);
      rowwise.rotary(x, positions, spec, direction === "forward" ? 1 : -1, y);
      return y;
    },
    attention({ q, k, v }, segments, spec) {
      const output = zerosLike(q);
      const logSumExp = zeros(q.rows * spec.heads);
      attentions.attention(q, k, v, segments, spec, output, logSumExp);
      return { output, logSumExp };
    },
    attentionBackward,
    attentionBackwardRotary: attentionBackward,
    swiglu(gate, up) {
      const h = zerosLike(gate);
      rowwise.swiglu(gate.data, up.data, h);
      return h;
    },
    swigluBackward(gate, up, dh) {
      const [dGate, dUp] = [zerosLike(gate), zerosLike(gate)];
      rowwise.swigluBackward(gate.data, up.data, dh.data, dGate, dUp);
      return { dGate, dUp };
    },
    add(a, b, scale) {
      const y = zerosLike(a);
      rowwise.add(a.data, b.data, scale, y);
      return y;
    },
    dropout(x, probability, seed, numbers) {
      const y = zerosLike(x);
      rowwise.dropout(x, probability, seed, numbers, y);
      return y;
    },
    scaleColumns(x, g, divisors, bias) {
      const y = zerosLike(x);
      columns.scaleColumns(x, g.data.product, divisors.data, bias?.data.product ?? null, y);
      return y;
    },
    scaleColumnsBackward(x, g, divisors, dy) {
      const dx = zerosLike(x);
      const gradient = g.data.training?.gradient ?? null;
      columns.scaleColumnsBackward(x, g.data.product, divisors.data, dy.data, dx, gradient);
      return dx;
    },
    rowNorms(x) {
      const out = zeros(x.rows);
      columns.rowNorms(x, out);
      return out;
    },
    tanh(x) {
      const y = zerosLike(x);
      columns.tanh(x.data, y);
      return y;
    },
    tanhBackward(y, dy) {
      const dx = zerosLike(y);
      columns.tanhBackward(y.data, dy.data, dx);
      return dx;
    },
    gatherRows(x, rows) {
      const y = zeros(rows.length * x.columns);
      products.gatherRows(x, rows, y);
      return y;
    },
    gatherRowsBackward(dy, rows, totalRows) {
      const dx = zeros(totalRows * dy.columns);
      products.scatterAddRows(dy, rows, dx);
      return dx;
    },
    copyRows: (source, destination, rows) => products.scatterRows(source, rows, destination.data),

    // ---- losses and training

    crossEntropy(logits, targets, weights, labelSmoothing) {
      const dLogits = zerosLike(logits);
      const loss = zeros(1);
      loss[0] = training.crossEntropy(logits, targets, weights, labelSmoothing, dLogits);
      return { loss, dLogits };
    },
    logProbabilities(logits, rows, tokens) {
      const out = zeros(rows.length);
      training.logProbabilities(logits, rows, tokens, out);
      return out;
    },
    argmax(x) {
      const out = zeros(x.rows);
      training.argmax(x, out);
      return out;
    },
    zeroGradients(weights) {
      for (const w of weights) trainingOf(w).gradient.fill(0);
    },
    gradientNorm(weights) {
      const norm = zeros(1);
      norm[0] = Math.sqrt(weights.reduce((sum, w) => sum + training.sumOfSquares(trainingOf(w).gradient), 0));
      return norm;
    },
    adamW(weights, settings) {
      for (const w of weights) {
        training.adamW({ value: w.data.value, ...trainingOf(w) }, settings);
        setValue(w, w.data, w.data.value);
      }
    },
    muon(weights, settings) {
      for (const w of weights) {
        training.muon({ value: w.data.value, ...trainingOf(w) }, w, settings);
        setValue(w, w.data, w.data.value);
      }
    },
  };
}
