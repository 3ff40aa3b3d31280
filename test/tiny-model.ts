import { createRandom } from "../src/base/random.ts";
import { createTape } from "../src/compute/autograd.ts";
import type { Backend } from "../src/compute/backend.ts";
import { type Decoder, decoderWeights, forward } from "../src/models/decoder.ts";
import { initDecoder } from "../src/models/init.ts";
import type { DecoderSpec } from "../src/models/spec.ts";

export const TINY_SPEC: DecoderSpec = {
  family: "llama",
  vocabularySize: 40,
  tokenCount: 40,
  width: 16,
  layers: 2,
  heads: 4,
  keyValueHeads: 2,
  headWidth: 4,
  feedForward: 24,
  normEpsilon: 1e-5,
  positions: { kind: "rotary", base: 10_000, layout: "halves", rotatedWidth: 4 },
  queryKeyValueBias: false,
  promptAttention: "causal",
  queryKeyNorm: false,
  tiedHead: false,
  normalizedHead: false,
  maxTokens: 256,
  bosId: 1,
  eosId: 2,
};

/**
 * A tiny decoder whose matrices are drawn with a large deviation, so that its predictions are far from uniform and far from each other:
 * a mistake in what a token may see changes every number.
 */
export async function tinyDecoder(
  backend: Backend,
  options: { seed: number; spec?: Partial<DecoderSpec>; deviation?: number; trainable?: boolean },
): Promise<Decoder> {
  const given = { ...TINY_SPEC, ...options.spec };
  const spec = { ...given, tokenCount: options.spec?.tokenCount ?? given.vocabularySize };
  const trainable = options.trainable ?? false;
  const model = await initDecoder(backend, spec, options.seed, { storage: "float32", trainable });
  const random = createRandom(options.seed);
  for (const weight of decoderWeights(model)) {
    const isHeadNorm = /\.[qk]_norm\.weight$/.test(weight.name);
    if (weight.rows === 1 && !isHeadNorm && !/\.bias(:|$)/.test(weight.name)) continue;
    const count = weight.rows * weight.columns;
    const deviation = options.deviation ?? 0.5;
    backend.writeWeight(
      weight,
      Float64Array.from({ length: count }, () => (isHeadNorm ? 1 : 0) + random.normal() * deviation),
    );
  }
  return model;
}

/** Token ids from 3 up, so that no begin or end mark is among them. */
export function randomIds(random: { below(bound: number): number }, length: number, vocabularySize = 40): number[] {
  return Array.from({ length }, () => 3 + random.below(vocabularySize - 3));
}

/** The logits [T,V] of one sequence, in one pass without a cache. */
export async function sequenceLogits(model: Decoder, ids: readonly number[]): Promise<ArrayLike<number>> {
  const tape = createTape(model.backend, { record: false });
  try {
    const logits = forward(model, tape, {
      ids: Int32Array.from(ids),
      segments: [{ start: 0, length: ids.length, keyStart: 0, position: 0, context: [] }],
    });
    return await model.backend.read(logits.tensor);
  } finally {
    tape.dispose();
  }
}
