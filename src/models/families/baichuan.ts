import type { Family } from "../family.ts";
import { checkSpec } from "../spec.ts";
import { type Config, createConfigReader } from "./config-reader.ts";
import { ATTENTION_NORM, LLAMA_LIKE, MODULES_AFTER_ATTENTION, readLlamaLike, writeLlamaLike } from "./llama-like.ts";
import { TINY_SIZES } from "./tiny-sizes.ts";

/** Vocabulary of the first Baichuan models, whose output layer is not normalised. */
const FIRST_VOCABULARY = 64_000;

/**
 * Whether a model has ALiBi. The authors give their two sizes one model_type and one class name, but different code. In the published
 * config.json only the 7B model, which has rotary positions, names max_position_embeddings (in addition to model_max_length); the 13B model
 * (width 5120, 40 heads) does not. Some tools add the entry, so the published sizes decide before it does.
 */
function hasAlibi(config: Config): boolean {
  if (config.hidden_size === 5120 && config.num_attention_heads === 40) return true;
  if (config.hidden_size === 4096 && config.num_attention_heads === 32) return false;
  return (config.max_position_embeddings ?? null) === null;
}

/** Baichuan2-7B (rotary) and -13B (ALiBi) as the authors' own code stores them: Llama with W_pack and a normalised output layer. */
export const baichuan: Family = {
  ...LLAMA_LIKE,
  modelType: "baichuan",
  modules: [
    ATTENTION_NORM,
    { name: "self_attn.W_pack", slots: ["q", "k", "v"], gguf: ["attn_q", "attn_k", "attn_v"] },
    ...MODULES_AFTER_ATTENTION,
  ],
  nativeForm: ({ positions }) =>
    positions.kind === "rotary"
      ? { modelType: "llama" }
      : { because: "its positions are ALiBi (13B), which no Llama of transformers has" },
  loraTargets: ["W_pack"],
  readConfig(config, where) {
    const read = createConfigReader(config, where);
    const vocabulary = "the vocabulary of a Baichuan2 model (the first Baichuan models have another output layer)";
    if (config.vocab_size === FIRST_VOCABULARY) read.refuse("vocab_size", vocabulary);
    const heads = config.num_attention_heads as number;
    read.only("num_key_value_heads", heads);
    read.only("head_dim", (config.hidden_size as number) / heads);
    read.only("rope_theta", 10_000);
    read.only("tie_word_embeddings", false);
    const alibi = hasAlibi(config);
    const spec = readLlamaLike(config, read, "baichuan", { maxTokens: 4096 });
    const { positions: rotary } = spec;
    if (rotary.kind === "rotary" && rotary.scaling) read.refuse("rope_scaling", "plain rotary positions");
    const maxTokens = alibi ? read.number("model_max_length", 4096) : spec.maxTokens;
    read.finish();
    const positions = alibi ? ({ kind: "alibi" } as const) : rotary;
    return checkSpec({ ...spec, positions, maxTokens, normalizedHead: true }, where);
  },
  writeConfig(spec) {
    const { max_position_embeddings, num_key_value_heads: _groups, head_dim: _width, ...config } = writeLlamaLike(spec);
    return {
      architectures: ["BaichuanForCausalLM"],
      ...config,
      ...(spec.positions.kind === "rotary" ? { max_position_embeddings } : {}),
      model_max_length: spec.maxTokens,
      pad_token_id: 0,
      z_loss_weight: 0,
    };
  },
  gguf: {
    architecture: "baichuan",
    rotaryLayout: "interleaved",
    sentencePieceRule: "default",
    // llama.cpp's converter notes so that the rows of queries and keys are interleaved.
    fields: [{ key: "baichuan.tensor_data_layout", type: "string", value: "Meta AI original pth" }],
    // llama.cpp's src/models/baichuan.cpp.
    layersByPositions: { rotary: 32, alibi: 40 },
  },
  needsAuthorsCode: true,
  chatTemplate: "baichuan2",
  init: {
    deviation: 0.02,
    queryKeyValueBias: false,
    tiny: {
      "baichuan2-7b": { ...TINY_SIZES, keyValueHeads: 4 },
      // Like the 40 heads of the published model, 5 are no power of two, which changes ALiBi's slopes.
      "baichuan2-13b": { ...TINY_SIZES, width: 80, heads: 5, keyValueHeads: 5, positions: "alibi" },
    },
  },
};
