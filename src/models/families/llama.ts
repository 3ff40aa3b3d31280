import { checkSpec, type Family } from "../spec.ts";
import { createConfigReader } from "./config-reader.ts";
import { LLAMA_LIKE, readLlamaLike, writeLlamaLike } from "./llama-like.ts";

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
};
