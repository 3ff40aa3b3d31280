import { type Config, type ConfigReader, createConfigReader } from "./config-reader.ts";
import { checkSpec, type DecoderSpec, type Family, type LayerSlot, type RotaryPositions } from "./spec.ts";

const SLOT_NAMES: Readonly<Record<LayerSlot, string>> = {
  attentionNorm: "input_layernorm",
  q: "self_attn.q_proj",
  k: "self_attn.k_proj",
  v: "self_attn.v_proj",
  output: "self_attn.o_proj",
  feedForwardNorm: "post_attention_layernorm",
  gate: "mlp.gate_proj",
  up: "mlp.up_proj",
  down: "mlp.down_proj",
};

/** Rotary positions as transformers 4 (rope_theta, rope_scaling) or 5 (rope_parameters) writes them; ours adds rope_layout. */
function readRotary(config: Config, read: ConfigReader): { base: number; layout: RotaryPositions["layout"] } {
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
  return { base, layout: config.rope_layout === "interleaved" ? "interleaved" : "halves" };
}

/** Llama and Llama-2 as Hugging Face transformers stores them (LlamaForCausalLM). */
export const llama: Family = {
  modelType: "llama",
  readConfig(config, where) {
    const read = createConfigReader(config, where);
    read.only("hidden_act", "silu", "swish");
    read.only("attention_bias", false);
    read.only("mlp_bias", false);
    read.only("quantization_config");
    const rotary = readRotary(config, read);
    const width = read.number("hidden_size");
    const heads = read.number("num_attention_heads");
    const headWidth = read.number("head_dim", width / heads);
    const vocabularySize = read.number("vocab_size");
    const spec: DecoderSpec = {
      family: "llama",
      vocabularySize,
      width,
      layers: read.number("num_hidden_layers"),
      heads,
      keyValueHeads: read.number("num_key_value_heads", heads),
      headWidth,
      feedForward: read.number("intermediate_size"),
      normEpsilon: read.number("rms_norm_eps", 1e-6),
      positions: { kind: "rotary", ...rotary, rotatedWidth: headWidth },
      tiedHead: config.tie_word_embeddings === true,
      maxTokens: read.number("max_position_embeddings", 2048),
      bosId: read.tokenId("bos_token_id", vocabularySize),
      eosId: read.tokenId("eos_token_id", vocabularySize),
    };
    read.finish();
    return checkSpec(spec, where);
  },
  writeConfig: (spec) => ({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: spec.vocabularySize,
    hidden_size: spec.width,
    intermediate_size: spec.feedForward,
    num_hidden_layers: spec.layers,
    num_attention_heads: spec.heads,
    num_key_value_heads: spec.keyValueHeads,
    head_dim: spec.headWidth,
    max_position_embeddings: spec.maxTokens,
    rms_norm_eps: spec.normEpsilon,
    rope_theta: spec.positions.base,
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: spec.tiedHead,
    bos_token_id: spec.bosId,
    eos_token_id: spec.eosId,
  }),
  names: {
    embedding: "model.embed_tokens.weight",
    finalNorm: "model.norm.weight",
    head: "lm_head.weight",
    layer: (index, slot) => `model.layers.${index}.${SLOT_NAMES[slot]}.weight`,
  },
  ignored: [/^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/],
};
