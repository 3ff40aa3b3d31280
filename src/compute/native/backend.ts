import type {
  AdamWSettings,
  AttentionSegment,
  AttentionSpec,
  Backend,
  GatedOptions,
  MatmulOptions,
  MemoryUse,
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
import { nativeWeightFromRuns } from "../raw-matrix.ts";
import { attentionPlan, type Engine, turningOf } from "./addon.ts";
import { asFloats, type NativeMemory, NativeTensor, NativeWeight, PARTS, STORAGES } from "./memory.ts";
import { gatedBackward, gatedForward, sumOfProducts } from "./products.ts";

/** The native backend's operations: arguments are checked here, and the addon gets handles. */
export class NativeBackend implements Backend {
  readonly name = "native";
  readonly description: string;
  readonly precision: "bfloat16" | "float32";
  readonly #engine: Engine;
  readonly #memory: NativeMemory;

  constructor(engine: Engine, memory: NativeMemory, precision: "bfloat16" | "float32", description: string) {
    this.#engine = engine;
    this.#memory = memory;
    this.precision = precision;
    this.description = description;
  }

  // ---- tensors

  tensor(values: ArrayLike<number>, rows: number, columns: number, options?: { wide?: boolean }): Tensor {
    this.#memory.expectOpen("tensor");
    check.checkShape("tensor", rows, columns);
    check.checkValues("tensor", values, rows, columns);
    const wide = options?.wide ?? false;
    return this.#made(this.#engine.tensor(asFloats(values), rows, columns, wide), rows, columns, wide);
  }

  zeros(rows: number, columns: number, options?: { wide?: boolean }): Tensor {
    this.#memory.expectOpen("zeros");
    check.checkShape("zeros", rows, columns);
    const wide = options?.wide ?? false;
    return this.#made(this.#engine.tensor(null, rows, columns, wide), rows, columns, wide);
  }

  async read(tensor: Tensor): Promise<Values> {
    return this.#engine.read(this.#tensor("read", tensor));
  }

  free(tensor: Tensor): void {
    const own = this.#memory.use("free", tensor);
    this.#memory.remove(own);
    this.#engine.free(own.handle);
  }

  // ---- weights

  weight(spec: WeightSpec, values?: ArrayLike<number>): Weight {
    this.#memory.expectOpen("weight");
    check.checkWeightSpec(spec, values);
    const { rows, columns, storage, trainable } = spec;
    const given = values === undefined ? null : asFloats(values);
    const handle = this.#engine.weight(given, rows, columns, STORAGES.indexOf(storage), trainable);
    return this.#memory.addWeight(new NativeWeight(handle, spec));
  }

  weightFromRuns(spec: WeightSpec, matrix: RawMatrix): Promise<Weight> {
    return nativeWeightFromRuns(this.#engine, this.#memory, spec, matrix);
  }

  writeWeight(weight: Weight, values: ArrayLike<number>, part: WeightPart = "value"): void {
    const own = this.#memory.useWeight("writeWeight", weight);
    check.checkWeightPart("writeWeight", weight, part);
    check.checkValues("writeWeight", values, weight.rows, weight.columns);
    this.#engine.writeWeight(own.handle, asFloats(values), PARTS.indexOf(part));
  }

  async readWeight(weight: Weight, part: WeightPart = "value"): Promise<Values> {
    const own = this.#memory.useWeight("readWeight", weight);
    check.checkWeightPart("readWeight", weight, part);
    return this.#engine.readWeight(own.handle, PARTS.indexOf(part));
  }

  freeWeight(weight: Weight): void {
    const own = this.#memory.useWeight("freeWeight", weight);
    this.#memory.removeWeight(own);
    this.#engine.freeWeight(own.handle);
  }

  // ---- operations

  embed(table: Weight, ids: Int32Array): Tensor {
    const own = this.#memory.useWeight("embed", table);
    check.checkEmbed(table, ids);
    const handle = this.#engine.embed(this.#memory.pack(own, "forward").handle, ids);
    return this.#made(handle, ids.length, table.columns, true);
  }

  embedBackward(table: Weight, ids: Int32Array, dy: Tensor): void {
    const own = this.#memory.useWeight("embedBackward", table);
    const gradient = this.#tensor("embedBackward", dy);
    check.checkEmbedBackward(table, ids, dy);
    this.#engine.embedBackward(own.handle, ids, gradient);
  }

  matmul(x: Tensor, w: Weight, options: MatmulOptions = {}): Tensor {
    const xHandle = this.#tensor("matmul", x);
    const own = this.#memory.useWeight("matmul", w);
    const bias = options.bias ? this.#memory.useWeight("matmul", options.bias).handle : null;
    const residual = options.residual ? this.#tensor("matmul", options.residual) : null;
    check.checkMatmul(x, w, options);
    const { scale = 1, wide = false, plus = [], rotary = null } = options;
    const packed = this.#memory.pack(own, "forward").handle;
    const sum = { backward: false, bias, residual, wide, rotary };
    const handle =
      plus.length > 0
        ? sumOfProducts(this.#engine, this.#memory, { x, w, scale }, plus, sum)
        : this.#engine.matmul(xHandle, packed, bias, residual, scale, wide, ...(rotary ? turningOf(rotary) : []));
    return this.#made(handle, x.rows, w.rows, wide);
  }

  matmulBackwardInput(dy: Tensor, w: Weight, options: MatmulOptions = {}): Tensor {
    const dyHandle = this.#tensor("matmulBackwardInput", dy);
    const own = this.#memory.useWeight("matmulBackwardInput", w);
    const residual = options.residual ? this.#tensor("matmulBackwardInput", options.residual) : null;
    check.checkMatmulBackwardInput(dy, w, options);
    const { scale = 1, wide = false, plus = [] } = options;
    if (plus.length > 0) {
      const sum = { backward: true, bias: null, residual, wide, rotary: null };
      const handle = sumOfProducts(this.#engine, this.#memory, { x: dy, w, scale }, plus, sum);
      return this.#made(handle, dy.rows, w.columns, wide);
    }
    const secondCopy = this.#memory.packBackward(own);
    const handle = this.#engine.matmulBackwardInput(dyHandle, own.handle, residual, scale, wide, secondCopy);
    return this.#made(handle, dy.rows, w.columns, wide);
  }

  matmulSwiglu(gate: Tensor, x: Tensor, w: Weight, options: GatedOptions = {}): { up: Tensor; h: Tensor } {
    const [up, h] = this.#pair(gatedForward(this.#engine, this.#memory, gate, { x, w, ...options }), gate);
    return { up, h };
  }

  matmulBackwardSwiglu(gate: Tensor, up: Tensor, dy: Tensor, w: Weight, options: GatedOptions = {}): SwigluGradients {
    const [dGate, dUp] = this.#pair(
      gatedBackward(this.#engine, this.#memory, gate, up, { x: dy, w, ...options }),
      gate,
    );
    return { dGate, dUp };
  }

  matmulBackwardWeight(dy: Tensor, x: Tensor, w: Weight, scale = 1): void {
    const dyHandle = this.#tensor("matmulBackwardWeight", dy);
    const xHandle = this.#tensor("matmulBackwardWeight", x);
    const own = this.#memory.useWeight("matmulBackwardWeight", w);
    check.checkMatmulBackwardWeight(dy, x, w, scale);
    this.#engine.matmulBackwardWeight(dyHandle, xHandle, own.handle, scale);
  }

  matmulBackward(dy: Tensor, x: Tensor, w: Weight, scale = 1): Tensor {
    const dyHandle = this.#tensor("matmulBackward", dy);
    const xHandle = this.#tensor("matmulBackward", x);
    const own = this.#memory.useWeight("matmulBackward", w);
    check.checkMatmulBackwardWeight(dy, x, w, scale, "matmulBackward");
    this.#memory.packBackward(own);
    return this.#made(this.#engine.matmulBackward(dyHandle, xHandle, own.handle, scale), x.rows, x.columns, true);
  }

  biasBackward(dy: Tensor, b: Weight): void {
    const dyHandle = this.#tensor("biasBackward", dy);
    const own = this.#memory.useWeight("biasBackward", b);
    check.checkBiasBackward(dy, b);
    this.#engine.biasBackward(dyHandle, own.handle);
  }

  rmsNorm(x: Tensor, g: Weight, epsilon: number): Tensor {
    const xHandle = this.#tensor("rmsNorm", x);
    const own = this.#memory.useWeight("rmsNorm", g);
    check.checkRmsNorm(x, g, epsilon);
    return this.#made(this.#engine.rmsNorm(xHandle, own.handle, epsilon), x.rows, x.columns, false);
  }

  rmsNormBackward(x: Tensor, g: Weight, dy: Tensor, epsilon: number, residual?: Tensor | null): Tensor {
    const xHandle = this.#tensor("rmsNormBackward", x);
    const own = this.#memory.useWeight("rmsNormBackward", g);
    const dyHandle = this.#tensor("rmsNormBackward", dy);
    const added = residual ? this.#tensor("rmsNormBackward", residual) : null;
    check.checkRmsNormBackward(x, g, dy, epsilon, residual);
    const handle = this.#engine.rmsNormBackward(xHandle, own.handle, dyHandle, epsilon, added);
    return this.#made(handle, x.rows, x.columns, true);
  }

  rotary(x: Tensor, positions: Int32Array, spec: RotarySpec, direction: "forward" | "backward" = "forward"): Tensor {
    const own = this.#tensor("rotary", x);
    check.checkRotary(x, positions, spec);
    const handle = this.#engine.rotary(own, direction === "backward", ...turningOf({ ...spec, positions }));
    return this.#made(handle, x.rows, x.columns, false);
  }

  attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { output: Tensor; logSumExp: Tensor } {
    const [qHandle, kHandle, vHandle] = [q, k, v].map((tensor) => this.#tensor("attention", tensor));
    check.checkAttention(q, k, v, segments, spec);
    const [output, logSumExp] = this.#engine.attention(qHandle, kHandle, vHandle, ...attentionPlan(segments, spec));
    return {
      output: this.#made(output, q.rows, q.columns, false),
      logSumExp: this.#made(logSumExp, q.rows, spec.heads, true),
    };
  }

  attentionBackward(
    forward: { q: Tensor; k: Tensor; v: Tensor; output: Tensor; logSumExp: Tensor },
    dOutput: Tensor,
    segments: readonly AttentionSegment[],
    spec: AttentionSpec,
  ): { dq: Tensor; dk: Tensor; dv: Tensor } {
    const use = (tensor: Tensor) => this.#tensor("attentionBackward", tensor);
    const [q, k, v] = [use(forward.q), use(forward.k), use(forward.v)];
    const [output, logSumExp, gradient] = [use(forward.output), use(forward.logSumExp), use(dOutput)];
    check.checkAttentionBackward(forward, dOutput, segments, spec);
    const plan = attentionPlan(segments, spec);
    const [dq, dk, dv] = this.#engine.attentionBackward(q, k, v, output, logSumExp, gradient, ...plan);
    return {
      dq: this.#made(dq, forward.q.rows, forward.q.columns, false),
      dk: this.#made(dk, forward.k.rows, forward.k.columns, false),
      dv: this.#made(dv, forward.v.rows, forward.v.columns, false),
    };
  }

  swiglu(gate: Tensor, up: Tensor): Tensor {
    const [gateHandle, upHandle] = [this.#tensor("swiglu", gate), this.#tensor("swiglu", up)];
    check.checkSwiglu(gate, up);
    return this.#made(this.#engine.swiglu(gateHandle, upHandle), gate.rows, gate.columns, false);
  }

  swigluBackward(gate: Tensor, up: Tensor, dh: Tensor): SwigluGradients {
    const [gateHandle, upHandle, dhHandle] = [gate, up, dh].map((tensor) => this.#tensor("swigluBackward", tensor));
    check.checkSwigluBackward(gate, up, dh);
    const [dGate, dUp] = this.#pair(this.#engine.swigluBackward(gateHandle, upHandle, dhHandle), gate);
    return { dGate, dUp };
  }

  add(a: Tensor, b: Tensor, options: { scale?: number; wide?: boolean } = {}): Tensor {
    const [aHandle, bHandle] = [this.#tensor("add", a), this.#tensor("add", b)];
    check.checkAdd(a, b, options.scale);
    const wide = options.wide ?? a.wide;
    return this.#made(this.#engine.add(aHandle, bHandle, options.scale ?? 1, wide), a.rows, a.columns, wide);
  }

  dropout(x: Tensor, probability: number, seed: number): Tensor {
    const own = this.#tensor("dropout", x);
    check.checkDropout(probability, seed);
    return this.#made(this.#engine.dropout(own, probability, seed), x.rows, x.columns, x.wide);
  }

  gatherRows(x: Tensor, rows: Int32Array): Tensor {
    const own = this.#tensor("gatherRows", x);
    check.checkGatherRows(x, rows);
    return this.#made(this.#engine.gatherRows(own, rows), rows.length, x.columns, x.wide);
  }

  gatherRowsBackward(dy: Tensor, rows: Int32Array, totalRows: number): Tensor {
    const own = this.#tensor("gatherRowsBackward", dy);
    check.checkGatherRowsBackward(dy, rows, totalRows);
    return this.#made(this.#engine.gatherRowsBackward(own, rows, totalRows), totalRows, dy.columns, dy.wide);
  }

  copyRows(source: Tensor, destination: Tensor, rows: Int32Array): void {
    const [from, to] = [this.#tensor("copyRows", source), this.#tensor("copyRows", destination)];
    check.checkCopyRows(source, destination, rows);
    this.#engine.copyRows(from, to, rows);
  }

  crossEntropy(
    logits: Tensor,
    targets: Int32Array,
    weights: Float32Array,
    labelSmoothing = 0,
  ): { loss: Tensor; dLogits: Tensor } {
    const own = this.#tensor("crossEntropy", logits);
    check.checkCrossEntropy(logits, targets, weights, labelSmoothing);
    const [loss, dLogits] = this.#engine.crossEntropy(own, targets, weights, labelSmoothing);
    return {
      loss: this.#made(loss, 1, 1, true),
      dLogits: this.#made(dLogits, logits.rows, logits.columns, false),
    };
  }

  logProbabilities(logits: Tensor, rows: Int32Array, tokens: Int32Array): Tensor {
    const own = this.#tensor("logProbabilities", logits);
    check.checkLogProbabilities(logits, rows, tokens);
    return this.#made(this.#engine.logProbabilities(own, rows, tokens), 1, rows.length, true);
  }

  argmax(x: Tensor): Tensor {
    return this.#made(this.#engine.argmax(this.#tensor("argmax", x)), x.rows, 1, true);
  }

  // ---- training

  zeroGradients(weights: readonly Weight[]): void {
    this.#engine.zeroGradients(this.#trainables("zeroGradients", weights));
  }

  gradientNorm(weights: readonly Weight[]): Tensor {
    return this.#made(this.#engine.gradientNorm(this.#trainables("gradientNorm", weights)), 1, 1, true);
  }

  adamW(weights: readonly Weight[], settings: AdamWSettings): void {
    const handles = this.#trainables("adamW", weights);
    check.checkAdamW(weights, settings);
    const { learningRate, beta1, beta2, epsilon, weightDecay, gradientScale, step } = settings;
    const numbers = [learningRate, beta1, beta2, epsilon, weightDecay, gradientScale, step];
    this.#engine.adamW(handles, Float64Array.from(numbers));
  }

  memory(): MemoryUse {
    return this.#memory.summary();
  }

  async sync(): Promise<void> {
    this.#memory.expectOpen("sync");
    await this.#engine.sync();
  }

  async close(): Promise<void> {
    if (!this.#memory.close()) return;
    await this.#engine.close();
  }

  #tensor(operation: string, tensor: Tensor): number {
    return this.#memory.use(operation, tensor).handle;
  }

  #made(handle: number, rows: number, columns: number, wide: boolean): Tensor {
    return this.#memory.add(new NativeTensor(handle, rows, columns, wide));
  }

  /** Two narrow tensors of the shape of `like`. */
  #pair(handles: readonly [number, number], like: Tensor): [Tensor, Tensor] {
    const [first, second] = handles.map((handle) => this.#made(handle, like.rows, like.columns, false));
    return [first, second];
  }

  #trainables(operation: string, weights: readonly Weight[]): Int32Array {
    return Int32Array.from(weights, (weight) => {
      const own = this.#memory.useWeight(operation, weight);
      check.checkTrainable(operation, weight);
      return own.handle;
    });
  }
}
