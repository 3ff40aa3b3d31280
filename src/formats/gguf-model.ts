import { showValue, UserError, UserErrors } from "../base/errors.ts";
import { type GgufFile, openGguf } from "./gguf.ts";
import type { GgufWriteType } from "./gguf-blocks.ts";
import { BAICHUAN_LAYERS, readGgufConfig } from "./gguf-config.ts";
import type { GgufSizes } from "./gguf-fields.ts";
import { type GgufArchitecture, ggufModules, placeOf } from "./gguf-names.ts";
import type { GgufField, GgufTensorToWrite } from "./gguf-write.ts";
import type { Checkpoint } from "./hf-folder.ts";
import type { PeftLoraConfig } from "./peft-folder.ts";
import { type RotaryLayout, turnRotaryRows } from "./rotary-rows.ts";
import { elementCount, type TensorInfo, type TensorToWrite } from "./tensor-source.ts";

/** Where the rows of queries and keys are interleaved in files, of those that Hugging Face's folders have in halves (llama.cpp's converter). */
const INTERLEAVED_IN_FILES: ReadonlySet<GgufArchitecture> = new Set(["llama", "baichuan"]);

type Heads = Pick<GgufSizes, "architecture" | "heads" | "keyValueHeads" | "headWidth">;

/**
 * Opens a GGUF file of a model: configuration, names and order of rows as in Hugging Face's folders. Throws a UserErrors for an architecture
 * or an option that is not computed here.
 */
export async function openGgufModel(file: string): Promise<Checkpoint> {
  const gguf = await openGguf(file);
  try {
    const { architecture, config } = readGgufConfig(gguf, file);
    const heads = Number(config.num_attention_heads);
    const keyValueHeads = Number(config.num_key_value_heads ?? heads);
    const headWidth = Number(config.head_dim ?? Number(config.hidden_size) / heads);
    const sizes: Heads = { architecture, heads, keyValueHeads, headWidth };
    const tensors = new Map<string, TensorInfo>();
    const parts = new Map<string, readonly string[]>();
    for (const [ggufName, info] of gguf.tensors) {
      const place = placeOf(architecture, ggufName);
      // What has no place in the model keeps its name and is reported by whoever builds the model.
      const shape = place && stackedShape(gguf, place.parts);
      const [name, from] = place && shape ? [place.huggingFace, place.parts] : [ggufName, [ggufName]];
      tensors.set(name, { name, dtype: info.dtype, shape: shape ?? info.shape, file });
      parts.set(name, from);
    }
    const read = async (name: string): Promise<Float32Array> => {
      const read: Float32Array[] = [];
      for (const part of parts.get(name) ?? [name]) {
        read.push(turnedRows(part, await gguf.read(part), sizes, "interleaved", "halves"));
      }
      return read.length === 1 ? read[0] : concatenated(read);
    };
    const rows = (name: string) => {
      const [part, ...others] = parts.get(name) ?? [name];
      return others.length > 0 || turnedHeads(part, sizes) !== null ? null : (gguf.rows?.(part) ?? null);
    };
    return { directory: file, config, source: { tensors, read, rows, close: () => gguf.close() } };
  } catch (error) {
    await gguf.close();
    throw error;
  }
}

/** The shape of tensors one below the other; null when one is missing or their rows are not of one length. */
function stackedShape(gguf: GgufFile, names: readonly string[]): readonly number[] | null {
  const shapes = names.map((name) => gguf.tensors.get(name)?.shape ?? []);
  if (names.length === 1) return shapes[0];
  const rest = shapes[0].slice(1);
  if (!shapes.every((shape) => shape.length > 0 && shape.slice(1).join() === rest.join())) return null;
  return [shapes.reduce((rows, [own]) => rows + own, 0), ...rest];
}

function concatenated(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let start = 0;
  for (const part of parts) {
    out.set(part, start);
    start += part.length;
  }
  return out;
}

/** How many heads a tensor of queries or keys has, where files of the architecture have their rows interleaved; null for other tensors. */
function turnedHeads(ggufName: string, sizes: Heads): number | null {
  const [, kind] = /\.attn_([qk])(?:\.|$)/.exec(ggufName) ?? [];
  if (kind === undefined || !INTERLEAVED_IN_FILES.has(sizes.architecture)) return null;
  return kind === "q" ? sizes.heads : sizes.keyValueHeads;
}

/** Rows of queries and keys in another layout; other tensors stay as they are. */
function turnedRows(
  ggufName: string,
  values: ArrayLike<number>,
  sizes: Heads,
  from: RotaryLayout,
  to: RotaryLayout,
): Float32Array {
  const heads = turnedHeads(ggufName, sizes);
  if (heads === null || from === to) return values instanceof Float32Array ? values : Float32Array.from(values);
  const rows = heads * sizes.headWidth;
  if (values.length % rows !== 0) {
    throw new UserError(`"${ggufName}" has ${values.length} values, which are no ${rows} rows.`, {
      hint: "Do the file's metadata belong to its tensors?",
    });
  }
  return turnRotaryRows(values, heads, sizes.headWidth, to);
}

/**
 * Tensors with Hugging Face's names as a GGUF file has them: matrices in `type` (float16 where a row does not fill its blocks), vectors in
 * float32, with the rows in llama.cpp's order. Throws a UserErrors for what cannot be there.
 */
export function ggufTensors(
  tensors: readonly TensorToWrite[],
  sizes: GgufSizes,
  type: GgufWriteType,
  where: string,
): GgufTensorToWrite[] {
  const problems = problemsOf(sizes);
  const out: GgufTensorToWrite[] = [];
  for (const { name, shape, values } of tensors) {
    const [, module, kind] = /^(.+)\.(weight|bias)$/.exec(name) ?? [];
    const modules = module === undefined ? null : ggufModules(sizes.architecture, module);
    if (modules === null) {
      problems.push(`tensor ${showValue(name, 200)} has no place in a GGUF file of a ${sizes.architecture} model`);
      continue;
    }
    const fits = type !== "Q8_0" || shape[shape.length - 1] % 32 === 0;
    const ownType = shape.length === 1 ? "F32" : fits ? type : "F16";
    const read = sharedBy(modules.length, values);
    for (const [i, part] of modules.entries()) {
      const rows = rowsOf(sizes, modules, i, shape[0]);
      const written = async () => {
        const whole = await read();
        if (part === "output" && sizes.normalizedHead) return normalized(whole, shape[1]);
        return partOf(part, whole, rows, shape, sizes);
      };
      const partShape = [rows.end - rows.start, ...shape.slice(1)];
      out.push({ name: `${part}.${kind}`, type: ownType, shape: partShape, values: written });
    }
  }
  if (problems.length > 0) throw new UserErrors(`${where}: cannot be written as GGUF:`, problems);
  return out;
}

/** llama.cpp computes a Baichuan model of any other number of layers without positions. */
function problemsOf({ architecture, layers, rotary }: GgufSizes): string[] {
  if (architecture !== "baichuan") return [];
  const [kind, wanted] = rotary
    ? ["rotary positions", BAICHUAN_LAYERS.rotary]
    : ["positions by ALiBi", BAICHUAN_LAYERS.alibi];
  if (layers === wanted) return [];
  return [`a Baichuan model with ${kind} has ${layers} layers, llama.cpp computes it only with ${wanted}`];
}

interface Rows {
  start: number;
  end: number;
}

/** The rows of one of several modules that are kept as one matrix: queries, keys, values. */
function rowsOf(sizes: GgufSizes, modules: readonly string[], index: number, total: number): Rows {
  if (modules.length === 1) return { start: 0, end: total };
  const counts = [sizes.heads, sizes.keyValueHeads, sizes.keyValueHeads].map((heads) => heads * sizes.headWidth);
  const start = counts.slice(0, index).reduce((sum, count) => sum + count, 0);
  return { start, end: start + counts[index] };
}

/** Some rows of a matrix (or of a vector), in llama.cpp's order. */
function partOf(
  module: string,
  whole: ArrayLike<number>,
  { start, end }: Rows,
  shape: readonly number[],
  sizes: GgufSizes,
): Float32Array {
  const columns = elementCount(shape.slice(1));
  const values = whole instanceof Float32Array ? whole : Float32Array.from(whole);
  const rows = values.subarray(start * columns, end * columns);
  return turnedRows(module, rows, sizes, sizes.rotary?.layout ?? "halves", "interleaved");
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

/** Metadata and tensors of a LoRA adapter for llama.cpp (its convert_lora_to_gguf.py): a as it is, rows of b as those of its base. */
export function ggufLora(
  config: PeftLoraConfig,
  tensors: readonly TensorToWrite[],
  sizes: GgufSizes,
  where: string,
): { fields: GgufField[]; tensors: GgufTensorToWrite[] } {
  const problems = problemsOf(sizes);
  const out: GgufTensorToWrite[] = [];
  for (const { name, shape, values } of tensors) {
    const [, module, half] = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(name) ?? [];
    const modules = module === undefined ? null : ggufModules(sizes.architecture, module);
    if (modules === null || elementCount(shape) === 0) {
      problems.push(`tensor ${showValue(name, 200)} has no place in an adapter of a ${sizes.architecture} model`);
      continue;
    }
    const isB = half === "B";
    const read = sharedBy(modules.length, values);
    for (const [i, part] of modules.entries()) {
      const rows = isB ? rowsOf(sizes, modules, i, shape[0]) : { start: 0, end: shape[0] };
      out.push({
        name: `${part}.weight.lora_${isB ? "b" : "a"}`,
        type: "F32",
        shape: [rows.end - rows.start, ...shape.slice(1)],
        values: async () => (isB ? partOf(part, await read(), rows, shape, sizes) : read()),
      });
    }
  }
  if (problems.length > 0) throw new UserErrors(`${where}: cannot be written as GGUF:`, problems);
  const fields: GgufField[] = [
    { key: "general.architecture", type: "string", value: sizes.architecture },
    { key: "general.type", type: "string", value: "adapter" },
    { key: "adapter.type", type: "string", value: "lora" },
    { key: "adapter.lora.alpha", type: "float32", value: config.alpha },
  ];
  return { fields, tensors: out };
}
