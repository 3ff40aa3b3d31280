import { checkSpec, type Family } from "../spec.ts";
import { createConfigReader } from "./config-reader.ts";
import { LLAMA_LIKE, readLlamaLike, writeLlamaLike } from "./llama-like.ts";
import { refuseSlidingWindow } from "./qwen2.ts";

/** Qwen3 as Hugging Face transformers stores it (Qwen3ForCausalLM): Llama with a norm over each head of queries and keys. */
export const qwen3: Family = {
  ...LLAMA_LIKE,
  modelType: "qwen3",
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
};
