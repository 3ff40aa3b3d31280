import type { DecoderSpec, Family, LayerModule, RotaryPositions } from "../spec.ts";
import type { Config, ConfigReader } from "./config-reader.ts";

// What Hugging Face's Llama has in common with the families that were built after it: names of tensors and entries of config.json.

export const ATTENTION_NORM: LayerModule = { name: "input_layernorm", slots: ["attentionNorm"] };

/** A layer's modules from the output of attention on. */
export const MODULES_AFTER_ATTENTION: readonly LayerModule[] = [
  { name: "self_attn.o_proj", slots: ["output"] },
  { name: "post_attention_layernorm", slots: ["feedForwardNorm"] },
  { name: "mlp.gate_proj", slots: ["gate"] },
  { name: "mlp.up_proj", slots: ["up"] },
  { name: "mlp.down_proj", slots: ["down"] },
];

/** Everything of a family but its name and its configuration. */
export const LLAMA_LIKE: Omit<Family, "modelType" | "readConfig" | "writeConfig"> = {
  names: {
    embedding: "model.embed_tokens.weight",
    finalNorm: "model.norm.weight",
    head: "lm_head.weight",
    layer: (index) => `model.layers.${index}`,
  },
  modules: [
    ATTENTION_NORM,
    { name: "self_attn.q_proj", slots: ["q"] },
    { name: "self_attn.k_proj", slots: ["k"] },
    { name: "self_attn.v_proj", slots: ["v"] },
    { name: "self_attn.q_norm", slots: ["queryNorm"] },
    { name: "self_attn.k_norm", slots: ["keyNorm"] },
    ...MODULES_AFTER_ATTENTION,
  ],
  rotaryLayout: "halves",
  loraTargets: ["q_proj", "v_proj"],
  ignored: [/^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/],
};

/** Rotary positions as transformers 4 (rope_theta, rope_scaling) or 5 (rope_parameters) writes them; ours adds rope_layout. */
export function readRotary(config: Config, read: ConfigReader, headWidth: number): RotaryPositions {
  let base = read.number("rope_theta", 10_000);
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const value = config[key] ?? {};
    const { rope_type, type, rope_theta, partial_rotary_factor } = value as Record<string, unknown>;
    const kind = rope_type ?? type ?? "default";
    const turnsAll = (partial_rotary_factor ?? 1) === 1;
    if (typeof value !== "object" || kind !== "default" || !turnsAll) read.refuse(key, "plain rotary positions");
    if (typeof rope_theta === "number") base = rope_theta;
  }
  read.only("partial_rotary_factor", 1);
  read.only("rope_layout", "halves", "interleaved");
  const layout = config.rope_layout === "interleaved" ? "interleaved" : "halves";
  return { kind: "rotary", base, layout, rotatedWidth: headWidth };
}

/** Reads what the families have in common into a specification without the options that set one apart. */
export function readLlamaLike(
  config: Config,
  read: ConfigReader,
  family: string,
  defaults: { headWidth?: number; maxTokens: number },
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
    positions: readRotary(config, read, headWidth),
    queryKeyValueBias: false,
    queryKeyNorm: false,
    tiedHead: config.tie_word_embeddings === true,
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
    ...(spec.positions.kind === "rotary" ? { rope_theta: spec.positions.base } : {}),
    hidden_act: "silu",
    tie_word_embeddings: spec.tiedHead,
    bos_token_id: spec.bosId,
    eos_token_id: spec.eosId,
  };
}
