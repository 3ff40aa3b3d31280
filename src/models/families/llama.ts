import type { Family } from "../family.ts";
import { checkSpec } from "../spec.ts";
import { createConfigReader } from "./config-reader.ts";
import { LLAMA_LIKE, readLlamaLike, writeLlamaLike } from "./llama-like.ts";
import { TINY_SIZES } from "./tiny-sizes.ts";

/** Llama and Llama-2 as Hugging Face transformers stores them (LlamaForCausalLM). */
export const llama: Family = {
  ...LLAMA_LIKE,
  modelType: "llama",
  readConfig(config, where) {
    const read = createConfigReader(config, where);
    read.only("attention_bias", false);
    read.only("mlp_bias", false);
    const spec = readLlamaLike(config, read, "llama", { maxTokens: 2048 });
    read.finish();
    return checkSpec(spec, where);
  },
  writeConfig: (spec) => ({
    architectures: ["LlamaForCausalLM"],
    ...writeLlamaLike(spec),
    attention_bias: false,
    mlp_bias: false,
  }),
  // llama.cpp's converter interleaves the rows of queries and keys.
  gguf: {
    architecture: "llama",
    rotaryLayout: "interleaved",
    sentencePieceRule: "default",
    dividesAngles: true,
    fields: [],
  },
  // Where its spaces are, tokenizer_config.json says.
  tokenizer: { tokenizerClass: "LlamaTokenizer", commandPieces: [] },
  chatTemplate: "llama2",
  init: {
    deviation: 0.02,
    queryKeyValueBias: false,
    tiny: { llama2: { ...TINY_SIZES, normEpsilon: 1e-5 } },
  },
};
