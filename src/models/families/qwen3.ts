import type { Family } from "../family.ts";
import { checkSpec } from "../spec.ts";
import { createConfigReader } from "./config-reader.ts";
import {
  ATTENTION_NORM,
  LLAMA_LIKE,
  MODULES_AFTER_ATTENTION,
  QUERY_KEY_VALUE,
  readLlamaLike,
  writeLlamaLike,
} from "./llama-like.ts";
import { refuseSlidingWindow } from "./qwen2.ts";
import { TINY_SIZES } from "./tiny-sizes.ts";

/** Qwen3 as Hugging Face transformers stores it (Qwen3ForCausalLM): Llama with a norm over each head of queries and keys. */
export const qwen3: Family = {
  ...LLAMA_LIKE,
  modelType: "qwen3",
  modules: [
    ATTENTION_NORM,
    ...QUERY_KEY_VALUE,
    { name: "self_attn.q_norm", slots: ["queryNorm"], gguf: ["attn_q_norm"] },
    { name: "self_attn.k_norm", slots: ["keyNorm"], gguf: ["attn_k_norm"] },
    ...MODULES_AFTER_ATTENTION,
  ],
  readConfig(config, where) {
    const read = createConfigReader(config, where);
    read.only("attention_bias", false);
    refuseSlidingWindow(config, read);
    const spec = readLlamaLike(config, read, "qwen3", { headWidth: 128, maxTokens: 32_768 });
    read.finish();
    return checkSpec({ ...spec, queryKeyNorm: true }, where);
  },
  writeConfig: (spec) => ({
    architectures: ["Qwen3ForCausalLM"],
    ...writeLlamaLike(spec),
    attention_bias: false,
    use_sliding_window: false,
  }),
  gguf: { architecture: "qwen3", rotaryLayout: "halves", sentencePieceRule: "default", fields: [] },
  chatTemplate: "qwen",
  init: {
    deviation: 0.02,
    queryKeyValueBias: false,
    tiny: { qwen3: { ...TINY_SIZES, headWidth: 32, rotaryBase: 1_000_000, vocabularyMultiple: 128 } },
  },
};
