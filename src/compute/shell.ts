import type {
  AdamWSettings,
  AttentionSegment,
  AttentionSpec,
  Backend,
  GatedOptions,
  KernelPolicy,
  MatmulOptions,
  MemoryUse,
  MuonSettings,
  Precision,
  ProductTerm,
  RawMatrix,
  RotarySpec,
  SwigluGradients,
  Tensor,
  Values,
  Weight,
  WeightPart,
  WeightSpec,
} from "./backend.ts";
import * as check from "./check.ts";
import { checkAttention, checkAttentionBackward } from "./check-attention.ts";
import { streamChunks, valuesOfChunks } from "./chunks.ts";
import { type ColumnOperations, columnOperations } from "./columns.ts";
import { withDerivedKernels } from "./derived.ts";
import { Handles } from "./handles.ts";
import type { Added, FusedKernels, Kernels, Operand, Term, WeightOperand } from "./kernels.ts";

/** Without a policy of its own. 16 terms are more than the gradient of a layer's input has with LoRA on every projection. */
const DEFAULT_POLICY: KernelPolicy = { sumTerms: 16, thinColumns: 0 };

/** A backend of these kernels: the shell checks every argument, knows which tensors and weights are alive, and derives fused kernels. */
export function createBackend<D, E>(kernels: Kernels<D, E>): Backend {
  return new Shell(kernels);
}

class Shell<D, E> implements Backend {
  readonly name: string;
  readonly description: string;
  readonly arithmetic: string;
  readonly precision: Precision;
  readonly policy: KernelPolicy;
  readonly hasMuon: boolean;
  readonly scaleColumns: ColumnOperations["scaleColumns"];
  readonly scaleColumnsBackward: ColumnOperations["scaleColumnsBackward"];
  readonly rowNorms: ColumnOperations["rowNorms"];
  readonly tanh: ColumnOperations["tanh"];
  readonly tanhBackward: ColumnOperations["tanhBackward"];
  readonly #kernels: Kernels<D, E> & FusedKernels<D, E>;
  readonly #handles: Handles<D, E>;

  constructor(kernels: Kernels<D, E>) {
    this.name = kernels.name;
    this.description = kernels.description;
    this.arithmetic = kernels.arithmetic;
    this.precision = kernels.precision;
    this.policy = kernels.policy ?? DEFAULT_POLICY;
    this.hasMuon = kernels.muon !== undefined;
    this.#handles = new Handles(kernels);
    this.#kernels = withDerivedKernels(kernels, this.#handles);
    const columns = columnOperations(kernels, this.#handles);
    ({ scaleColumns: this.scaleColumns, scaleColumnsBackward: this.scaleColumnsBackward } = columns);
    ({ rowNorms: this.rowNorms, tanh: this.tanh, tanhBackward: this.tanhBackward } = columns);
  }

  // ---- tensors

  tensor(values: ArrayLike<number>, rows: number, columns: number, { wide = false } = {}): Tensor {
    this.#handles.expectOpen("tensor");
    check.checkShape("tensor", rows, columns);
    check.checkValues("tensor", values, rows, columns);
    return this.#handles.add(this.#kernels.tensor(values, rows, columns, wide), rows, columns, wide);
  }

  zeros(rows: number, columns: number, { wide = false } = {}): Tensor {
    this.#handles.expectOpen("zeros");
    check.checkShape("zeros", rows, columns);
    return this.#handles.add(this.#kernels.tensor(null, rows, columns, wide), rows, columns, wide);
  }

  async read(tensor: Tensor): Promise<Values> {
    return this.#kernels.read(this.#handles.tensor("read", tensor));
  }

  free(tensor: Tensor): void {
    this.#handles.free(this.#handles.tensor("free", tensor));
  }

  // ---- weights

  weight(spec: WeightSpec, values?: ArrayLike<number>): Weight {
    this.#handles.expectOpen("weight");
    check.checkWeightSpec(spec, values);
    return this.#handles.addWeight(spec, this.#kernels.weight(spec, values ?? null));
  }

  async weightFromChunks(spec: WeightSpec, matrix: RawMatrix): Promise<Weight> {
    this.#handles.expectOpen("weightFromChunks");
    check.checkWeightSpec(spec);
    const streamed = this.#kernels.streamedWeights;
    if (!streamed) return this.weight(spec, await valuesOfChunks(spec, matrix));
    const weight = this.#handles.addWeight(spec, streamed.start(spec));
    try {
      await streamChunks(streamed, weight, matrix);
    } catch (error) {
      this.#handles.freeWeight(weight);
      throw error;
    }
    return weight;
  }

  writeWeight(weight: Weight, values: ArrayLike<number>, part: WeightPart = "value"): void {
    const own = this.#handles.weight("writeWeight", weight);
    check.checkWeightPart("writeWeight", weight, part);
    check.checkValues("writeWeight", values, weight.rows, weight.columns);
    this.#kernels.writeWeight(own, values, part);
    if (part === "value") this.#handles.changed(own);
  }

  async readWeight(weight: Weight, part: WeightPart = "value"): Promise<Values> {
    const own = this.#handles.weight("readWeight", weight);
    check.checkWeightPart("readWeight", weight, part);
    return this.#kernels.readWeight(own, part);
  }

  freeWeight(weight: Weight): void {
    this.#handles.freeWeight(this.#handles.weight("freeWeight", weight));
  }

  // ---- products

  embed(table: Weight, ids: Int32Array): Tensor {
    const own = this.#handles.weight("embed", table);
    check.checkEmbed(table, ids);
    return this.#handles.add(this.#kernels.embed(own, ids), ids.length, table.columns, true);
  }

  embedBackward(table: Weight, ids: Int32Array, dy: Tensor): void {
    const own = this.#handles.weight("embedBackward", table);
    const gradient = this.#handles.tensor("embedBackward", dy);
    check.checkEmbedBackward(table, ids, dy);
    this.#kernels.embedBackward(own, ids, gradient);
  }

  matmul(x: Tensor, w: Weight, options: MatmulOptions = {}): Tensor {
    const terms = this.#terms("matmul", x, w, options);
    const added = this.#added("matmul", options);
    check.checkMatmul(x, w, options, this.policy);
    const { rotary } = options;
    let y: D;
    if (rotary) y = this.#kernels.matmulRotary(terms, added, rotary);
    else y = terms.length > 1 ? this.#kernels.matmulSum(terms, added) : this.#kernels.matmul(terms[0], added);
    return this.#handles.add(y, x.rows, w.rows, added.wide);
  }

  matmulBackwardInput(dy: Tensor, w: Weight, options: MatmulOptions = {}): Tensor {
    const terms = this.#terms("matmulBackwardInput", dy, w, options);
    const added = this.#added("matmulBackwardInput", options);
    check.checkMatmulBackwardInput(dy, w, options, this.policy);
    const { matmulBackwardInput, matmulBackwardSum } = this.#kernels;
    const dx = terms.length > 1 ? matmulBackwardSum(terms, added) : matmulBackwardInput(terms[0], added);
    return this.#handles.add(dx, dy.rows, w.columns, added.wide);
  }

  matmulBackwardWeight(dy: Tensor, x: Tensor, w: Weight, scale = 1): void {
    const [gradient, input] = this.#tensors("matmulBackwardWeight", dy, x);
    const own = this.#handles.weight("matmulBackwardWeight", w);
    check.checkMatmulBackwardWeight(dy, x, w, scale);
    this.#kernels.matmulBackwardWeight(gradient, input, own, scale);
  }

  matmulBackward(dy: Tensor, x: Tensor, w: Weight, scale = 1): Tensor {
    const [gradient, input] = this.#tensors("matmulBackward", dy, x);
    const own = this.#handles.weight("matmulBackward", w);
    check.checkMatmulBackwardWeight(dy, x, w, scale, "matmulBackward");
    const dx = this.#kernels.matmulBackward(gradient, input, own, scale);
    return this.#handles.add(dx, x.rows, x.columns, true);
  }

  matmulSwiglu(gate: Tensor, x: Tensor, w: Weight, options: GatedOptions = {}): { up: Tensor; h: Tensor } {
    const [ownGate] = this.#tensors("matmulSwiglu", gate);
    const terms = this.#terms("matmulSwiglu", x, w, options);
    const { bias } = this.#added("matmulSwiglu", options);
    check.checkMatmulSwiglu(gate, x, w, options, this.policy);
    const { up, h } = this.#kernels.matmulSwiglu(ownGate, terms, bias);
    return { up: this.#like(gate, up), h: this.#like(gate, h) };
  }

  matmulBackwardSwiglu(gate: Tensor, up: Tensor, dy: Tensor, w: Weight, options: GatedOptions = {}): SwigluGradients {
    const [ownGate, ownUp] = this.#tensors("matmulBackwardSwiglu", gate, up);
    const terms = this.#terms("matmulBackwardSwiglu", dy, w, options);
    check.checkMatmulBackwardSwiglu(gate, up, dy, w, options, this.policy);
    const { dGate, dUp } = this.#kernels.matmulBackwardSwiglu(ownGate, ownUp, terms);
    return { dGate: this.#like(gate, dGate), dUp: this.#like(gate, dUp) };
  }

  biasBackward(dy: Tensor, b: Weight): void {
    const [gradient] = this.#tensors("biasBackward", dy);
    const own = this.#handles.weight("biasBackward", b);
    check.checkBiasBackward(dy, b);
    this.#kernels.biasBackward(gradient, own);
  }

  // ---- rows, heads, elements

  rmsNorm(x: Tensor, g: Weight, epsilon: number): Tensor {
    const [input] = this.#tensors("rmsNorm", x);
    const gain = this.#handles.weight("rmsNorm", g);
    check.checkRmsNorm(x, g, epsilon);
    return this.#like(x, this.#kernels.rmsNorm(input, gain, epsilon));
  }

  rmsNormBackward(x: Tensor, g: Weight, dy: Tensor, epsilon: number, residual?: Tensor | null): Tensor {
    const [input, gradient] = this.#tensors("rmsNormBackward", x, dy);
    const gain = this.#handles.weight("rmsNormBackward", g);
    const added = residual ? this.#handles.tensor("rmsNormBackward", residual) : null;
    check.checkRmsNormBackward(x, g, dy, epsilon, residual);
    return this.#like(x, this.#kernels.rmsNormBackward(input, gain, gradient, epsilon, added), true);
  }

  rotary(x: Tensor, positions: Int32Array, spec: RotarySpec, direction: "forward" | "backward" = "forward"): Tensor {
    const [input] = this.#tensors("rotary", x);
    check.checkRotary(x, positions, spec);
    return this.#like(x, this.#kernels.rotary(input, positions, spec, direction));
  }

  attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { output: Tensor; logSumExp: Tensor } {
    const [ownQ, ownK, ownV] = this.#tensors("attention", q, k, v);
    checkAttention(q, k, v, segments, spec);
    const { output, logSumExp } = this.#kernels.attention({ q: ownQ, k: ownK, v: ownV }, segments, spec);
    return { output: this.#like(q, output), logSumExp: this.#handles.add(logSumExp, q.rows, spec.heads, true) };
  }

  attentionBackward(
    forward: { q: Tensor; k: Tensor; v: Tensor; output: Tensor; logSumExp: Tensor },
    dOutput: Tensor,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { dq: Tensor; dk: Tensor; dv: Tensor } {
    const given = [forward.q, forward.k, forward.v, forward.output, forward.logSumExp, dOutput];
    const [q, k, v, output, logSumExp, gradient] = this.#tensors("attentionBackward", ...given);
    checkAttentionBackward(forward, dOutput, segments, spec);
    const own = { q, k, v, output, logSumExp };
    const { attentionBackward, attentionBackwardRotary } = this.#kernels;
    const { dq, dk, dv } = spec.rotary
      ? attentionBackwardRotary(own, gradient, segments, spec, spec.rotary)
      : attentionBackward(own, gradient, segments, spec);
    return { dq: this.#like(q, dq), dk: this.#like(k, dk), dv: this.#like(v, dv) };
  }

  swiglu(gate: Tensor, up: Tensor): Tensor {
    const [ownGate, ownUp] = this.#tensors("swiglu", gate, up);
    check.checkSwiglu(gate, up);
    return this.#like(gate, this.#kernels.swiglu(ownGate, ownUp));
  }

  swigluBackward(gate: Tensor, up: Tensor, dh: Tensor): SwigluGradients {
    const [ownGate, ownUp, gradient] = this.#tensors("swigluBackward", gate, up, dh);
    check.checkSwigluBackward(gate, up, dh);
    const { dGate, dUp } = this.#kernels.swigluBackward(ownGate, ownUp, gradient);
    return { dGate: this.#like(gate, dGate), dUp: this.#like(gate, dUp) };
  }

  add(a: Tensor, b: Tensor, { scale = 1, wide = a.wide }: { scale?: number; wide?: boolean } = {}): Tensor {
    const [left, right] = this.#tensors("add", a, b);
    check.checkAdd(a, b, scale);
    return this.#like(a, this.#kernels.add(left, right, scale, wide), wide);
  }

  dropout(x: Tensor, probability: number, seed: number, numbers: Int32Array | null = null): Tensor {
    const [input] = this.#tensors("dropout", x);
    check.checkDropout(x, probability, seed, numbers);
    return this.#like(x, this.#kernels.dropout(input, probability, seed, numbers), x.wide);
  }

  gatherRows(x: Tensor, rows: Int32Array): Tensor {
    const [input] = this.#tensors("gatherRows", x);
    check.checkGatherRows(x, rows);
    return this.#handles.add(this.#kernels.gatherRows(input, rows), rows.length, x.columns, x.wide);
  }

  gatherRowsBackward(dy: Tensor, rows: Int32Array, totalRows: number): Tensor {
    const [gradient] = this.#tensors("gatherRowsBackward", dy);
    check.checkGatherRowsBackward(dy, rows, totalRows);
    const dx = this.#kernels.gatherRowsBackward(gradient, rows, totalRows);
    return this.#handles.add(dx, totalRows, dy.columns, dy.wide);
  }

  copyRows(source: Tensor, destination: Tensor, rows: Int32Array): void {
    const [from, to] = this.#tensors("copyRows", source, destination);
    check.checkCopyRows(source, destination, rows);
    this.#kernels.copyRows(from, to, rows);
  }

  // ---- losses and training

  crossEntropy(
    logits: Tensor,
    targets: Int32Array,
    weights: Float32Array,
    labelSmoothing = 0,
  ): { loss: Tensor; dLogits: Tensor } {
    const [input] = this.#tensors("crossEntropy", logits);
    check.checkCrossEntropy(logits, targets, weights, labelSmoothing);
    const { loss, dLogits } = this.#kernels.crossEntropy(input, targets, weights, labelSmoothing);
    return { loss: this.#handles.add(loss, 1, 1, true), dLogits: this.#like(logits, dLogits) };
  }

  logProbabilities(logits: Tensor, rows: Int32Array, tokens: Int32Array): Tensor {
    const [input] = this.#tensors("logProbabilities", logits);
    check.checkLogProbabilities(logits, rows, tokens);
    return this.#handles.add(this.#kernels.logProbabilities(input, rows, tokens), 1, rows.length, true);
  }

  argmax(x: Tensor): Tensor {
    const [input] = this.#tensors("argmax", x);
    return this.#handles.add(this.#kernels.argmax(input), x.rows, 1, true);
  }

  zeroGradients(weights: readonly Weight[]): void {
    this.#kernels.zeroGradients(this.#trainable("zeroGradients", weights));
  }

  gradientNorm(weights: readonly Weight[]): Tensor {
    const norm = this.#kernels.gradientNorm(this.#trainable("gradientNorm", weights));
    return this.#handles.add(norm, 1, 1, true);
  }

  adamW(weights: readonly Weight[], settings: AdamWSettings): void {
    const own = this.#trainable("adamW", weights);
    check.checkAdamW(settings);
    this.#kernels.adamW(own, settings);
    for (const weight of own) this.#handles.changed(weight);
  }

  muon(weights: readonly Weight[], settings: MuonSettings): void {
    const own = this.#trainable("muon", weights);
    check.checkMuon(weights, settings);
    if (!this.#kernels.muon) throw new Error(`muon: the backend ${this.name} does not have it.`);
    this.#kernels.muon(own, settings);
    for (const weight of own) this.#handles.changed(weight);
  }

  memory(): MemoryUse {
    return this.#handles.memory();
  }

  async sync(): Promise<void> {
    this.#handles.expectOpen("sync");
    await this.#kernels.sync?.();
  }

  async close(): Promise<void> {
    if (this.#handles.close()) await this.#kernels.close?.();
  }

  // ---- operands

  #tensors(operation: string, ...tensors: readonly Tensor[]): Operand<D>[] {
    return tensors.map((tensor) => this.#handles.tensor(operation, tensor));
  }

  #terms(operation: string, x: Tensor, w: Weight, { scale = 1, plus = [] }: GatedOptions): Term<D, E>[] {
    const own = (term: ProductTerm) => ({
      x: this.#handles.tensor(operation, term.x),
      w: this.#handles.weight(operation, term.w),
      scale: term.scale ?? 1,
    });
    return [{ x, w, scale }, ...plus].map(own);
  }

  #added(operation: string, { bias, residual, wide = false }: MatmulOptions): Added<D, E> {
    return {
      bias: bias ? this.#handles.weight(operation, bias) : null,
      residual: residual ? this.#handles.tensor(operation, residual) : null,
      wide,
    };
  }

  #trainable(operation: string, weights: readonly Weight[]): WeightOperand<E>[] {
    return weights.map((weight) => {
      const own = this.#handles.weight(operation, weight);
      check.checkTrainable(operation, weight);
      return own;
    });
  }

  /** A tensor of the shape of `x`; narrow unless told. */
  #like(x: Tensor, data: D, wide = false): Tensor {
    return this.#handles.add(data, x.rows, x.columns, wide);
  }
}
