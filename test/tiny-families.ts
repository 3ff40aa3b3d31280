import { createRandom } from "../src/base/random.ts";
import type { Backend } from "../src/compute/backend.ts";
import { type Decoder, decoderWeights } from "../src/models/decoder.ts";
import { initDecoder } from "../src/models/init.ts";
import type { DecoderSpec } from "../src/models/spec.ts";
import { TINY_SPEC } from "./tiny-model.ts";

const ROTARY = { kind: "rotary", base: 10_000, layout: "halves", rotatedWidth: 8 } as const;
const YARN = { kind: "yarn", fastTurns: 32, slowTurns: 1, isWhole: true } as const;
const TINY: DecoderSpec = { ...TINY_SPEC, width: 32, headWidth: 8, feedForward: 48, positions: ROTARY };
const BAICHUAN: Partial<DecoderSpec> = {
  family: "baichuan",
  keyValueHeads: 4,
  normEpsilon: 1e-6,
  normalizedHead: true,
};

/** A tiny model of each family, with the options that its published ones have. */
export const TINY_FAMILIES: Readonly<Record<string, DecoderSpec>> = {
  llama: TINY,
  chatglm2: {
    ...TINY,
    family: "chatglm",
    feedForward: 44,
    positions: { ...ROTARY, layout: "interleaved", rotatedWidth: 4 },
    queryKeyValueBias: true,
    bosId: null,
  },
  // llama.cpp tells the two by their number of layers, and computes any other one without positions.
  "baichuan2-7b": { ...TINY, ...BAICHUAN, layers: 32, feedForward: 44 },
  // Six heads: ALiBi has another rule where their number is no power of two, as in the published one.
  "baichuan2-13b": {
    ...TINY,
    ...BAICHUAN,
    layers: 40,
    width: 48,
    heads: 6,
    keyValueHeads: 6,
    feedForward: 64,
    positions: { kind: "alibi" },
  },
  qwen2: {
    ...TINY,
    family: "qwen2",
    normEpsilon: 1e-6,
    positions: { ...ROTARY, base: 1_000_000 },
    queryKeyValueBias: true,
    tiedHead: true,
  },
  // Four heads of 16 for a width of 32.
  qwen3: {
    ...TINY,
    family: "qwen3",
    headWidth: 16,
    normEpsilon: 1e-6,
    positions: { ...ROTARY, base: 1_000_000, rotatedWidth: 16 },
    queryKeyNorm: true,
    tiedHead: true,
  },
  mistral: {
    ...TINY,
    family: "mistral",
    headWidth: 16,
    positions: { ...ROTARY, base: 1_000_000, rotatedWidth: 16 },
  },
  glm4: {
    ...TINY,
    family: "glm",
    feedForward: 44,
    positions: { ...ROTARY, layout: "interleaved", rotatedWidth: 4 },
    queryKeyValueBias: true,
    bosId: null,
  },
  "llama-3.1": {
    ...TINY,
    tiedHead: true,
    positions: {
      ...ROTARY,
      base: 500_000,
      scaling: { kind: "llama3", factor: 8, originalTokens: 8192, lowTurns: 1, highTurns: 4 },
    },
  },
  "llama-linear": { ...TINY, positions: { ...ROTARY, scaling: { kind: "linear", factor: 4 } } },
  "qwen2-yarn": {
    ...TINY,
    family: "qwen2",
    normEpsilon: 1e-6,
    queryKeyValueBias: true,
    positions: {
      ...ROTARY,
      base: 1000,
      scaling: { ...YARN, factor: 4, originalTokens: 16, magnitude: 1 + 0.1 * Math.log(4) },
    },
  },
};

/** A decoder as it is made from nothing, only with larger weights and uneven norms, so that a mistake changes every number. */
export async function tinyFamily(
  backend: Backend,
  name: string,
  options: { seed: number; vocabularySize?: number; tokenCount?: number },
): Promise<Decoder> {
  const { seed, vocabularySize = 40, tokenCount = vocabularySize } = options;
  const spec = { ...TINY_FAMILIES[name], vocabularySize, tokenCount };
  const model = await initDecoder(backend, spec, seed, { storage: "float32", trainable: false, deviation: 0.25 });
  const random = createRandom(seed);
  for (const weight of decoderWeights(model)) {
    if (!/norm/.test(weight.name)) continue;
    backend.writeWeight(
      weight,
      Float32Array.from({ length: weight.columns }, () => 1 + 0.2 * random.normal()),
    );
  }
  return model;
}
