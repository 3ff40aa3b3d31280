import type { Family } from "../family.ts";
import { checkSpec } from "../spec.ts";
import { createConfigReader } from "./config-reader.ts";
import { LLAMA_LIKE, readLlamaLike, writeLlamaLike } from "./llama-like.ts";
import { TINY_SIZES } from "./tiny-sizes.ts";

/**
 * Mistral-7B, Nemo and Small as Hugging Face transformers stores them (MistralForCausalLM): Llama, in the first version with attention over a
 * sliding window. Up to the window's length that is the same computation, so the window is the longest sequence here.
 */
export const mistral: Family = {
  ...LLAMA_LIKE,
  modelType: "mistral",
  readConfig(config, where) {
    const read = createConfigReader(config, where);
    read.only("attention_bias", false);
    read.only("mlp_bias", false);
    const spec = readLlamaLike(config, read, "mistral", { maxTokens: 4096 * 32 });
    const window = (config.sliding_window ?? null) === null ? spec.maxTokens : read.number("sliding_window");
    read.known("sliding_window");
    read.finish();
    return checkSpec({ ...spec, maxTokens: Math.min(spec.maxTokens, window) }, where);
  },
  writeConfig: (spec) => ({
    architectures: ["MistralForCausalLM"],
    ...writeLlamaLike(spec),
    sliding_window: null,
  }),
  // llama.cpp has no architecture of this name.
  gguf: {
    architecture: "llama",
    rotaryLayout: "interleaved",
    sentencePieceRule: "default",
    dividesAngles: true,
    fields: [],
  },
  chatTemplate: "mistral",
  init: {
    deviation: 0.02,
    queryKeyValueBias: false,
    tiny: { mistral: { ...TINY_SIZES, headWidth: 32, normEpsilon: 1e-5, rotaryBase: 1_000_000 } },
  },
};
