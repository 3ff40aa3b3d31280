import type { Family } from "../family.ts";
import { checkSpec } from "../spec.ts";
import { type Config, type ConfigReader, createConfigReader } from "./config-reader.ts";
import { LLAMA_LIKE, readLlamaLike, writeLlamaLike } from "./llama-like.ts";
import { TINY_SIZES } from "./tiny-sizes.ts";

/** Refuses attention over a sliding window, which is not computed here; most Qwen models name a window that they do not use. */
export function refuseSlidingWindow(config: Config, read: ConfigReader): void {
  const { use_sliding_window: use, sliding_window: window, max_window_layers: from, layer_types: types } = config;
  read.known("use_sliding_window", "sliding_window", "max_window_layers", "layer_types");
  const layers = config.num_hidden_layers as number;
  // transformers 4 slides from layer max_window_layers on (28 by default), with a window of 4,096 where none is named; transformers 5 lists
  // the layers' kinds.
  const slides = use === true && window !== null && ((from as number | undefined) ?? 28) < layers;
  if (slides) read.refuse("use_sliding_window", "false");
  const isList = Array.isArray(types) && types.every((type) => type === "full_attention");
  if ((types ?? null) !== null && !isList) read.refuse("layer_types", '"full_attention" for every layer');
}

/** Qwen2 and Qwen2.5 as Hugging Face transformers stores them (Qwen2ForCausalLM): Llama with biases on queries, keys and values. */
export const qwen2: Family = {
  ...LLAMA_LIKE,
  modelType: "qwen2",
  readConfig(config, where) {
    const read = createConfigReader(config, where);
    refuseSlidingWindow(config, read);
    const spec = readLlamaLike(config, read, "qwen2", { maxTokens: 32_768 });
    read.finish();
    return checkSpec({ ...spec, queryKeyValueBias: true }, where);
  },
  writeConfig: (spec) => ({
    architectures: ["Qwen2ForCausalLM"],
    ...writeLlamaLike(spec),
    use_sliding_window: false,
  }),
  gguf: { architecture: "qwen2", rotaryLayout: "halves", sentencePieceRule: "default", fields: [] },
  chatTemplate: "qwen",
  init: {
    deviation: 0.02,
    queryKeyValueBias: true,
    tiny: { qwen2: { ...TINY_SIZES, tiedHead: true, rotaryBase: 1_000_000, vocabularyMultiple: 128 } },
  },
};
