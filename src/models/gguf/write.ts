import { showValue, UserErrors } from "../../base/errors.ts";
import type { GgufWriteType } from "../../formats/gguf-blocks.ts";
import type { GgufField, GgufTensorToWrite } from "../../formats/gguf-write.ts";
import { loraScale, type PeftLoraConfig } from "../../formats/peft-adapter.ts";
import { elementCount, type TensorToWrite } from "../../formats/tensor-source.ts";
import { familyNamed } from "../families/registry.ts";
import type { Family } from "../family.ts";
import { slotShape } from "../layer.ts";
import type { DecoderSpec } from "../spec.ts";
import { type GgufPart, ggufParts } from "./names.ts";
import { reorderPart } from "./rows.ts";

/**
 * The tensors of a checkpoint as a GGUF file has them: matrices in `type` (float16 where a row does not fill its blocks), vectors in float32,
 * rows in llama.cpp's order. `spec` describes the tensors that are given. Throws a UserErrors for whatever a file cannot hold.
 */
export function ggufTensors(
  tensors: readonly TensorToWrite[],
  spec: DecoderSpec,
  type: GgufWriteType,
  where: string,
): GgufTensorToWrite[] {
  const family = familyNamed(spec.family, where);
  const problems = problemsOf(spec, family);
  const out: GgufTensorToWrite[] = [];
  for (const { name, shape, values } of tensors) {
    const [, module, kind] = /^(.+)\.(weight|bias)$/.exec(name) ?? [];
    const parts = module === undefined ? null : ggufParts(family, module);
    if (parts === null) {
      problems.push(`tensor ${showValue(name, 200)} has no place in a GGUF file of a ${spec.family} model`);
      continue;
    }
    const fits = type !== "Q8_0" || shape[shape.length - 1] % 32 === 0;
    const ownType = shape.length === 1 ? "F32" : fits ? type : "F16";
    const isNormalized = spec.normalizedHead && name === family.names.head;
    const read = sharedBy(parts.length, values);
    for (const [i, part] of parts.entries()) {
      const rows = rowsOf(spec, parts, i, shape[0]);
      const written = async () =>
        isNormalized ? normalized(await read(), shape[1]) : partOf(part, await read(), rows, shape, spec, family);
      const partShape = [rows.end - rows.start, ...shape.slice(1)];
      out.push({ name: `${part.name}.${kind}`, type: ownType, shape: partShape, values: written });
    }
  }
  if (problems.length > 0) throw new UserErrors(`${where}: cannot be written as GGUF:`, problems);
  return out;
}

/** Of a family with two kinds of positions, llama.cpp computes a model of any other number of layers without positions. */
function problemsOf({ layers, positions }: DecoderSpec, { modelType, gguf }: Family): string[] {
  if (!gguf.layersByPositions) return [];
  const wanted = gguf.layersByPositions[positions.kind];
  if (layers === wanted) return [];
  const kind = positions.kind === "rotary" ? "rotary positions" : "positions by ALiBi";
  return [`a ${modelType} model with ${kind} has ${layers} layers, llama.cpp computes it only with ${wanted}`];
}

interface Rows {
  start: number;
  end: number;
}

/** The rows of one part; the parts of a matrix are slots one below the other. */
function rowsOf(spec: DecoderSpec, parts: readonly GgufPart[], index: number, total: number): Rows {
  if (parts.length === 1) return { start: 0, end: total };
  const counts = parts.map(({ slots: [slot] }) => slotShape(spec, slot)[0]);
  const start = counts.slice(0, index).reduce((sum, count) => sum + count, 0);
  return { start, end: start + counts[index] };
}

/** Some rows of a matrix (or elements of a vector), in llama.cpp's order. */
function partOf(
  part: GgufPart,
  whole: ArrayLike<number>,
  { start, end }: Rows,
  shape: readonly number[],
  spec: DecoderSpec,
  { rotaryLayout, gguf }: Family,
): Float32Array {
  const columns = elementCount(shape.slice(1));
  const values = whole instanceof Float32Array ? whole : Float32Array.from(whole);
  const rows = values.subarray(start * columns, end * columns);
  const layout = spec.positions.kind === "rotary" ? spec.positions.layout : rotaryLayout;
  return reorderPart(part.name, rows, part, spec, layout, gguf.rotaryLayout);
}

/** Reads values once for several uses, one after the other, and forgets them after the last. */
function sharedBy(uses: number, values: () => Promise<ArrayLike<number>>): () => Promise<ArrayLike<number>> {
  let kept: Promise<ArrayLike<number>> | null = null;
  let left = uses;
  return () => {
    const whole = kept ?? values();
    kept = --left > 0 ? whole : null;
    return whole;
  };
}

/** Rows divided by their lengths (torch.nn.functional.normalize: by 1e-12 at least). */
function normalized(values: ArrayLike<number>, columns: number): Float32Array {
  const out = Float32Array.from(values);
  for (let start = 0; start < out.length; start += columns) {
    const row = out.subarray(start, start + columns);
    const length = Math.max(Math.sqrt(row.reduce((sum, value) => sum + value * value, 0)), 1e-12);
    for (let i = 0; i < columns; i++) row[i] /= length;
  }
  return out;
}

/**
 * Metadata and tensors of a LoRA adapter for llama.cpp (its convert_lora_to_gguf.py): a is unchanged, b has its rows in the order of its base.
 * Throws a UserErrors for tensors that belong to no module of the model.
 */
export function ggufLora(
  config: PeftLoraConfig,
  tensors: readonly TensorToWrite[],
  spec: DecoderSpec,
  where: string,
): { fields: GgufField[]; tensors: GgufTensorToWrite[] } {
  const family = familyNamed(spec.family, where);
  const problems = problemsOf(spec, family);
  const out: GgufTensorToWrite[] = [];
  for (const { name, shape, values } of tensors) {
    const [, module, half] = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(name) ?? [];
    const parts = module === undefined ? null : ggufParts(family, module);
    if (parts === null || elementCount(shape) === 0) {
      problems.push(`tensor ${showValue(name, 200)} has no place in an adapter of a ${spec.family} model`);
      continue;
    }
    const isB = half === "B";
    const read = sharedBy(parts.length, values);
    for (const [i, part] of parts.entries()) {
      const rows = isB ? rowsOf(spec, parts, i, shape[0]) : { start: 0, end: shape[0] };
      out.push({
        name: `${part.name}.weight.lora_${isB ? "b" : "a"}`,
        type: "F32",
        shape: [rows.end - rows.start, ...shape.slice(1)],
        values: async () => (isB ? partOf(part, await read(), rows, shape, spec, family) : read()),
      });
    }
  }
  if (problems.length > 0) throw new UserErrors(`${where}: cannot be written as GGUF:`, problems);
  const fields: GgufField[] = [
    { key: "general.architecture", type: "string", value: family.gguf.architecture },
    { key: "general.type", type: "string", value: "adapter" },
    { key: "adapter.type", type: "string", value: "lora" },
    // llama.cpp divides alpha by the rank.
    { key: "adapter.lora.alpha", type: "float32", value: loraScale(config) * config.rank },
  ];
  return { fields, tensors: out };
}
