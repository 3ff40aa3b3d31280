import type { Family, LayerModule } from "../family.ts";
import type { DecoderSpec, RotaryLayout } from "../spec.ts";
import { type Config, type ConfigReader, readPromptAttention, writePromptAttention } from "./config-reader.ts";
import { readRotary, writeRotary } from "./rotary-config.ts";

// What Hugging Face's Llama shares with the families that follow its design: names of tensors and entries of config.json.

export const ATTENTION_NORM: LayerModule = { name: "input_layernorm", slots: ["attentionNorm"], gguf: ["attn_norm"] };

export const QUERY_KEY_VALUE: readonly LayerModule[] = [
  { name: "self_attn.q_proj", slots: ["q"], gguf: ["attn_q"] },
  { name: "self_attn.k_proj", slots: ["k"], gguf: ["attn_k"] },
  { name: "self_attn.v_proj", slots: ["v"], gguf: ["attn_v"] },
];

/** A layer's modules from the output of attention on. */
export const MODULES_AFTER_ATTENTION: readonly LayerModule[] = [
  { name: "self_attn.o_proj", slots: ["output"], gguf: ["attn_output"] },
  { name: "post_attention_layernorm", slots: ["feedForwardNorm"], gguf: ["ffn_norm"] },
  { name: "mlp.gate_proj", slots: ["gate"], gguf: ["ffn_gate"] },
  { name: "mlp.up_proj", slots: ["up"], gguf: ["ffn_up"] },
  { name: "mlp.down_proj", slots: ["down"], gguf: ["ffn_down"] },
];

/** What most of these families have; each adds its own name, configuration, GGUF form, chat template and tiny models. */
export const LLAMA_LIKE = {
  names: {
    embedding: "model.embed_tokens.weight",
    finalNorm: "model.norm.weight",
    head: "lm_head.weight",
    layers: "model.layers.",
  },
  modules: [ATTENTION_NORM, ...QUERY_KEY_VALUE, ...MODULES_AFTER_ATTENTION],
  rotaryLayout: "halves",
  loraTargets: ["q_proj", "v_proj"],
  ignored: [/^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/],
  tokenizer: null,
} as const satisfies Partial<Family>;

/** Reads the entries that the families share; the caller adds the traits of its own family. */
export function readLlamaLike(
  config: Config,
  read: ConfigReader,
  family: string,
  defaults: { headWidth?: number; maxTokens: number; layout?: RotaryLayout; rotatedShare?: number },
): DecoderSpec {
  read.only("hidden_act", "silu", "swish");
  read.only("quantization_config");
  const width = read.number("hidden_size");
  const heads = read.number("num_attention_heads");
  const headWidth = read.number("head_dim", defaults.headWidth ?? width / heads);
  const vocabularySize = read.number("vocab_size");
  return {
    family,
    vocabularySize,
    tokenCount: vocabularySize,
    width,
    layers: read.number("num_hidden_layers"),
    heads,
    keyValueHeads: read.number("num_key_value_heads", heads),
    headWidth,
    feedForward: read.number("intermediate_size"),
    normEpsilon: read.number("rms_norm_eps", 1e-6),
    positions: readRotary(config, read, headWidth, {
      layout: defaults.layout ?? null,
      defaultShare: defaults.rotatedShare ?? null,
    }),
    promptAttention: readPromptAttention(config, read),
    queryKeyValueBias: false,
    queryKeyNorm: false,
    tiedHead: read.flag("tie_word_embeddings"),
    normalizedHead: false,
    maxTokens: read.number("max_position_embeddings", defaults.maxTokens),
    bosId: read.tokenId("bos_token_id", vocabularySize),
    eosId: read.tokenId("eos_token_id", vocabularySize),
  };
}

/** The entries that {@link readLlamaLike} reads. */
export function writeLlamaLike(spec: DecoderSpec): Record<string, unknown> {
  return {
    model_type: spec.family,
    vocab_size: spec.vocabularySize,
    hidden_size: spec.width,
    intermediate_size: spec.feedForward,
    num_hidden_layers: spec.layers,
    num_attention_heads: spec.heads,
    num_key_value_heads: spec.keyValueHeads,
    head_dim: spec.headWidth,
    max_position_embeddings: spec.maxTokens,
    rms_norm_eps: spec.normEpsilon,
    ...(spec.positions.kind === "rotary" ? writeRotary(spec.positions, spec.headWidth) : {}),
    hidden_act: "silu",
    tie_word_embeddings: spec.tiedHead,
    bos_token_id: spec.bosId,
    eos_token_id: spec.eosId,
    ...writePromptAttention(spec),
  };
}
