import type {
  AdamWSettings,
  GatedOptions,
  KernelPolicy,
  MatmulOptions,
  MuonSettings,
  ProductTerm,
  RotarySpec,
  Rotation,
  Weight,
  WeightPart,
  WeightSpec,
} from "./backend.ts";

// The argument checks of the shell (shell.ts). Each throws an Error that names the operation, the value it got and the value it expected.

/** Anything with the shape [rows, columns]: a tensor or a weight. */
export interface Shaped {
  readonly rows: number;
  readonly columns: number;
}

// Kernels may use 32-bit indices: rows, columns and their product stay below 2^31.
const maxElements = 2 ** 31 - 1;

export const shapeOf = (x: Shaped) => `[${x.rows},${x.columns}]`;

export function expectShape(
  operation: string,
  name: string,
  x: Shaped,
  rows: number,
  columns: number,
  why: string,
): void {
  if (x.rows !== rows || x.columns !== columns) {
    throw new Error(`${operation}: ${name} is ${shapeOf(x)}, expected [${rows},${columns}] (${why}).`);
  }
}

export function expectColumns(operation: string, name: string, x: Shaped, columns: number, why: string): void {
  if (x.columns !== columns) {
    throw new Error(`${operation}: ${name} is ${shapeOf(x)}, expected ${columns} columns (${why}).`);
  }
}

export function expectNumber(operation: string, name: string, value: number, fits: boolean, expected: string): void {
  if (!fits) throw new Error(`${operation}: ${name} is ${value}, expected ${expected}.`);
}

/** At least one whole number, all in [0, bound). */
export function checkIds(operation: string, name: string, ids: Int32Array, bound: number): void {
  if (!(ids instanceof Int32Array)) throw new Error(`${operation}: ${name} is not an Int32Array.`);
  if (ids.length === 0) throw new Error(`${operation}: ${name} is empty, expected at least one.`);
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] < 0 || ids[i] >= bound) {
      throw new Error(`${operation}: ${name}[${i}] is ${ids[i]}, expected a number from 0 to ${bound - 1}.`);
    }
  }
}

/** Positive whole numbers, fewer than 2^31 elements. */
export function checkShape(operation: string, rows: number, columns: number): void {
  const fits = Number.isInteger(rows) && Number.isInteger(columns) && rows > 0 && columns > 0;
  if (!fits || rows * columns > maxElements) {
    throw new Error(
      `${operation}: the shape is [${rows},${columns}], expected positive whole numbers and fewer than 2^31 elements.`,
    );
  }
}

export function checkValues(operation: string, values: ArrayLike<number>, rows: number, columns: number): void {
  if (values.length !== rows * columns) {
    throw new Error(
      `${operation}: ${values.length} values do not fill [${rows},${columns}], expected ${rows * columns}.`,
    );
  }
}

export function checkWeightSpec(spec: WeightSpec, values?: ArrayLike<number>): void {
  const operation = `weight "${spec.name}"`;
  checkShape(operation, spec.rows, spec.columns);
  if (spec.trainable && spec.storage !== "float32" && spec.storage !== "bfloat16") {
    throw new Error(
      `${operation}: a trainable weight cannot be kept as ${spec.storage}, expected float32 or bfloat16.`,
    );
  }
  if (values) checkValues(operation, values, spec.rows, spec.columns);
}

/** A frozen weight has only its value. */
export function checkWeightPart(operation: string, weight: Weight, part: WeightPart): void {
  if (part !== "value") checkTrainable(operation, weight);
}

export function checkTrainable(operation: string, weight: Weight): void {
  if (!weight.trainable) {
    throw new Error(`${operation}: weight "${weight.name}" is frozen, expected a trainable weight.`);
  }
}

export function checkEmbed(table: Weight, ids: Int32Array): void {
  checkIds("embed", "ids", ids, table.rows);
}

export function checkEmbedBackward(table: Weight, ids: Int32Array, dy: Shaped): void {
  checkTrainable("embedBackward", table);
  checkIds("embedBackward", "ids", ids, table.rows);
  expectShape("embedBackward", "dy", dy, ids.length, table.columns, `table ${shapeOf(table)}, ${ids.length} ids`);
}

export function checkScale(operation: string, scale: number | undefined): void {
  if (scale !== undefined) expectNumber(operation, "scale", scale, Number.isFinite(scale), "a finite number");
}

/** Further products [rows, width]: the side `output` of their weights is `width`, the side `input` fits their x. */
function checkPlus(
  operation: string,
  rows: number,
  width: number,
  plus: readonly ProductTerm[] = [],
  { sumTerms }: KernelPolicy,
  output: "rows" | "columns",
  input: "rows" | "columns",
): void {
  if (plus.length >= sumTerms) {
    throw new Error(`${operation}: ${plus.length} further products, expected at most ${sumTerms - 1}.`);
  }
  for (const [i, { x, w, scale }] of plus.entries()) {
    const name = `plus[${i}]`;
    expectShape(operation, `${name}.x`, x, rows, w[input], `its w "${w.name}" is ${shapeOf(w)}`);
    checkScale(operation, scale);
    if (w[output] === width) continue;
    throw new Error(
      `${operation}: ${name}.w "${w.name}" is ${shapeOf(w)}, expected ${width} ${output} like the first product.`,
    );
  }
}

export function checkMatmul(
  x: Shaped,
  w: Weight,
  options: MatmulOptions,
  policy: KernelPolicy,
  operation = "matmul",
): void {
  expectColumns(operation, "x", x, w.columns, `w "${w.name}" is ${shapeOf(w)}`);
  checkScale(operation, options.scale);
  checkPlus(operation, x.rows, w.rows, options.plus, policy, "rows", "columns");
  if (options.bias) expectShape(operation, "bias", options.bias, 1, w.rows, `w "${w.name}" is ${shapeOf(w)}`);
  if (options.residual) {
    expectShape(operation, "residual", options.residual, x.rows, w.rows, `x ${shapeOf(x)}, w ${shapeOf(w)}`);
  }
  if (options.rotary) {
    if (options.residual) throw new Error(`${operation}: residual and rotary are given, expected one of them.`);
    checkRotary({ rows: x.rows, columns: w.rows }, options.rotary.positions, options.rotary, operation);
  }
}

export function checkMatmulBackwardInput(
  dy: Shaped,
  w: Weight,
  options: MatmulOptions,
  policy: KernelPolicy,
  operation = "matmulBackwardInput",
): void {
  for (const { name, storage, rows } of [w, ...(options.plus ?? []).map((term) => term.w)]) {
    if (storage !== "w8a8" || rows === 1) continue;
    throw new Error(`${operation}: weight "${name}" is kept as w8a8, expected a storage with products backward.`);
  }
  expectColumns(operation, "dy", dy, w.rows, `w "${w.name}" is ${shapeOf(w)}`);
  checkScale(operation, options.scale);
  checkPlus(operation, dy.rows, w.columns, options.plus, policy, "columns", "rows");
  if (options.bias) throw new Error(`${operation}: a bias is given, expected none (dx does not depend on it).`);
  if (options.rotary) throw new Error(`${operation}: rotary is given, expected none (dx is not rotated).`);
  if (options.residual) {
    expectShape(operation, "residual", options.residual, dy.rows, w.columns, `dy ${shapeOf(dy)}, w ${shapeOf(w)}`);
  }
}

export function checkMatmulSwiglu(
  gate: Shaped,
  x: Shaped,
  w: Weight,
  options: GatedOptions,
  policy: KernelPolicy,
): void {
  checkMatmul(x, w, options, policy, "matmulSwiglu");
  expectShape("matmulSwiglu", "gate", gate, x.rows, w.rows, `x ${shapeOf(x)}, w ${shapeOf(w)}`);
}

export function checkMatmulBackwardSwiglu(
  gate: Shaped,
  up: Shaped,
  dy: Shaped,
  w: Weight,
  options: GatedOptions,
  policy: KernelPolicy,
): void {
  const operation = "matmulBackwardSwiglu";
  checkMatmulBackwardInput(dy, w, options, policy, operation);
  expectShape(operation, "gate", gate, dy.rows, w.columns, `dy ${shapeOf(dy)}, w ${shapeOf(w)}`);
  expectShape(operation, "up", up, dy.rows, w.columns, `dy ${shapeOf(dy)}, w ${shapeOf(w)}`);
}

export function checkMatmulBackwardWeight(
  dy: Shaped,
  x: Shaped,
  w: Weight,
  scale?: number,
  operation = "matmulBackwardWeight",
): void {
  checkTrainable(operation, w);
  checkScale(operation, scale);
  expectColumns(operation, "x", x, w.columns, `w "${w.name}" is ${shapeOf(w)}`);
  expectShape(operation, "dy", dy, x.rows, w.rows, `x ${shapeOf(x)}, w ${shapeOf(w)}`);
}

export function checkBiasBackward(dy: Shaped, b: Weight): void {
  checkTrainable("biasBackward", b);
  expectShape("biasBackward", "b", b, 1, dy.columns, `dy ${shapeOf(dy)}`);
}

export function checkRmsNorm(x: Shaped, g: Weight, epsilon: number, operation = "rmsNorm"): void {
  const isForHeads = g.rows === 1 && x.columns % g.columns === 0;
  if (!isForHeads) expectShape(operation, "g", g, 1, x.columns, `x ${shapeOf(x)}`);
  expectNumber(operation, "epsilon", epsilon, Number.isFinite(epsilon) && epsilon >= 0, "a number from 0 on");
}

export function checkRmsNormBackward(
  x: Shaped,
  g: Weight,
  dy: Shaped,
  epsilon: number,
  residual?: Shaped | null,
): void {
  checkRmsNorm(x, g, epsilon, "rmsNormBackward");
  expectShape("rmsNormBackward", "dy", dy, x.rows, x.columns, "as x");
  if (residual) expectShape("rmsNormBackward", "residual", residual, x.rows, x.columns, "as x");
}

export function checkRotary(x: Shaped, positions: Int32Array, spec: RotarySpec, operation = "rotary"): void {
  const what = operation === "rotary" ? "x" : "the result";
  expectColumns(operation, what, x, spec.heads * spec.headWidth, `${spec.heads} heads of width ${spec.headWidth}`);
  if (!(positions instanceof Int32Array) || positions.length !== x.rows) {
    throw new Error(
      `${operation}: ${positions.length} positions for ${what} ${shapeOf(x)}, expected an Int32Array of ${x.rows}.`,
    );
  }
  checkRotatedWidth(operation, spec, spec.headWidth);
}

export function checkRotatedWidth(operation: string, { frequencies }: Rotation, headWidth: number): void {
  const width = 2 * frequencies.length;
  expectNumber(operation, "the rotated width", width, width <= headWidth, `at most ${headWidth}`);
}

export function checkSwiglu(gate: Shaped, up: Shaped): void {
  expectShape("swiglu", "up", up, gate.rows, gate.columns, "as gate");
}

export function checkSwigluBackward(gate: Shaped, up: Shaped, dh: Shaped): void {
  expectShape("swigluBackward", "up", up, gate.rows, gate.columns, "as gate");
  expectShape("swigluBackward", "dh", dh, gate.rows, gate.columns, "as gate");
}

export function checkAdd(a: Shaped, b: Shaped, scale?: number): void {
  expectShape("add", "b", b, a.rows, a.columns, "as a");
  checkScale("add", scale);
}

export function checkDropout(x: Shaped, probability: number, seed: number, numbers: Int32Array | null): void {
  expectNumber("dropout", "probability", probability, probability >= 0 && probability < 1, "a number in [0, 1)");
  expectNumber("dropout", "seed", seed, Number.isInteger(seed), "a whole number");
  if (numbers === null) return;
  const fits = numbers instanceof Int32Array && numbers.length === x.rows;
  expectNumber("dropout", "numbers.length", numbers.length, fits, `an Int32Array of ${x.rows}`);
}

export function checkGatherRows(x: Shaped, rows: Int32Array): void {
  checkIds("gatherRows", "rows", rows, x.rows);
}

export function checkGatherRowsBackward(dy: Shaped, rows: Int32Array, totalRows: number): void {
  checkShape("gatherRowsBackward", totalRows, dy.columns);
  checkIds("gatherRowsBackward", "rows", rows, totalRows);
  expectShape("gatherRowsBackward", "dy", dy, rows.length, dy.columns, `${rows.length} rows named`);
}

export function checkCopyRows(source: Shaped, destination: Shaped, rows: Int32Array): void {
  checkIds("copyRows", "rows", rows, destination.rows);
  const why = `${rows.length} rows named, destination ${shapeOf(destination)}`;
  expectShape("copyRows", "source", source, rows.length, destination.columns, why);
}

export function checkCrossEntropy(
  logits: Shaped,
  targets: Int32Array,
  weights: Float32Array,
  labelSmoothing: number,
): void {
  checkIds("crossEntropy", "targets", targets, logits.columns);
  if (targets.length !== logits.rows || weights.length !== logits.rows) {
    throw new Error(
      `crossEntropy: ${targets.length} targets and ${weights.length} weights for logits ${shapeOf(logits)}, expected ${logits.rows} of each.`,
    );
  }
  const fits = labelSmoothing >= 0 && labelSmoothing < 1;
  expectNumber("crossEntropy", "labelSmoothing", labelSmoothing, fits, "a number in [0, 1)");
}

export function checkLogProbabilities(logits: Shaped, rows: Int32Array, tokens: Int32Array): void {
  checkIds("logProbabilities", "rows", rows, logits.rows);
  checkIds("logProbabilities", "tokens", tokens, logits.columns);
  if (rows.length !== tokens.length) {
    throw new Error(`logProbabilities: ${rows.length} rows and ${tokens.length} tokens, expected equal numbers.`);
  }
}

export function checkAdamW(settings: AdamWSettings): void {
  for (const [name, value] of Object.entries(settings)) {
    expectNumber("adamW", name, value, Number.isFinite(value) && value >= 0, "a number from 0 on");
  }
  const { beta1, beta2, step } = settings;
  expectNumber("adamW", "beta1", beta1, beta1 < 1, "less than 1");
  expectNumber("adamW", "beta2", beta2, beta2 < 1, "less than 1");
  expectNumber("adamW", "step", step, Number.isInteger(step) && step >= 1, "a whole number from 1 on");
}

export function checkMuon(weights: readonly Weight[], settings: MuonSettings): void {
  for (const [name, value] of Object.entries(settings)) {
    expectNumber("muon", name, value, Number.isFinite(value) && value >= 0, "a number from 0 on");
  }
  expectNumber("muon", "momentum", settings.momentum, settings.momentum < 1, "less than 1");
  for (const weight of weights) {
    if (weight.rows > 1 && weight.columns > 1) continue;
    throw new Error(`muon: weight "${weight.name}" is ${shapeOf(weight)}, expected a matrix of at least [2,2].`);
  }
}
