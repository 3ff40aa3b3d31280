import { showValue, UserErrors } from "../../base/errors.ts";
import type { GgufFileType } from "../../formats/gguf-blocks.ts";
import type { GgufField, GgufTensorToWrite } from "../../formats/gguf-write.ts";
import type { PeftLoraConfig } from "../../formats/peft-config.ts";
import { loraScale } from "../../formats/peft-scale.ts";
import { elementCount, type TensorToWrite } from "../../formats/tensor-source.ts";
import { familyNamed } from "../families/registry.ts";
import type { Family } from "../family.ts";
import { slotShape } from "../layer.ts";
import type { DecoderSpec } from "../spec.ts";
import { normalizedRows, sharedBy } from "../weight-rows.ts";
import { type GgufPart, ggufParts } from "./names.ts";
import { reorderPart } from "./rows.ts";
import { divisorsToWrite, ROPE_DIVISORS, scalingProblem } from "./scaling.ts";
import { tensorType } from "./types.ts";

/**
 * The tensors of a checkpoint as a GGUF file has them: matrices in `type` (Q8_0 or float16 where a row does not fill its blocks), vectors in float32,
 * rows in llama.cpp's order. `spec` describes the tensors that are given. Throws a UserErrors for whatever a file cannot hold.
 */
export function ggufTensors(
  tensors: readonly TensorToWrite[],
  spec: DecoderSpec,
  type: GgufFileType,
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
    const isNormalized = spec.normalizedHead && name === family.names.head;
    const read = sharedBy(parts.length, values);
    for (const [i, part] of parts.entries()) {
      const rows = rowsOf(spec, parts, i, shape[0]);
      const written = async () =>
        isNormalized ? normalizedRows(await read(), shape[1]) : partOf(part, await read(), rows, shape, spec, family);
      const partShape = [rows.end - rows.start, ...shape.slice(1)];
      const ownType = tensorType(`${part.name}.${kind}`, shape, type, spec);
      out.push({ name: `${part.name}.${kind}`, type: ownType, shape: partShape, values: written });
    }
  }
  if (problems.length > 0) throw new UserErrors(`${where}: cannot be written as GGUF:`, problems);
  const divisors = divisorsToWrite(spec);
  if (divisors) out.push({ name: ROPE_DIVISORS, type: "F32", shape: [divisors.length], values: async () => divisors });
  return out;
}

/** Of a family with two kinds of positions, llama.cpp computes a model of any other number of layers without positions. */
function problemsOf({ layers, positions }: DecoderSpec, { modelType, gguf }: Family): string[] {
  if (positions.kind === "rotary" && positions.scaling) {
    const problem = scalingProblem(positions.scaling, gguf);
    if (problem) return [problem];
  }
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
