import type {
  AdamWSettings,
  AttentionSegment,
  AttentionSpec,
  GatedOptions,
  MatmulOptions,
  ProductTerm,
  RotarySpec,
  RotaryTurn,
  Weight,
  WeightPart,
  WeightSpec,
} from "./backend.ts";

// The argument checks that every backend shares. Each throws an Error that names the operation, what it got and what fits.

/** Anything with the shape [rows, columns]: a tensor or a weight. */
export interface Shaped {
  readonly rows: number;
  readonly columns: number;
}

// Rows, columns and element numbers stay below 2^31, so that kernels can use 32-bit indices.
const maxElements = 2 ** 31 - 1;

const shapeOf = (x: Shaped) => `[${x.rows},${x.columns}]`;

function expectShape(operation: string, name: string, x: Shaped, rows: number, columns: number, why: string): void {
  if (x.rows !== rows || x.columns !== columns) {
    throw new Error(`${operation}: ${name} is ${shapeOf(x)}, expected [${rows},${columns}] (${why}).`);
  }
}

function expectColumns(operation: string, name: string, x: Shaped, columns: number, why: string): void {
  if (x.columns !== columns) {
    throw new Error(`${operation}: ${name} is ${shapeOf(x)}, expected ${columns} columns (${why}).`);
  }
}

function expectNumber(operation: string, name: string, value: number, fits: boolean, expected: string): void {
  if (!fits) throw new Error(`${operation}: ${name} is ${value}, expected ${expected}.`);
}

/** Whole numbers in [0, bound); at least one. */
export function checkIds(operation: string, name: string, ids: Int32Array, bound: number): void {
  if (!(ids instanceof Int32Array)) throw new Error(`${operation}: ${name} is not an Int32Array.`);
  if (ids.length === 0) throw new Error(`${operation}: ${name} is empty, expected at least one.`);
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] < 0 || ids[i] >= bound) {
      throw new Error(`${operation}: ${name}[${i}] is ${ids[i]}, expected a number from 0 to ${bound - 1}.`);
    }
  }
}

/** A shape that can be made: positive whole numbers, fewer than 2^31 elements. */
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

/** Frozen weights have no part but their value. */
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

function checkScale(operation: string, scale: number | undefined): void {
  if (scale !== undefined) expectNumber(operation, "scale", scale, Number.isFinite(scale), "a finite number");
}

const MOST_PLUS = 15;

/** Terms x[T,·] whose weights have `width` of `output`, and as many of `input` as their x has columns. */
function checkPlus(
  operation: string,
  rows: number,
  width: number,
  plus: readonly ProductTerm[] | undefined,
  output: "rows" | "columns",
  input: "rows" | "columns",
): void {
  for (const [i, { x, w, scale }] of (plus ?? []).entries()) {
    const name = `plus[${i}]`;
    if (i === MOST_PLUS)
      throw new Error(`${operation}: ${plus?.length} further products, expected at most ${MOST_PLUS}.`);
    expectShape(operation, `${name}.x`, x, rows, w[input], `its w "${w.name}" is ${shapeOf(w)}`);
    checkScale(operation, scale);
    if (w[output] === width) continue;
    throw new Error(
      `${operation}: ${name}.w "${w.name}" is ${shapeOf(w)}, expected ${width} ${output} as the first product.`,
    );
  }
}

export function checkMatmul(x: Shaped, w: Weight, options: MatmulOptions = {}): void {
  expectColumns("matmul", "x", x, w.columns, `w "${w.name}" is ${shapeOf(w)}`);
  checkScale("matmul", options.scale);
  checkPlus("matmul", x.rows, w.rows, options.plus, "rows", "columns");
  if (options.bias) expectShape("matmul", "bias", options.bias, 1, w.rows, `w "${w.name}" is ${shapeOf(w)}`);
  if (options.residual) {
    expectShape("matmul", "residual", options.residual, x.rows, w.rows, `x ${shapeOf(x)}, w ${shapeOf(w)}`);
  }
  if (options.rotary) {
    if (options.residual) throw new Error("matmul: a residual is given beside rotary, expected one of them.");
    checkRotary({ rows: x.rows, columns: w.rows }, options.rotary.positions, options.rotary, "matmul");
  }
}

export function checkMatmulBackwardInput(dy: Shaped, w: Weight, options: MatmulOptions = {}): void {
  const operation = "matmulBackwardInput";
  expectColumns(operation, "dy", dy, w.rows, `w "${w.name}" is ${shapeOf(w)}`);
  checkScale(operation, options.scale);
  checkPlus(operation, dy.rows, w.columns, options.plus, "columns", "rows");
  if (options.bias) throw new Error(`${operation}: a bias is given, expected none (it has no part in dx).`);
  if (options.rotary) throw new Error(`${operation}: rotary is given, expected none (dx does not turn).`);
  if (options.residual) {
    expectShape(operation, "residual", options.residual, dy.rows, w.columns, `dy ${shapeOf(dy)}, w ${shapeOf(w)}`);
  }
}

export function checkMatmulSwiglu(gate: Shaped, x: Shaped, w: Weight, options: GatedOptions): void {
  checkMatmul(x, w, options);
  expectShape("matmulSwiglu", "gate", gate, x.rows, w.rows, `x ${shapeOf(x)}, w ${shapeOf(w)}`);
}

export function checkMatmulBackwardSwiglu(
  gate: Shaped,
  up: Shaped,
  dy: Shaped,
  w: Weight,
  options: GatedOptions,
): void {
  const operation = "matmulBackwardSwiglu";
  checkMatmulBackwardInput(dy, w, options);
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

function checkRotatedWidth(operation: string, { frequencies }: RotaryTurn, headWidth: number): void {
  const width = 2 * frequencies.length;
  expectNumber(operation, "the rotated width", width, width <= headWidth, `at most ${headWidth}`);
}

function checkAttentionShapes(operation: string, q: Shaped, k: Shaped, v: Shaped, spec: AttentionSpec): void {
  const { heads, keyValueHeads, headWidth, slopes } = spec;
  for (const [name, value] of Object.entries({ heads, keyValueHeads, headWidth })) {
    expectNumber(operation, name, value, Number.isInteger(value) && value > 0, "a positive whole number");
  }
  expectNumber(operation, "keyValueHeads", keyValueHeads, heads % keyValueHeads === 0, `a divisor of ${heads} heads`);
  checkScale(operation, spec.scale);
  expectColumns(operation, "q", q, heads * headWidth, `${heads} heads of width ${headWidth}`);
  expectColumns(operation, "k", k, keyValueHeads * headWidth, `${keyValueHeads} key heads of width ${headWidth}`);
  expectShape(operation, "v", v, k.rows, k.columns, "as k");
  if (slopes && slopes.length !== heads) {
    throw new Error(`${operation}: ${slopes.length} slopes, expected one for each of ${heads} heads.`);
  }
}

function checkRun(operation: string, name: string, start: number, length: number, minimum: number, rows: number): void {
  const fits = Number.isInteger(start) && Number.isInteger(length) && start >= 0 && length >= minimum;
  if (!fits || start + length > rows) {
    throw new Error(
      `${operation}: ${name} has start ${start} and length ${length}, expected at least ${minimum} row inside ${rows} rows.`,
    );
  }
}

/** Segments lie inside q and k, have at least one row each, and no two of them share a query row. */
export function checkAttention(
  q: Shaped,
  k: Shaped,
  v: Shaped,
  segments: readonly AttentionSegment[],
  spec: AttentionSpec,
  operation = "attention",
): void {
  checkAttentionShapes(operation, q, k, v, spec);
  if (spec.rotary) checkRotatedWidth(operation, spec.rotary, spec.headWidth);
  const taken = new Uint8Array(q.rows);
  segments.forEach((segment, s) => {
    checkRun(operation, `segment ${s}`, segment.start, segment.length, 1, q.rows);
    checkRun(operation, `the keys of segment ${s}`, segment.keyStart, segment.length, 1, k.rows);
    expectNumber(operation, `position of segment ${s}`, segment.position, isPosition(segment.position), wholeNumber);
    segment.context.forEach((span, c) => {
      checkRun(operation, `context span ${c} of segment ${s}`, span.start, span.length, 0, k.rows);
      expectNumber(operation, `position of context span ${c}`, span.position, isPosition(span.position), wholeNumber);
    });
    for (let row = segment.start; row < segment.start + segment.length; row++) {
      if (taken[row]) throw new Error(`${operation}: query row ${row} is in two segments, expected one at most.`);
      taken[row] = 1;
    }
  });
}

function checkKeyPositions(operation: string, k: Shaped, segments: readonly AttentionSegment[]): void {
  const positions = new Float64Array(k.rows).fill(Number.NaN);
  for (const { length, keyStart, position, context } of segments) {
    for (const span of [...context, { start: keyStart, length, position }]) {
      for (let i = 0; i < span.length; i++) {
        const [before, here] = [positions[span.start + i], span.position + i];
        if (before !== here && !Number.isNaN(before)) {
          throw new Error(`${operation}: key row ${span.start + i} has positions ${before} and ${here}, expected one.`);
        }
        positions[span.start + i] = here;
      }
    }
  }
}
const wholeNumber = "a whole number";
const isPosition = (position: number) => Number.isInteger(position) && Math.abs(position) <= 2 ** 30;

export function checkAttentionBackward(
  forward: { q: Shaped; k: Shaped; v: Shaped; output: Shaped; logSumExp: Shaped },
  dOutput: Shaped,
  segments: readonly AttentionSegment[],
  spec: AttentionSpec,
): void {
  const operation = "attentionBackward";
  const { q, k, v, output, logSumExp } = forward;
  checkAttention(q, k, v, segments, spec, operation);
  if (spec.rotary) checkKeyPositions(operation, k, segments);
  expectShape(operation, "output", output, q.rows, q.columns, "as q");
  expectShape(operation, "dOutput", dOutput, q.rows, q.columns, "as q");
  expectShape(operation, "logSumExp", logSumExp, q.rows, spec.heads, `q ${shapeOf(q)}, ${spec.heads} heads`);
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

export function checkDropout(probability: number, seed: number): void {
  expectNumber("dropout", "probability", probability, probability >= 0 && probability < 1, "a number in [0, 1)");
  expectNumber("dropout", "seed", seed, Number.isInteger(seed), wholeNumber);
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
    throw new Error(`logProbabilities: ${rows.length} rows and ${tokens.length} tokens, expected as many of each.`);
  }
}

export function checkAdamW(weights: readonly Weight[], settings: AdamWSettings): void {
  for (const weight of weights) checkTrainable("adamW", weight);
  for (const [name, value] of Object.entries(settings)) {
    expectNumber("adamW", name, value, Number.isFinite(value) && value >= 0, "a number from 0 on");
  }
  const { beta1, beta2, step } = settings;
  expectNumber("adamW", "beta1", beta1, beta1 < 1, "less than 1");
  expectNumber("adamW", "beta2", beta2, beta2 < 1, "less than 1");
  expectNumber("adamW", "step", step, Number.isInteger(step) && step >= 1, "a whole number from 1 on");
}
