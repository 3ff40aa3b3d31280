import { UserError } from "../base/errors.ts";
import { checkSpec, configNumber, type Family, type LayerSlot } from "./spec.ts";

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

/** Llama and Llama-2 as Hugging Face transformers stores them (LlamaForCausalLM). */
export const llama: Family = {
  modelType: "llama",
  readConfig(config, where) {
    const unsupported = (key: string, expected: string) =>
      new UserError(`${where}: "${key}" is ${JSON.stringify(config[key])}, supported: ${expected}.`);
    const activation = config.hidden_act ?? "silu";
    if (activation !== "silu" && activation !== "swish") throw unsupported("hidden_act", "silu");
    if (config.attention_bias === true) throw unsupported("attention_bias", "false");
    if (config.mlp_bias === true) throw unsupported("mlp_bias", "false");
    const rope = (config.rope_parameters ?? null) as Record<string, unknown> | null;
    const scaling = (config.rope_scaling ?? null) as Record<string, unknown> | null;
    const kind = scaling?.rope_type ?? scaling?.type ?? rope?.rope_type ?? "default";
    if (kind !== "default")
      throw unsupported(scaling ? "rope_scaling" : "rope_parameters", "none (plain rotary positions)");
    const layout = config.rope_layout ?? "halves";
    if (layout !== "halves" && layout !== "interleaved") throw unsupported("rope_layout", "halves, interleaved");
    const width = configNumber(config, "hidden_size", where);
    const heads = configNumber(config, "num_attention_heads", where);
    const headWidth = configNumber(config, "head_dim", where, width / heads);
    const id = (key: string) => (typeof config[key] === "number" ? (config[key] as number) : null);
    return checkSpec(
      {
        family: "llama",
        vocabularySize: configNumber(config, "vocab_size", where),
        width,
        layers: configNumber(config, "num_hidden_layers", where),
        heads,
        keyValueHeads: configNumber(config, "num_key_value_heads", where, heads),
        headWidth,
        feedForward: configNumber(config, "intermediate_size", where),
        normEpsilon: configNumber(config, "rms_norm_eps", where, 1e-6),
        positions: {
          kind: "rotary",
          base: configNumber(rope ?? config, "rope_theta", where, 10_000),
          layout,
          rotatedWidth: headWidth,
        },
        tiedHead: config.tie_word_embeddings === true,
        maxTokens: configNumber(config, "max_position_embeddings", where, 2048),
        bosId: id("bos_token_id"),
        eosId: id("eos_token_id"),
      },
      where,
    );
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
    torch_dtype: "bfloat16",
  }),
  names: {
    embedding: "model.embed_tokens.weight",
    finalNorm: "model.norm.weight",
    head: "lm_head.weight",
    layer: (index, slot) => `model.layers.${index}.${SLOT_NAMES[slot]}.weight`,
  },
  ignored: [/^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/],
};
