import { showValue, UserErrors } from "../base/errors.ts";
import { type GgufFile, openGguf } from "./gguf.ts";
import type { GgufWriteType } from "./gguf-blocks.ts";
import type { GgufValue } from "./gguf-header.ts";
import type { GgufField, GgufTensorToWrite } from "./gguf-write.ts";
import type { Checkpoint } from "./hf-folder.ts";
import type { PeftLoraConfig } from "./peft-folder.ts";
import { type RotaryLayout, turnRotaryRows } from "./rotary-rows.ts";
import { elementCount, type TensorInfo, type TensorToWrite } from "./tensor-source.ts";

/** The sizes that a GGUF file of a Llama model states. */
export interface LlamaSizes {
  vocabularySize: number;
  width: number;
  layers: number;
  heads: number;
  keyValueHeads: number;
  headWidth: number;
  feedForward: number;
  normEpsilon: number;
  rotaryBase: number;
  /** Layout of the tensors that are given; files have "interleaved". */
  rotaryLayout: RotaryLayout;
  maxTokens: number;
}

/** A SentencePiece vocabulary: one text, score and type (as SentencePiece numbers them) for each id. */
export interface GgufVocabulary {
  texts: readonly string[];
  scores: Float32Array;
  types: Uint8Array;
  bosId: number | null;
  eosId: number | null;
  unkId: number | null;
  padId: number | null;
  addsBos: boolean;
  addsSpacePrefix: boolean;
}

/** Modules by Hugging Face's name and by llama.cpp's (its gguf Python package, tensor_mapping.py). */
const MODULES: readonly [huggingFace: string, gguf: string][] = [
  ["model.embed_tokens", "token_embd"],
  ["model.norm", "output_norm"],
  ["lm_head", "output"],
];
const LAYER_MODULES: readonly [huggingFace: string, gguf: string][] = [
  ["input_layernorm", "attn_norm"],
  ["self_attn.q_proj", "attn_q"],
  ["self_attn.k_proj", "attn_k"],
  ["self_attn.v_proj", "attn_v"],
  ["self_attn.o_proj", "attn_output"],
  ["post_attention_layernorm", "ffn_norm"],
  ["mlp.gate_proj", "ffn_gate"],
  ["mlp.up_proj", "ffn_up"],
  ["mlp.down_proj", "ffn_down"],
];

/** Hugging Face's name of a tensor of a GGUF file; null for one that a Llama model does not have. */
export function huggingFaceName(ggufName: string): string | null {
  const layer = /^blk\.(\d+)\.(\w+)\.weight$/.exec(ggufName);
  if (layer) {
    const module = LAYER_MODULES.find(([, gguf]) => gguf === layer[2]);
    return module ? `model.layers.${Number(layer[1])}.${module[0]}.weight` : null;
  }
  const module = MODULES.find(([, gguf]) => `${gguf}.weight` === ggufName);
  return module ? `${module[0]}.weight` : null;
}

/** llama.cpp's name of a module, without ".weight"; null for one that a Llama model does not have. */
export function ggufModule(huggingFace: string): string | null {
  const layer = /^model\.layers\.(\d+)\.(.+)$/.exec(huggingFace);
  const table = layer ? LAYER_MODULES : MODULES;
  const module = table.find(([name]) => name === (layer ? layer[2] : huggingFace));
  if (!module) return null;
  return layer ? `blk.${layer[1]}.${module[1]}` : module[1];
}

/**
 * Opens a GGUF file of a Llama model: configuration and names as Hugging Face's. Rows of q and k are interleaved in such a file, which the
 * configuration says as `"rope_layout": "interleaved"`. Throws a UserErrors for another architecture or an option that is not computed here.
 */
export async function openGgufModel(file: string): Promise<Checkpoint> {
  const gguf = await openGguf(file);
  try {
    const config = configOf(gguf, file);
    const tensors = new Map<string, TensorInfo>();
    const ggufNames = new Map<string, string>();
    for (const [ggufName, info] of gguf.tensors) {
      // What has no place in the model keeps its name and is reported by whoever builds the model.
      const name = huggingFaceName(ggufName) ?? ggufName;
      tensors.set(name, { name, dtype: info.dtype, shape: info.shape, file });
      ggufNames.set(name, ggufName);
    }
    const read = (name: string) => gguf.read(ggufNames.get(name) ?? name);
    return { directory: file, config, source: { tensors, read, close: () => gguf.close() } };
  } catch (error) {
    await gguf.close();
    throw error;
  }
}

function configOf({ metadata, tensors }: GgufFile, file: string): Record<string, unknown> {
  const problems: string[] = [];
  const expect = (key: string, expected: string, fits: (value: GgufValue | undefined) => boolean) => {
    if (!fits(metadata.get(key))) problems.push(`"${key}" is ${showValue(metadata.get(key))}, expected ${expected}`);
  };
  const number = (key: string, fallback?: number): number => {
    const value = metadata.get(`llama.${key}`) ?? fallback;
    if (typeof value === "number") return value;
    problems.push(`"llama.${key}" is ${showValue(metadata.get(`llama.${key}`))}, expected a number`);
    return Number.NaN;
  };
  expect("general.architecture", '"llama"', (value) => value === "llama");
  if (problems.length === 0) {
    expect("general.type", '"model"', (value) => (value ?? "model") === "model");
    expect(
      "split.count",
      "one file (llama.cpp's llama-gguf-split --merge makes one)",
      (value) => !value || value === 1,
    );
    expect("llama.expert_count", "no experts", (value) => !value);
    expect("llama.rope.scaling.type", "plain rotary positions", (value) => (value ?? "none") === "none");
  }
  if (problems.length > 0) throw new UserErrors(`${file}: the model cannot be used:`, problems);
  const heads = number("attention.head_count");
  const width = number("embedding_length");
  const headWidth = number("attention.key_length", width / heads);
  const vocabulary = tensors.get("token_embd.weight")?.shape[0];
  const token = (name: string) => metadata.get(`tokenizer.ggml.${name}_token_id`) ?? null;
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: number("vocab_size", vocabulary),
    hidden_size: width,
    intermediate_size: number("feed_forward_length"),
    num_hidden_layers: number("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: number("attention.head_count_kv", heads),
    head_dim: headWidth,
    max_position_embeddings: number("context_length"),
    rms_norm_eps: number("attention.layer_norm_rms_epsilon"),
    rope_theta: number("rope.freq_base", 10_000),
    rope_layout: "interleaved",
    hidden_act: "silu",
    tie_word_embeddings: !tensors.has("output.weight"),
    bos_token_id: token("bos"),
    eos_token_id: token("eos"),
  };
  const turned = number("rope.dimension_count", headWidth);
  if (turned !== headWidth) problems.push(`"llama.rope.dimension_count" is ${turned}, expected ${headWidth}`);
  if (problems.length > 0) throw new UserErrors(`${file}: the model cannot be used:`, problems);
  return config;
}

/** What llama.cpp calls a file by the type of its matrices (llama.h, enum llama_ftype). */
const FILE_TYPES: Readonly<Record<GgufWriteType, number>> = { F32: 0, F16: 1, Q8_0: 7, BF16: 32 };
const QUANTIZATION_VERSION = 2;
const UNUSED_TYPE = 5;

/** The metadata of a Llama model as llama.cpp's converter writes it, with the vocabulary filled up to the model's size. */
export function llamaFields(
  name: string,
  sizes: LlamaSizes,
  vocabulary: GgufVocabulary,
  type: GgufWriteType,
): GgufField[] {
  const uint = (key: string, value: number): GgufField => ({ key, type: "uint32", value });
  const fields: GgufField[] = [
    { key: "general.architecture", type: "string", value: "llama" },
    { key: "general.type", type: "string", value: "model" },
    { key: "general.name", type: "string", value: name },
    uint("general.file_type", FILE_TYPES[type]),
    uint("general.quantization_version", QUANTIZATION_VERSION),
    uint("llama.vocab_size", sizes.vocabularySize),
    uint("llama.context_length", sizes.maxTokens),
    uint("llama.embedding_length", sizes.width),
    uint("llama.block_count", sizes.layers),
    uint("llama.feed_forward_length", sizes.feedForward),
    uint("llama.attention.head_count", sizes.heads),
    uint("llama.attention.head_count_kv", sizes.keyValueHeads),
    uint("llama.attention.key_length", sizes.headWidth),
    uint("llama.attention.value_length", sizes.headWidth),
    uint("llama.rope.dimension_count", sizes.headWidth),
    { key: "llama.rope.freq_base", type: "float32", value: sizes.rotaryBase },
    { key: "llama.attention.layer_norm_rms_epsilon", type: "float32", value: sizes.normEpsilon },
  ];
  const missing = Math.max(0, sizes.vocabularySize - vocabulary.texts.length);
  const padding = Array.from({ length: missing }, (_, i) => i);
  fields.push(
    { key: "tokenizer.ggml.model", type: "string", value: "llama" },
    { key: "tokenizer.ggml.pre", type: "string", value: "default" },
    { key: "tokenizer.ggml.tokens", type: "string", value: [...vocabulary.texts, ...padding.map((i) => `[PAD${i}]`)] },
    { key: "tokenizer.ggml.scores", type: "float32", value: [...vocabulary.scores, ...padding.map(() => -10_000)] },
    {
      key: "tokenizer.ggml.token_type",
      type: "int32",
      value: [...vocabulary.types, ...padding.map(() => UNUSED_TYPE)],
    },
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: vocabulary.addsBos },
    { key: "tokenizer.ggml.add_eos_token", type: "bool", value: false },
    { key: "tokenizer.ggml.add_space_prefix", type: "bool", value: vocabulary.addsSpacePrefix },
  );
  const ids: [string, number | null][] = [
    ["bos", vocabulary.bosId],
    ["eos", vocabulary.eosId],
    ["unknown", vocabulary.unkId],
    ["padding", vocabulary.padId],
  ];
  for (const [key, id] of ids) if (id !== null) fields.push(uint(`tokenizer.ggml.${key}_token_id`, id));
  return fields;
}

/**
 * Tensors with Hugging Face's names as a GGUF file has them: matrices in `type` (float16 where a row does not fill its blocks), vectors in
 * float32, q and k interleaved. Throws a UserErrors for a tensor that has no name there.
 */
export function llamaTensors(
  tensors: readonly TensorToWrite[],
  sizes: LlamaSizes,
  type: GgufWriteType,
  where: string,
): GgufTensorToWrite[] {
  const problems: string[] = [];
  const out: GgufTensorToWrite[] = [];
  for (const { name, shape, values } of tensors) {
    const module = name.endsWith(".weight") ? ggufModule(name.slice(0, -".weight".length)) : null;
    if (module === null) {
      problems.push(`tensor ${showValue(name, 200)} has no place in a GGUF file of a Llama model`);
      continue;
    }
    const fits = type !== "Q8_0" || shape[shape.length - 1] % 32 === 0;
    const ownType = shape.length === 1 ? "F32" : fits ? type : "F16";
    out.push({ name: `${module}.weight`, type: ownType, shape, values: () => turned(module, values(), sizes) });
  }
  if (problems.length > 0) throw new UserErrors(`${where}: cannot be written as GGUF:`, problems);
  return out;
}

/** Rows of q and k as the file has them. */
async function turned(
  module: string,
  values: Promise<ArrayLike<number>>,
  sizes: LlamaSizes,
): Promise<ArrayLike<number>> {
  const isQuery = module.endsWith(".attn_q");
  if (sizes.rotaryLayout === "interleaved" || !(isQuery || module.endsWith(".attn_k"))) return values;
  return turnRotaryRows(await values, isQuery ? sizes.heads : sizes.keyValueHeads, sizes.headWidth, "interleaved");
}

/** Metadata and tensors of a LoRA adapter for llama.cpp (its convert_lora_to_gguf.py): a as it is, rows of b as those of its base. */
export function llamaLora(
  config: PeftLoraConfig,
  tensors: readonly TensorToWrite[],
  sizes: LlamaSizes,
  where: string,
): { fields: GgufField[]; tensors: GgufTensorToWrite[] } {
  const problems: string[] = [];
  const out: GgufTensorToWrite[] = [];
  for (const { name, shape, values } of tensors) {
    const parts = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(name);
    const module = parts ? ggufModule(parts[1]) : null;
    if (!parts || module === null || elementCount(shape) === 0) {
      problems.push(`tensor ${showValue(name, 200)} has no place in an adapter of a Llama model`);
      continue;
    }
    const isB = parts[2] === "B";
    out.push({
      name: `${module}.weight.lora_${isB ? "b" : "a"}`,
      type: "F32",
      shape,
      values: () => (isB ? turned(module, values(), sizes) : values()),
    });
  }
  if (problems.length > 0) throw new UserErrors(`${where}: cannot be written as GGUF:`, problems);
  const fields: GgufField[] = [
    { key: "general.architecture", type: "string", value: "llama" },
    { key: "general.type", type: "string", value: "adapter" },
    { key: "adapter.type", type: "string", value: "lora" },
    { key: "adapter.lora.alpha", type: "float32", value: config.alpha },
  ];
  return { fields, tensors: out };
}
