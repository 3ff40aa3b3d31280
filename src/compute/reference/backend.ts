import type {
  AdamWSettings,
  AttentionSegment,
  AttentionSpec,
  Backend,
  GatedOptions,
  MatmulOptions,
  MemoryUse,
  ProductTerm,
  RawMatrix,
  RotarySpec,
  SwigluGradients,
  Tensor,
  Values,
  Weight,
  WeightPart,
  WeightSpec,
} from "../backend.ts";
import * as check from "../check.ts";
import { valuesOfRuns } from "../raw-matrix.ts";
import * as attentions from "./attention.ts";
import { ReferenceMemory, setValue, trainingOf } from "./memory.ts";
import * as products from "./products.ts";
import * as rowwise from "./rows.ts";
import * as training from "./training.ts";

/**
 * Opens the reference backend: every operation as the obvious loop, computed in float64 and stored in `precision`. It is the judge of the
 * other backends, and what runs where no addon could be built.
 */
export function openReference(options: { precision?: "float32" | "float64" } = {}): Backend {
  return new ReferenceBackend(options.precision ?? "float32");
}

class ReferenceBackend implements Backend {
  readonly name = "reference";
  readonly description: string;
  readonly precision: "float32" | "float64";
  readonly #memory: ReferenceMemory;

  constructor(precision: "float32" | "float64") {
    this.precision = precision;
    this.#memory = new ReferenceMemory(precision);
    this.description = `plain TypeScript, 1 thread, ${precision}`;
  }

  // ---- tensors

  tensor(values: ArrayLike<number>, rows: number, columns: number, options?: { wide?: boolean }): Tensor {
    check.checkShape("tensor", rows, columns);
    check.checkValues("tensor", values, rows, columns);
    const made = this.#memory.make(rows, columns, options?.wide ?? false);
    made.values.set(values);
    return made;
  }

  zeros(rows: number, columns: number, options?: { wide?: boolean }): Tensor {
    check.checkShape("zeros", rows, columns);
    return this.#memory.make(rows, columns, options?.wide ?? false);
  }

  async read(tensor: Tensor): Promise<Values> {
    return this.#memory.use("read", tensor).values.slice();
  }

  free(tensor: Tensor): void {
    this.#memory.free(tensor);
  }

  // ---- weights

  weight(spec: WeightSpec, values?: ArrayLike<number>): Weight {
    return this.#memory.makeWeight(spec, values);
  }

  async weightFromRuns(spec: WeightSpec, matrix: RawMatrix): Promise<Weight> {
    return this.#memory.makeWeight(spec, await valuesOfRuns(spec, matrix));
  }

  writeWeight(weight: Weight, values: ArrayLike<number>, part: WeightPart = "value"): void {
    this.#memory.writeWeight(weight, values, part);
  }

  async readWeight(weight: Weight, part: WeightPart = "value"): Promise<Values> {
    return this.#memory.readWeight(weight, part);
  }

  freeWeight(weight: Weight): void {
    this.#memory.freeWeight(weight);
  }

  // ---- operations

  embed(table: Weight, ids: Int32Array): Tensor {
    const own = this.#memory.useWeight("embed", table);
    check.checkEmbed(table, ids);
    const y = this.#memory.make(ids.length, table.columns, true);
    products.gatherRows(own.product, ids, y.values);
    return y;
  }

  embedBackward(table: Weight, ids: Int32Array, dy: Tensor): void {
    const own = this.#memory.useWeight("embedBackward", table);
    const dyOwn = this.#memory.use("embedBackward", dy);
    check.checkEmbedBackward(table, ids, dy);
    products.scatterAddRows(dyOwn, ids, trainingOf("embedBackward", own).gradient);
  }

  matmul(x: Tensor, w: Weight, options: MatmulOptions = {}): Tensor {
    const xOwn = this.#memory.use("matmul", x);
    const wOwn = this.#memory.useWeight("matmul", w);
    const bias = options.bias ? this.#memory.useWeight("matmul", options.bias).product.values : null;
    const residual = options.residual ? this.#memory.use("matmul", options.residual).values : null;
    check.checkMatmul(x, w, options);
    const y = this.#memory.make(x.rows, w.rows, options.wide ?? false);
    const added = this.#sumOf("matmul", options.plus ?? [], residual, y);
    products.matmul(xOwn, wOwn.product, { scale: options.scale ?? 1, bias, residual: added }, y);
    if (options.rotary) {
      const before = { ...y, values: y.values.slice() };
      rowwise.rotary(before, options.rotary.positions, options.rotary, 1, y.values);
    }
    return y;
  }

  matmulBackwardInput(dy: Tensor, w: Weight, options: MatmulOptions = {}): Tensor {
    const dyOwn = this.#memory.use("matmulBackwardInput", dy);
    const wOwn = this.#memory.useWeight("matmulBackwardInput", w);
    const residual = options.residual ? this.#memory.use("matmulBackwardInput", options.residual).values : null;
    check.checkMatmulBackwardInput(dy, w, options);
    const dx = this.#memory.make(dy.rows, w.columns, options.wide ?? false);
    const added = this.#sumOf("matmulBackwardInput", options.plus ?? [], residual, dx);
    products.matmulBackwardInput(dyOwn, wOwn.product, { scale: options.scale ?? 1, residual: added }, dx);
    return dx;
  }

  matmulSwiglu(gate: Tensor, x: Tensor, w: Weight, options: GatedOptions = {}): { up: Tensor; h: Tensor } {
    check.checkMatmulSwiglu(gate, x, w, options);
    const up = this.matmul(x, w, options);
    return { up, h: this.swiglu(gate, up) };
  }

  matmulBackwardSwiglu(gate: Tensor, up: Tensor, dy: Tensor, w: Weight, options: GatedOptions = {}): SwigluGradients {
    check.checkMatmulBackwardSwiglu(gate, up, dy, w, options);
    const dh = this.matmulBackwardInput(dy, w, options);
    const gradients = this.swigluBackward(gate, up, dh);
    this.free(dh);
    return gradients;
  }

  /** start + the products `plus`, of the shape of `like`, not rounded. */
  #sumOf(
    operation: "matmul" | "matmulBackwardInput",
    plus: readonly ProductTerm[],
    start: Values | null,
    { rows, columns }: Tensor,
  ): Values | null {
    let residual = start;
    for (const { x, w, scale = 1 } of plus) {
      const values = new Float64Array(rows * columns);
      const xOwn = this.#memory.use(operation, x);
      const { product } = this.#memory.useWeight(operation, w);
      const sums = { rows, columns, values };
      if (operation === "matmul") products.matmul(xOwn, product, { scale, bias: null, residual }, sums);
      else products.matmulBackwardInput(xOwn, product, { scale, residual }, sums);
      residual = values;
    }
    return residual;
  }

  matmulBackwardWeight(dy: Tensor, x: Tensor, w: Weight, scale = 1): void {
    const dyOwn = this.#memory.use("matmulBackwardWeight", dy);
    const xOwn = this.#memory.use("matmulBackwardWeight", x);
    const wOwn = this.#memory.useWeight("matmulBackwardWeight", w);
    check.checkMatmulBackwardWeight(dy, x, w, scale);
    products.matmulBackwardWeight(dyOwn, xOwn, scale, trainingOf("matmulBackwardWeight", wOwn).gradient);
  }

  matmulBackward(dy: Tensor, x: Tensor, w: Weight, scale = 1): Tensor {
    this.matmulBackwardWeight(dy, x, w, scale);
    return this.matmulBackwardInput(dy, w, { scale, wide: true });
  }

  biasBackward(dy: Tensor, b: Weight): void {
    const dyOwn = this.#memory.use("biasBackward", dy);
    const bOwn = this.#memory.useWeight("biasBackward", b);
    check.checkBiasBackward(dy, b);
    products.biasBackward(dyOwn, trainingOf("biasBackward", bOwn).gradient);
  }

  rmsNorm(x: Tensor, g: Weight, epsilon: number): Tensor {
    const xOwn = this.#memory.use("rmsNorm", x);
    const gOwn = this.#memory.useWeight("rmsNorm", g);
    check.checkRmsNorm(x, g, epsilon);
    const y = this.#memory.make(x.rows, x.columns, false);
    rowwise.rmsNorm(rowwise.headsAsRows(xOwn, g.columns), gOwn.product.values, epsilon, y.values);
    return y;
  }

  rmsNormBackward(x: Tensor, g: Weight, dy: Tensor, epsilon: number, residual?: Tensor | null): Tensor {
    const xOwn = this.#memory.use("rmsNormBackward", x);
    const gOwn = this.#memory.useWeight("rmsNormBackward", g);
    const dyOwn = this.#memory.use("rmsNormBackward", dy);
    const terms = residual ? this.#memory.use("rmsNormBackward", residual).values : null;
    check.checkRmsNormBackward(x, g, dy, epsilon, residual);
    const dx = this.#memory.make(x.rows, x.columns, true);
    const gradient = gOwn.training?.gradient ?? null;
    const heads = rowwise.headsAsRows(xOwn, g.columns);
    rowwise.rmsNormBackward(heads, gOwn.product.values, dyOwn.values, epsilon, terms, dx.values, gradient);
    return dx;
  }

  rotary(x: Tensor, positions: Int32Array, spec: RotarySpec, direction: "forward" | "backward" = "forward"): Tensor {
    const own = this.#memory.use("rotary", x);
    check.checkRotary(x, positions, spec);
    const y = this.#memory.make(x.rows, x.columns, false);
    rowwise.rotary(own, positions, spec, direction === "forward" ? 1 : -1, y.values);
    return y;
  }

  attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { output: Tensor; logSumExp: Tensor } {
    const own = {
      q: this.#memory.use("attention", q),
      k: this.#memory.use("attention", k),
      v: this.#memory.use("attention", v),
    };
    check.checkAttention(q, k, v, segments, spec);
    const output = this.#memory.make(q.rows, q.columns, false);
    const logSumExp = this.#memory.make(q.rows, spec.heads, true);
    attentions.attention(own.q, own.k, own.v, segments, spec, output.values, logSumExp.values);
    return { output, logSumExp };
  }

  attentionBackward(
    forward: { q: Tensor; k: Tensor; v: Tensor; output: Tensor; logSumExp: Tensor },
    dOutput: Tensor,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { dq: Tensor; dk: Tensor; dv: Tensor } {
    const use = (tensor: Tensor) => this.#memory.use("attentionBackward", tensor);
    const own = { q: use(forward.q), k: use(forward.k), v: use(forward.v) };
    use(forward.output);
    use(forward.logSumExp);
    const dOwn = use(dOutput);
    check.checkAttentionBackward(forward, dOutput, segments, spec);
    const dq = this.#memory.make(own.q.rows, own.q.columns, false);
    const dk = this.#memory.make(own.k.rows, own.k.columns, false);
    const dv = this.#memory.make(own.v.rows, own.v.columns, false);
    const gradients = { dq: dq.values, dk: dk.values, dv: dv.values };
    attentions.attentionBackward(own, dOwn, segments, spec, gradients);
    return { dq, dk, dv };
  }

  swiglu(gate: Tensor, up: Tensor): Tensor {
    const gateOwn = this.#memory.use("swiglu", gate);
    const upOwn = this.#memory.use("swiglu", up);
    check.checkSwiglu(gate, up);
    const h = this.#memory.make(gate.rows, gate.columns, false);
    rowwise.swiglu(gateOwn.values, upOwn.values, h.values);
    return h;
  }

  swigluBackward(gate: Tensor, up: Tensor, dh: Tensor): SwigluGradients {
    const gateOwn = this.#memory.use("swigluBackward", gate);
    const upOwn = this.#memory.use("swigluBackward", up);
    const dhOwn = this.#memory.use("swigluBackward", dh);
    check.checkSwigluBackward(gate, up, dh);
    const dGate = this.#memory.make(gate.rows, gate.columns, false);
    const dUp = this.#memory.make(gate.rows, gate.columns, false);
    rowwise.swigluBackward(gateOwn.values, upOwn.values, dhOwn.values, dGate.values, dUp.values);
    return { dGate, dUp };
  }

  add(a: Tensor, b: Tensor, options: { scale?: number; wide?: boolean } = {}): Tensor {
    const aOwn = this.#memory.use("add", a);
    const bOwn = this.#memory.use("add", b);
    check.checkAdd(a, b, options.scale);
    const y = this.#memory.make(a.rows, a.columns, options.wide ?? a.wide);
    rowwise.add(aOwn.values, bOwn.values, options.scale ?? 1, y.values);
    return y;
  }

  dropout(x: Tensor, probability: number, seed: number): Tensor {
    const own = this.#memory.use("dropout", x);
    check.checkDropout(probability, seed);
    const y = this.#memory.make(x.rows, x.columns, x.wide);
    rowwise.dropout(own, probability, seed, y.values);
    return y;
  }

  gatherRows(x: Tensor, rows: Int32Array): Tensor {
    const own = this.#memory.use("gatherRows", x);
    check.checkGatherRows(x, rows);
    const y = this.#memory.make(rows.length, x.columns, x.wide);
    products.gatherRows(own, rows, y.values);
    return y;
  }

  gatherRowsBackward(dy: Tensor, rows: Int32Array, totalRows: number): Tensor {
    const own = this.#memory.use("gatherRowsBackward", dy);
    check.checkGatherRowsBackward(dy, rows, totalRows);
    const dx = this.#memory.make(totalRows, dy.columns, dy.wide);
    products.scatterAddRows(own, rows, dx.values);
    return dx;
  }

  copyRows(source: Tensor, destination: Tensor, rows: Int32Array): void {
    const from = this.#memory.use("copyRows", source);
    const to = this.#memory.use("copyRows", destination);
    check.checkCopyRows(source, destination, rows);
    products.scatterRows(from, rows, to.values);
  }

  crossEntropy(
    logits: Tensor,
    targets: Int32Array,
    weights: Float32Array,
    labelSmoothing = 0,
  ): { loss: Tensor; dLogits: Tensor } {
    const own = this.#memory.use("crossEntropy", logits);
    check.checkCrossEntropy(logits, targets, weights, labelSmoothing);
    const dLogits = this.#memory.make(logits.rows, logits.columns, false);
    const loss = this.#memory.make(1, 1, true);
    loss.values[0] = training.crossEntropy(own, targets, weights, labelSmoothing, dLogits.values);
    return { loss, dLogits };
  }

  logProbabilities(logits: Tensor, rows: Int32Array, tokens: Int32Array): Tensor {
    const own = this.#memory.use("logProbabilities", logits);
    check.checkLogProbabilities(logits, rows, tokens);
    const out = this.#memory.make(1, rows.length, true);
    training.logProbabilities(own, rows, tokens, out.values);
    return out;
  }

  argmax(x: Tensor): Tensor {
    const own = this.#memory.use("argmax", x);
    const out = this.#memory.make(x.rows, 1, true);
    training.argmax(own, out.values);
    return out;
  }

  // ---- training

  zeroGradients(weights: readonly Weight[]): void {
    for (const weight of weights) this.#trainable("zeroGradients", weight).gradient.fill(0);
  }

  gradientNorm(weights: readonly Weight[]): Tensor {
    const gradients = weights.map((weight) => this.#trainable("gradientNorm", weight).gradient);
    const norm = this.#memory.make(1, 1, true);
    norm.values[0] = Math.sqrt(gradients.reduce((sum, gradient) => sum + training.sumOfSquares(gradient), 0));
    return norm;
  }

  adamW(weights: readonly Weight[], settings: AdamWSettings): void {
    const own = weights.map((weight) => this.#memory.useWeight("adamW", weight));
    check.checkAdamW(weights, settings);
    for (const weight of own) {
      training.adamW({ value: weight.values, ...trainingOf("adamW", weight) }, settings);
      setValue(weight, weight.values);
    }
  }

  memory(): MemoryUse {
    return this.#memory.summary();
  }

  async sync(): Promise<void> {}

  async close(): Promise<void> {
    this.#memory.close();
  }

  #trainable(operation: string, weight: Weight): { gradient: Values } {
    return trainingOf(operation, this.#memory.useWeight(operation, weight));
  }
}
