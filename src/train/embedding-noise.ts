import { createRandom } from "../base/random.ts";
import type { PackedTokens } from "../models/decoder.ts";

/**
 * Uniform noise in ±alpha / √(L · C) for the embeddings [T,C] of packed tokens (NEFTune, Jain et al. 2023). L is the length of the longest
 * sequence of the pass: the implementations pad the others to it (TRL, transformers). The same seed gives the same noise.
 */
export function embeddingNoise(
  { ids, segments }: Pick<PackedTokens, "ids" | "segments">,
  width: number,
  alpha: number,
  seed: number,
): Float32Array {
  const longest = segments.reduce((most, { position, length }) => Math.max(most, position + length), 0);
  const bound = alpha / Math.sqrt(longest * width);
  const random = createRandom(seed);
  const noise = new Float32Array(ids.length * width);
  for (let i = 0; i < noise.length; i++) noise[i] = (2 * random.uniform() - 1) * bound;
  return noise;
}
