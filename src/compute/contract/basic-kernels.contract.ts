import {
  type AttentionSegment,
  type AttentionSpec,
  dropoutKeeps,
  roundToBfloat16,
  type Tensor,
  type Values,
  type WeightPart,
} from "../backend.ts";
import type { BasicKernels, Operand, WeightOperand } from "../kernels.ts";
import { roundToInt8, roundToNf4 } from "../quantize.ts";
import { ACTIVATION_CODES, toByteCodes, valuesOfCodes, WEIGHT_CODES } from "../quantize-bytes.ts";
import { keySpans, ownKeysSeen } from "../segments.ts";

// A throw-away backend: the basic kernels and nothing else, as one formula per element. It differs from the reference wherever the contract
// leaves a choice: tensors are column-major, and narrow ones are rounded to bfloat16. A new backend can start as a copy of this file.

type X = Operand<Float32Array>;
type W = WeightOperand<Parts>;
type Parts = Record<WeightPart | "product", Float32Array>;

const at = (x: X, row: number, column: number): number => x.data[column * x.rows + row];
const rounded = (wide: boolean) => (wide ? Math.fround : roundToBfloat16);

/** The data of a tensor with these elements. */
function made(rows: number, columns: number, wide: boolean, element: (row: number, column: number) => number) {
  const data = new Float32Array(rows * columns);
  const round = rounded(wide);
  for (let c = 0; c < columns; c++) {
    for (let r = 0; r < rows; r++) data[c * rows + r] = round(element(r, c));
  }
  return data;
}

function sum(count: number, term: (index: number) => number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += term(i);
  return total;
}

/** weight[O,I] += element(o, i), row-major. */
function accumulate(part: Float32Array, columns: number, element: (row: number, column: number) => number): void {
  for (let i = 0; i < part.length; i++) part[i] += element(Math.floor(i / columns), i % columns);
}

function renewProduct({ storage, rows, columns, data }: W): void {
  const { value, product } = data;
  if (rows === 1 || storage === "float32") product.set(value);
  else if (storage === "bfloat16") product.set(value.map(roundToBfloat16));
  else if (storage === "w8a8") product.set(valuesOfCodes(toByteCodes(value, rows, columns, WEIGHT_CODES)));
  else product.set((storage === "int8" ? roundToInt8 : roundToNf4)(value, rows, columns));
}

/** x[T,I], row-major, as a product with this weight reads it. */
function readBy({ storage, rows }: W, x: X): Float32Array {
  const values = basicKernels.read(x) as Float32Array;
  if (storage !== "w8a8" || rows === 1) return values;
  return valuesOfCodes(toByteCodes(values, x.rows, x.columns, ACTIVATION_CODES));
}

const silu = (z: number) => z / (1 + Math.exp(-z));

const factor = (g: W, divisors: X, column: number) =>
  at(divisors, 0, column) > 0 ? g.data.product[column] / at(divisors, 0, column) : 0;

/** 1 / √(mean(x²) + epsilon) of the head that a column belongs to. */
function inverseRms(x: X, row: number, column: number, width: number, epsilon: number): number {
  const start = column - (column % width);
  return 1 / Math.sqrt(sum(width, (d) => at(x, row, start + d) ** 2) / width + epsilon);
}

function logSumExp(x: X, row: number): number {
  const largest = Array.from({ length: x.columns }, (_, c) => at(x, row, c)).reduce((a, b) => Math.max(a, b));
  return largest + Math.log(sum(x.columns, (c) => Math.exp(at(x, row, c) - largest)));
}

/** Every query row and head of every segment, with the key rows it sees and its probabilities over them. */
function* attended(q: X, k: X, segments: readonly AttentionSegment[], spec: AttentionSpec) {
  const { heads, keyValueHeads, headWidth, scale, slopes } = spec;
  for (const segment of segments) {
    const all = keySpans(segment).flatMap(({ start, length, position }) =>
      Array.from({ length }, (_, i) => ({ key: start + i, position: position + i })),
    );
    for (let i = 0; i < segment.length; i++) {
      const seen = all.slice(0, all.length - segment.length + ownKeysSeen(segment, i));
      const row = segment.start + i;
      for (let head = 0; head < heads; head++) {
        const column = head * headWidth;
        const keyColumn = Math.floor((head * keyValueHeads) / heads) * headWidth;
        const scores = seen.map(({ key, position }) => {
          const product = sum(headWidth, (d) => at(q, row, column + d) * at(k, key, keyColumn + d));
          return scale * product - (slopes ? slopes[head] * Math.abs(segment.position + i - position) : 0);
        });
        const largest = scores.reduce((a, b) => Math.max(a, b));
        const logTotal = largest + Math.log(scores.reduce((total, score) => total + Math.exp(score - largest), 0));
        const probabilities = scores.map((score) => Math.exp(score - logTotal));
        yield { row, head, column, keyColumn, keys: seen.map(({ key }) => key), probabilities, logTotal };
      }
    }
  }
}

export const basicKernels: BasicKernels<Float32Array, Parts> = {
  name: "basic",
  description: "formulas of single elements, bfloat16",
  arithmetic: "formulas of single elements, bfloat16",
  precision: "bfloat16",

  tensor: (values, rows, columns, wide) => made(rows, columns, wide, (r, c) => values?.[r * columns + c] ?? 0),
  read: (x) => Float32Array.from(x.data, (_, i) => at(x, Math.floor(i / x.columns), i % x.columns)),
  tensorBytes: ({ rows, columns }) => 4 * rows * columns,
  weight(spec, values) {
    const part = () => new Float32Array(spec.rows * spec.columns);
    const data = { value: part(), product: part(), gradient: part(), moment1: part(), moment2: part() };
    if (values) basicKernels.writeWeight({ ...spec, revision: 0, data }, values, "value");
    return data;
  },
  writeWeight(w, values, part) {
    w.data[part].set(values);
    if (part === "value") renewProduct(w);
  },
  readWeight: (w, part) => w.data[part === "value" && !w.trainable ? "product" : part].slice(),
  weightBytes: ({ rows, columns }) => 5 * 4 * rows * columns,

  embed: (table, ids) =>
    made(ids.length, table.columns, true, (t, c) => table.data.product[ids[t] * table.columns + c]),
  embedBackward(table, ids, dy) {
    for (const [t, id] of ids.entries()) {
      for (let c = 0; c < table.columns; c++) table.data.gradient[id * table.columns + c] += at(dy, t, c);
    }
  },
  matmul({ x, w, scale }, { bias, residual, wide }) {
    const factors = readBy(w, x);
    return made(x.rows, w.rows, wide, (t, o) => {
      const product = sum(w.columns, (i) => factors[t * w.columns + i] * w.data.product[o * w.columns + i]);
      return scale * product + (bias?.data.product[o] ?? 0) + (residual ? at(residual, t, o) : 0);
    });
  },
  matmulBackwardInput({ x: dy, w, scale }, { residual, wide }) {
    return made(dy.rows, w.columns, wide, (t, i) => {
      const product = sum(w.rows, (o) => at(dy, t, o) * w.data.product[o * w.columns + i]);
      return scale * product + (residual ? at(residual, t, i) : 0);
    });
  },
  matmulBackwardWeight: (dy, x, w, scale) =>
    accumulate(w.data.gradient, w.columns, (o, i) => scale * sum(x.rows, (t) => at(dy, t, o) * at(x, t, i))),
  biasBackward: (dy, b) => accumulate(b.data.gradient, b.columns, (_, o) => sum(dy.rows, (t) => at(dy, t, o))),

  rmsNorm: (x, g, epsilon) =>
    made(x.rows, x.columns, false, (t, c) => {
      return at(x, t, c) * inverseRms(x, t, c, g.columns, epsilon) * g.data.product[c % g.columns];
    }),
  rmsNormBackward(x, g, dy, epsilon, residual) {
    const width = g.columns;
    const gain = g.data.product;
    if (g.trainable) {
      for (let t = 0; t < x.rows; t++) {
        for (let c = 0; c < x.columns; c++) {
          g.data.gradient[c % width] += at(dy, t, c) * at(x, t, c) * inverseRms(x, t, c, width, epsilon);
        }
      }
    }
    return made(x.rows, x.columns, true, (t, c) => {
      const inverse = inverseRms(x, t, c, width, epsilon);
      const start = c - (c % width);
      const mean = sum(width, (d) => gain[d] * at(dy, t, start + d) * at(x, t, start + d) * inverse) / width;
      const own = inverse * (gain[c % width] * at(dy, t, c) - at(x, t, c) * inverse * mean);
      return own + (residual ? at(residual, t, c) : 0);
    });
  },
  rotary(x, positions, { headWidth, frequencies, layout }, direction) {
    const pairs = frequencies.length;
    const [distance, sign] = [layout === "halves" ? pairs : 1, direction === "forward" ? 1 : -1];
    return made(x.rows, x.columns, false, (t, c) => {
      const d = c % headWidth;
      if (d >= 2 * pairs) return at(x, t, c);
      const angle = sign * positions[t] * frequencies[layout === "halves" ? d % pairs : Math.floor(d / 2)];
      const isFirst = layout === "halves" ? d < pairs : d % 2 === 0;
      if (isFirst) return at(x, t, c) * Math.cos(angle) - at(x, t, c + distance) * Math.sin(angle);
      return at(x, t, c - distance) * Math.sin(angle) + at(x, t, c) * Math.cos(angle);
    });
  },
  attention({ q, k, v }, segments, spec) {
    const output = new Float64Array(q.rows * q.columns);
    const sums = new Float64Array(q.rows * spec.heads);
    for (const { row, head, column, keyColumn, keys, probabilities, logTotal } of attended(q, k, segments, spec)) {
      sums[row * spec.heads + head] = logTotal;
      for (let d = 0; d < spec.headWidth; d++) {
        output[row * q.columns + column + d] = sum(
          keys.length,
          (j) => probabilities[j] * at(v, keys[j], keyColumn + d),
        );
      }
    }
    return {
      output: basicKernels.tensor(output, q.rows, q.columns, false),
      logSumExp: basicKernels.tensor(sums, q.rows, spec.heads, true),
    };
  },
  attentionBackward({ q, k, v }, dOutput, segments, spec) {
    const [dq, dk, dv] = [q, k, v].map((x) => new Float64Array(x.rows * x.columns));
    for (const { row, column, keyColumn, keys, probabilities } of attended(q, k, segments, spec)) {
      const dProbabilities = keys.map((key) =>
        sum(spec.headWidth, (d) => at(dOutput, row, column + d) * at(v, key, keyColumn + d)),
      );
      const mean = sum(keys.length, (j) => probabilities[j] * dProbabilities[j]);
      for (const [j, key] of keys.entries()) {
        const dScore = probabilities[j] * (dProbabilities[j] - mean) * spec.scale;
        for (let d = 0; d < spec.headWidth; d++) {
          dq[row * q.columns + column + d] += dScore * at(k, key, keyColumn + d);
          dk[key * k.columns + keyColumn + d] += dScore * at(q, row, column + d);
          dv[key * v.columns + keyColumn + d] += probabilities[j] * at(dOutput, row, column + d);
        }
      }
    }
    const narrow = (values: Values, { rows, columns }: Tensor) => basicKernels.tensor(values, rows, columns, false);
    return { dq: narrow(dq, q), dk: narrow(dk, k), dv: narrow(dv, v) };
  },
  swiglu: (gate, up) => made(gate.rows, gate.columns, false, (r, c) => silu(at(gate, r, c)) * at(up, r, c)),
  swigluBackward(gate, up, dh) {
    const { rows, columns } = gate;
    return {
      dGate: made(rows, columns, false, (r, c) => {
        const z = at(gate, r, c);
        const sigmoid = 1 / (1 + Math.exp(-z));
        return at(dh, r, c) * at(up, r, c) * sigmoid * (1 + z * (1 - sigmoid));
      }),
      dUp: made(rows, columns, false, (r, c) => at(dh, r, c) * silu(at(gate, r, c))),
    };
  },
  add: (a, b, scale, wide) => made(a.rows, a.columns, wide, (r, c) => at(a, r, c) + scale * at(b, r, c)),
  dropout: (x, probability, seed, numbers) =>
    made(x.rows, x.columns, x.wide, (r, c) =>
      dropoutKeeps(seed, numbers?.[r] ?? r, c, probability) ? at(x, r, c) / (1 - probability) : 0,
    ),
  scaleColumns: (x, g, divisors, bias) =>
    made(x.rows, x.columns, false, (r, c) => at(x, r, c) * factor(g, divisors, c) + (bias?.data.product[c] ?? 0)),
  scaleColumnsBackward(x, g, divisors, dy) {
    if (g.trainable) {
      const share = (c: number) => (at(divisors, 0, c) > 0 ? 1 / at(divisors, 0, c) : 0);
      accumulate(g.data.gradient, g.columns, (_, c) => share(c) * sum(x.rows, (t) => at(dy, t, c) * at(x, t, c)));
    }
    return made(x.rows, x.columns, false, (r, c) => at(dy, r, c) * factor(g, divisors, c));
  },
  rowNorms: (x) => made(1, x.rows, true, (_, t) => Math.sqrt(sum(x.columns, (c) => at(x, t, c) ** 2))),
  tanh: (x) => made(x.rows, x.columns, false, (r, c) => Math.tanh(at(x, r, c))),
  tanhBackward: (y, dy) => made(y.rows, y.columns, false, (r, c) => at(dy, r, c) * (1 - at(y, r, c) ** 2)),
  gatherRows: (x, rows) => made(rows.length, x.columns, x.wide, (i, c) => at(x, rows[i], c)),
  gatherRowsBackward: (dy, rows, totalRows) =>
    made(totalRows, dy.columns, dy.wide, (r, c) => sum(rows.length, (i) => (rows[i] === r ? at(dy, i, c) : 0))),
  copyRows(source, destination, rows) {
    for (let c = 0; c < source.columns; c++) {
      for (const [i, row] of rows.entries()) {
        destination.data[c * destination.rows + row] = rounded(destination.wide)(at(source, i, c));
      }
    }
  },

  crossEntropy(logits, targets, weights, labelSmoothing) {
    const { rows, columns } = logits;
    const normalisers = Array.from({ length: rows }, (_, t) => logSumExp(logits, t));
    const target = (t: number, c: number) => labelSmoothing / columns + (c === targets[t] ? 1 - labelSmoothing : 0);
    const logProbability = (t: number, c: number) => at(logits, t, c) - normalisers[t];
    const lossOf = (t: number) => -weights[t] * sum(columns, (c) => target(t, c) * logProbability(t, c));
    return {
      loss: made(1, 1, true, () => sum(rows, lossOf)),
      dLogits: made(rows, columns, false, (t, c) => weights[t] * (Math.exp(logProbability(t, c)) - target(t, c))),
    };
  },
  logProbabilities: (logits, rows, tokens) =>
    made(1, rows.length, true, (_, n) => at(logits, rows[n], tokens[n]) - logSumExp(logits, rows[n])),
  argmax: (x) =>
    made(x.rows, 1, true, (r) => {
      let best = 0;
      for (let c = 1; c < x.columns; c++) if (at(x, r, c) > at(x, r, best)) best = c;
      return best;
    }),
  zeroGradients(weights) {
    for (const { data } of weights) data.gradient.fill(0);
  },
  gradientNorm: (weights) =>
    made(1, 1, true, () => {
      const squares = ({ data }: W) => sum(data.gradient.length, (i) => data.gradient[i] ** 2);
      return Math.sqrt(weights.reduce((total, w) => total + squares(w), 0));
    }),
  adamW(weights, { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale }) {
    for (const w of weights) {
      const { value, gradient, moment1, moment2 } = w.data;
      for (let i = 0; i < value.length; i++) {
        const g = gradient[i] * gradientScale;
        moment1[i] = beta1 * moment1[i] + (1 - beta1) * g;
        moment2[i] = beta2 * moment2[i] + (1 - beta2) * g * g;
        const direction = moment1[i] / (1 - beta1 ** step) / (Math.sqrt(moment2[i] / (1 - beta2 ** step)) + epsilon);
        value[i] -= learningRate * (direction + weightDecay * value[i]);
      }
      renewProduct(w);
    }
  },
};
