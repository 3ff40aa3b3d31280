import { showValue, UserErrors } from "../base/errors.ts";
import type { GgufFile } from "./gguf.ts";
import type { GgufValue } from "./gguf-header.ts";
import { GGUF_ARCHITECTURES, type GgufArchitecture } from "./gguf-names.ts";

/** ChatGLM2's base of rotary positions; a multiple of it is the configuration's rope_ratio. */
const CHATGLM_ROTARY_BASE = 10_000;

/** By this llama.cpp tells Baichuan2's two sizes apart (its src/models/baichuan.cpp): the one has rotary positions, the other ALiBi. */
export const BAICHUAN_LAYERS = { rotary: 32, alibi: 40 } as const;

/** What every architecture's metadata give, under the names of Hugging Face's Llama. */
interface CommonSizes {
  vocabularySize: number;
  width: number;
  feedForward: number;
  layers: number;
  heads: number;
  keyValueHeads: number;
  headWidth: number;
  maxTokens: number;
  normEpsilon: number;
  rotaryBase: number;
}

/**
 * The config.json that a GGUF file's metadata amount to, and its architecture. Throws a UserErrors for an architecture or an option that is
 * not computed here.
 */
export function readGgufConfig(
  gguf: GgufFile,
  file: string,
): { architecture: GgufArchitecture; config: Record<string, unknown> } {
  const { metadata, tensors } = gguf;
  const problems: string[] = [];
  const finish = () => {
    if (problems.length > 0) throw new UserErrors(`${file}: the model cannot be used:`, problems);
  };
  const expect = (key: string, expected: string, fits: (value: GgufValue | undefined) => boolean) => {
    if (!fits(metadata.get(key))) problems.push(`"${key}" is ${showValue(metadata.get(key))}, expected ${expected}`);
  };
  const named = metadata.get("general.architecture");
  const architecture = GGUF_ARCHITECTURES.find((one) => one === named) as GgufArchitecture;
  expect("general.architecture", `one of ${GGUF_ARCHITECTURES.join(", ")}`, () => architecture !== undefined);
  finish();
  expect("general.type", '"model"', (value) => (value ?? "model") === "model");
  expect("split.count", "one file (llama.cpp's llama-gguf-split --merge makes one)", (value) => !value || value === 1);
  expect(`${architecture}.expert_count`, "no experts", (value) => !value);
  expect(`${architecture}.rope.scaling.type`, "plain rotary positions", (value) => (value ?? "none") === "none");
  finish();
  const number = (key: string, fallback?: number): number => {
    const value = metadata.get(`${architecture}.${key}`) ?? fallback;
    if (typeof value === "number") return value;
    problems.push(`"${architecture}.${key}" is ${showValue(value)}, expected a number`);
    return Number.NaN;
  };
  const heads = number("attention.head_count");
  const width = number("embedding_length");
  const sizes: CommonSizes = {
    vocabularySize: number("vocab_size", tensors.get("token_embd.weight")?.shape[0]),
    width,
    feedForward: number("feed_forward_length"),
    layers: number("block_count"),
    heads,
    keyValueHeads: number("attention.head_count_kv", heads),
    headWidth: number("attention.key_length", width / heads),
    maxTokens: number("context_length"),
    normEpsilon: number("attention.layer_norm_rms_epsilon"),
    rotaryBase: number("rope.freq_base", CHATGLM_ROTARY_BASE),
  };
  const turnedShare = architecture === "chatglm" ? 0.5 : 1;
  const turned = number("rope.dimension_count", sizes.headWidth * turnedShare);
  if (turned !== sizes.headWidth * turnedShare) {
    problems.push(`"${architecture}.rope.dimension_count" is ${turned}, expected ${sizes.headWidth * turnedShare}`);
  }
  const { rotary, alibi } = BAICHUAN_LAYERS;
  if (architecture === "baichuan" && sizes.layers !== rotary && sizes.layers !== alibi) {
    problems.push(
      `"baichuan.block_count" is ${sizes.layers}, expected ${rotary} (rotary positions) or ${alibi} (ALiBi)`,
    );
  }
  finish();
  const hasTensor = (name: string) => tensors.has(name);
  const token = (name: string) => metadata.get(`tokenizer.ggml.${name}_token_id`) ?? null;
  const marks = { bos_token_id: token("bos"), eos_token_id: token("eos") };
  return { architecture, config: { ...configOf(architecture, sizes, hasTensor), ...marks } };
}

function configOf(
  architecture: GgufArchitecture,
  sizes: CommonSizes,
  hasTensor: (name: string) => boolean,
): Record<string, unknown> {
  switch (architecture) {
    case "llama":
      return { architectures: ["LlamaForCausalLM"], ...llamaConfig("llama", sizes, hasTensor) };
    case "qwen2":
      return {
        architectures: ["Qwen2ForCausalLM"],
        ...llamaConfig("qwen2", sizes, hasTensor),
        use_sliding_window: false,
      };
    case "qwen3": {
      const config = llamaConfig("qwen3", sizes, hasTensor);
      return { architectures: ["Qwen3ForCausalLM"], ...config, attention_bias: false, use_sliding_window: false };
    }
    case "baichuan":
      return baichuanConfig(sizes, hasTensor);
    case "chatglm":
      return chatGlmConfig(sizes, hasTensor);
  }
}

function llamaConfig(
  modelType: string,
  sizes: CommonSizes,
  hasTensor: (name: string) => boolean,
): Record<string, unknown> {
  return {
    model_type: modelType,
    vocab_size: sizes.vocabularySize,
    hidden_size: sizes.width,
    intermediate_size: sizes.feedForward,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.keyValueHeads,
    head_dim: sizes.headWidth,
    max_position_embeddings: sizes.maxTokens,
    rms_norm_eps: sizes.normEpsilon,
    rope_theta: sizes.rotaryBase,
    hidden_act: "silu",
    tie_word_embeddings: !hasTensor("output.weight"),
  };
}

/** As published: only the size with rotary positions has max_position_embeddings. */
function baichuanConfig(sizes: CommonSizes, hasTensor: (name: string) => boolean): Record<string, unknown> {
  return {
    architectures: ["BaichuanForCausalLM"],
    model_type: "baichuan",
    vocab_size: sizes.vocabularySize,
    hidden_size: sizes.width,
    intermediate_size: sizes.feedForward,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    ...(sizes.layers === BAICHUAN_LAYERS.rotary ? { max_position_embeddings: sizes.maxTokens } : {}),
    model_max_length: sizes.maxTokens,
    rms_norm_eps: sizes.normEpsilon,
    hidden_act: "silu",
    tie_word_embeddings: !hasTensor("output.weight"),
  };
}

function chatGlmConfig(sizes: CommonSizes, hasTensor: (name: string) => boolean): Record<string, unknown> {
  return {
    architectures: ["ChatGLMModel"],
    model_type: "chatglm",
    padded_vocab_size: sizes.vocabularySize,
    hidden_size: sizes.width,
    ffn_hidden_size: sizes.feedForward,
    num_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    multi_query_attention: true,
    multi_query_group_num: sizes.keyValueHeads,
    kv_channels: sizes.headWidth,
    seq_length: sizes.maxTokens,
    layernorm_epsilon: sizes.normEpsilon,
    ...(sizes.rotaryBase === CHATGLM_ROTARY_BASE ? {} : { rope_ratio: sizes.rotaryBase / CHATGLM_ROTARY_BASE }),
    add_qkv_bias: hasTensor("blk.0.attn_qkv.bias"),
    add_bias_linear: false,
    apply_residual_connection_post_layernorm: false,
    original_rope: true,
    post_layer_norm: true,
    rmsnorm: true,
    tie_word_embeddings: !hasTensor("output.weight"),
  };
}
