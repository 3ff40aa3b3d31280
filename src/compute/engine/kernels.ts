import type { RawType, RotarySpec, RowPositions, WeightPart, WeightSpec, WeightStorage } from "../backend.ts";
import { ByteCount } from "../byte-count.ts";
import type { Added, Kernels, Operand, Term } from "../kernels.ts";
import { attentionPlan, type Engine, rotaryPlan } from "./engine.ts";
import { type BackwardCopy, type PackedOperand, type PackedWeight, Packing } from "./packing.ts";

/** In the order of the engine's numbers (native/runtime/engine.h, native/rows/raw_rows.h). */
const PARTS: readonly WeightPart[] = ["value", "gradient", "moment1", "moment2"];
const STORAGES: readonly WeightStorage[] = ["float32", "bfloat16", "int8", "nf4", "w8a8"];
const RAW_TYPES: readonly RawType[] = ["F32", "F16", "BF16"];

export interface EngineKernelOptions {
  name: string;
  precision: "bfloat16" | "float32";
  description: string;
  arithmetic: string;
  backwardCopy: BackwardCopy;
  /** "auto" makes backward copies while the frozen matrices have at most these bytes. */
  mostCopiedBytes?: number;
}

type Product = Term<number, PackedWeight>;

/** Kernels that call an engine. A tensor is a handle; a weight is a handle with a record of its packed copies. */
export function engineKernels(engine: Engine, options: EngineKernelOptions): Kernels<number, PackedWeight> {
  const { name, precision, description, arithmetic, backwardCopy } = options;
  const bytes = new ByteCount();
  const packing = new Packing(precision === "bfloat16", backwardCopy, bytes, options.mostCopiedBytes);

  const newWeight = (spec: WeightSpec, values: Float32Array | null | undefined): PackedWeight => {
    const { rows, columns, storage, trainable } = spec;
    return packing.add(spec, engine.weight(values, rows, columns, STORAGES.indexOf(storage), trainable));
  };
  const packedForward = (w: PackedOperand): number => {
    packing.pack(w, "forward");
    return w.data.handle;
  };
  const forwardTerms = (terms: readonly Product[]) => [...handlesOf(terms, packedForward), null] as const;
  const backwardTerms = (terms: readonly Product[]) => {
    const copies = Int32Array.from(terms, ({ w }) => Number(packing.packBackward(w)));
    return [...handlesOf(terms, ({ data }) => data.handle), copies] as const;
  };
  const matmul = (
    { x, w, scale }: Product,
    { bias, residual, wide }: Added<number, PackedWeight>,
    rotary: (RotarySpec & RowPositions) | null = null,
  ): number => {
    const rotated = rotary ? rotaryPlan(rotary) : ([] as const);
    return engine.matmul(x.data, packedForward(w), weightOf(bias), tensorOf(residual), scale, wide, ...rotated);
  };
  const matmulSum = (
    terms: readonly Product[],
    added: Added<number, PackedWeight>,
    rotary: (RotarySpec & RowPositions) | null = null,
  ): number => {
    if (terms.length === 1) return matmul(terms[0], added, rotary);
    const { bias, residual, wide } = added;
    const rotated = rotary ? rotaryPlan(rotary) : ([] as const);
    return engine.matmulSum(...forwardTerms(terms), weightOf(bias), tensorOf(residual), wide, ...rotated);
  };
  const attentionBackward: Kernels<number, PackedWeight>["attentionBackward"] = (forward, dOutput, segments, spec) => {
    const { q, k, v, output, logSumExp } = forward;
    const operands = [q.data, k.data, v.data, output.data, logSumExp.data, dOutput.data] as const;
    const [dq, dk, dv] = engine.attentionBackward(...operands, ...attentionPlan(segments, spec));
    return { dq, dk, dv };
  };

  return {
    name,
    description,
    arithmetic,
    precision,
    // 16 terms are more than a layer needs; native/matmul/matmul_thin_bf16.cpp has both gradients for 16 columns.
    policy: { sumTerms: 16, thinColumns: 16 },

    // ---- tensors and weights

    bytes,
    tensor: (values, rows, columns, wide) => engine.tensor(values && asFloats(values), rows, columns, wide),
    read: (x) => engine.read(x.data),
    tensorBytes: (x) => packing.tensorBytes(x),
    free: (x) => engine.free(x.data),
    weight: (spec, values) => newWeight(spec, values && asFloats(values)),
    streamedWeights: {
      start: (spec) => newWeight(spec, undefined),
      write: (w, chunk, type, normalized) =>
        engine.writeRows(w.data.handle, chunk, RAW_TYPES.indexOf(type), normalized),
    },
    writeWeight: (w, values, part) => engine.writeWeight(w.data.handle, asFloats(values), PARTS.indexOf(part)),
    readWeight: (w, part) => engine.readWeight(w.data.handle, PARTS.indexOf(part)),
    weightBytes: (w) => packing.weightBytes(w),
    freeWeight(w) {
      packing.remove(w);
      engine.freeWeight(w.data.handle);
    },
    sync: () => engine.sync(),
    close: () => engine.close(),

    // ---- products

    embed: (table, ids) => engine.embed(packedForward(table), ids),
    embedBackward: (table, ids, dy) => engine.embedBackward(table.data.handle, ids, dy.data),
    matmul: (product, added) => matmul(product, added),
    matmulSum: (terms, added) => matmulSum(terms, added),
    matmulRotary: matmulSum,
    matmulBackwardInput({ x, w, scale }, { residual, wide }) {
      const copy = packing.packBackward(w);
      return engine.matmulBackwardInput(x.data, w.data.handle, tensorOf(residual), scale, wide, copy);
    },
    matmulBackwardSum: (terms, { residual, wide }) =>
      engine.matmulSum(...backwardTerms(terms), null, tensorOf(residual), wide),
    matmulBackwardWeight: (dy, x, w, scale) => engine.matmulBackwardWeight(dy.data, x.data, w.data.handle, scale),
    matmulBackward(dy, x, w, scale) {
      packing.packBackward(w);
      return engine.matmulBackward(dy.data, x.data, w.data.handle, scale);
    },
    matmulSwiglu(gate, terms, bias) {
      const [up, h] = engine.matmulSwiglu(...forwardTerms(terms), weightOf(bias), gate.data, null);
      return { up, h };
    },
    matmulBackwardSwiglu(gate, up, terms) {
      const [dGate, dUp] = engine.matmulSwiglu(...backwardTerms(terms), null, gate.data, up.data);
      return { dGate, dUp };
    },
    biasBackward: (dy, b) => engine.biasBackward(dy.data, b.data.handle),

    // ---- rows, heads, elements

    rmsNorm: (x, g, epsilon) => engine.rmsNorm(x.data, g.data.handle, epsilon),
    rmsNormBackward: (x, g, dy, epsilon, residual) =>
      engine.rmsNormBackward(x.data, g.data.handle, dy.data, epsilon, tensorOf(residual)),
    rotary: (x, positions, spec, direction) =>
      engine.rotary(x.data, direction === "backward", ...rotaryPlan({ ...spec, positions })),
    attention({ q, k, v }, segments, spec) {
      const [output, logSumExp] = engine.attention(q.data, k.data, v.data, ...attentionPlan(segments, spec));
      return { output, logSumExp };
    },
    attentionBackward,
    attentionBackwardRotary: attentionBackward,
    swiglu: (gate, up) => engine.swiglu(gate.data, up.data),
    swigluBackward(gate, up, dh) {
      const [dGate, dUp] = engine.swigluBackward(gate.data, up.data, dh.data);
      return { dGate, dUp };
    },
    add: (a, b, scale, wide) => engine.add(a.data, b.data, scale, wide),
    dropout: (x, probability, seed, numbers) => engine.dropout(x.data, probability, seed, numbers),
    scaleColumns: (x, g, divisors, bias) => engine.scaleColumns(x.data, g.data.handle, divisors.data, weightOf(bias)),
    scaleColumnsBackward: (x, g, divisors, dy) =>
      engine.scaleColumnsBackward(x.data, g.data.handle, divisors.data, dy.data),
    rowNorms: (x) => engine.rowNorms(x.data),
    tanh: (x) => engine.tanh(x.data),
    tanhBackward: (y, dy) => engine.tanhBackward(y.data, dy.data),
    gatherRows: (x, rows) => engine.gatherRows(x.data, rows),
    gatherRowsBackward: (dy, rows, totalRows) => engine.gatherRowsBackward(dy.data, rows, totalRows),
    copyRows: (source, destination, rows) => engine.copyRows(source.data, destination.data, rows),

    // ---- losses and training

    crossEntropy(logits, targets, weights, labelSmoothing) {
      const [loss, dLogits] = engine.crossEntropy(logits.data, targets, weights, labelSmoothing);
      return { loss, dLogits };
    },
    logProbabilities: (logits, rows, tokens) => engine.logProbabilities(logits.data, rows, tokens),
    argmax: (x) => engine.argmax(x.data),
    zeroGradients: (weights) => engine.zeroGradients(handles(weights)),
    gradientNorm: (weights) => engine.gradientNorm(handles(weights)),
    adamW(weights, { learningRate, beta1, beta2, epsilon, weightDecay, gradientScale, step }) {
      const numbers = [learningRate, beta1, beta2, epsilon, weightDecay, gradientScale, step];
      engine.adamW(handles(weights), Float64Array.from(numbers));
    },
    muon: engine.muon
      ? (weights, { learningRate, momentum, weightDecay }) =>
          engine.muon?.(handles(weights), learningRate, momentum, weightDecay)
      : undefined,
  };
}

function asFloats(values: ArrayLike<number>): Float32Array {
  return values instanceof Float32Array ? values : Float32Array.from(values);
}

const tensorOf = (x: Operand<number> | null) => x?.data ?? null;
const weightOf = (w: PackedOperand | null) => w?.data.handle ?? null;
const handles = (weights: readonly PackedOperand[]) => Int32Array.from(weights, (w) => w.data.handle);

/** Handles of tensors, handles of weights, scales. */
function handlesOf(terms: readonly Product[], weightHandle: (w: PackedOperand) => number) {
  return [
    Int32Array.from(terms, ({ x }) => x.data),
    Int32Array.from(terms, ({ w }) => weightHandle(w)),
    Float32Array.from(terms, ({ scale }) => scale),
  ] as const;
}
