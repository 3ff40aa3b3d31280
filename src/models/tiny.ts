import type { ModelSizes } from "./sizes.ts";

const SHARED = {
  width: 64,
  layers: 2,
  heads: 4,
  keyValueHeads: 2,
  feedForward: 160,
  maxTokens: 2048,
  tiedHead: false,
  normEpsilon: 1e-6,
  rotaryBase: 10_000,
};

/** Small models with every trait of their families, for trying things out and for tests; the names are those of the models they stand for. */
export const TINY_MODELS = {
  llama2: { ...SHARED, family: "llama", normEpsilon: 1e-5 },
  chatglm2: { ...SHARED, family: "chatglm", normEpsilon: 1e-5, vocabularyMultiple: 256 },
  "baichuan2-7b": { ...SHARED, family: "baichuan", keyValueHeads: 4 },
  // Like the 40 heads of the large model, 5 are no power of two, which decides how ALiBi's slopes are made.
  "baichuan2-13b": { ...SHARED, family: "baichuan", width: 80, heads: 5, keyValueHeads: 5, positions: "alibi" },
  qwen2: { ...SHARED, family: "qwen2", tiedHead: true, rotaryBase: 1_000_000, vocabularyMultiple: 128 },
  qwen3: { ...SHARED, family: "qwen3", headWidth: 32, rotaryBase: 1_000_000, vocabularyMultiple: 128 },
} as const satisfies Record<string, ModelSizes>;

export type TinyModelName = keyof typeof TINY_MODELS;
