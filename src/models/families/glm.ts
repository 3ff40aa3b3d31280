import type { Family } from "../family.ts";
import { checkSpec } from "../spec.ts";
import { createConfigReader } from "./config-reader.ts";
import { ATTENTION_NORM, LLAMA_LIKE, QUERY_KEY_VALUE, readLlamaLike, writeLlamaLike } from "./llama-like.ts";
import { TINY_SIZES } from "./tiny-sizes.ts";

/**
 * GLM-4 as Hugging Face transformers stores it (GlmForCausalLM): Llama with biases on queries, keys and values, gate and up in one matrix, and
 * rotary positions on the first half of each head in interleaved pairs. ChatGLM2 and ChatGLM3 have this form, too.
 */
export const glm: Family = {
  ...LLAMA_LIKE,
  modelType: "glm",
  modules: [
    ATTENTION_NORM,
    ...QUERY_KEY_VALUE,
    { name: "self_attn.o_proj", slots: ["output"], gguf: ["attn_output"] },
    { name: "post_attention_layernorm", slots: ["feedForwardNorm"], gguf: ["ffn_norm"] },
    { name: "mlp.gate_up_proj", slots: ["gate", "up"], gguf: ["ffn_up"] },
    { name: "mlp.down_proj", slots: ["down"], gguf: ["ffn_down"] },
  ],
  rotaryLayout: "interleaved",
  readConfig(config, where) {
    const read = createConfigReader(config, where);
    const hasBias = (config.attention_bias ?? true) === true;
    read.only("attention_bias", true, false);
    const defaults = { headWidth: 128, maxTokens: 131_072, layout: "interleaved", rotatedShare: 0.5 } as const;
    const spec = readLlamaLike(config, read, "glm", defaults);
    read.finish();
    return checkSpec({ ...spec, queryKeyValueBias: hasBias }, where);
  },
  writeConfig: (spec) => ({
    architectures: ["GlmForCausalLM"],
    ...writeLlamaLike(spec),
    attention_bias: spec.queryKeyValueBias,
    // transformers' default is an id of GLM-4's vocabulary.
    pad_token_id: spec.eosId,
  }),
  // llama.cpp reads queries, keys and values in one matrix or in three.
  gguf: { architecture: "chatglm", rotaryLayout: "interleaved", sentencePieceRule: "chatglm-spm", fields: [] },
  chatTemplate: "glm4",
  init: {
    deviation: 0.02,
    queryKeyValueBias: true,
    tiny: { glm4: { ...TINY_SIZES, rotatedShare: 0.5, normEpsilon: 1.5625e-7, vocabularyMultiple: 64 } },
  },
};
