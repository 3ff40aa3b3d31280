import { createRandom, mixSeed } from "../base/random.ts";
import type { PackedTokens } from "../models/decoder.ts";

/** The length of the longest sequence of a pass. */
export const longestOf = ({ segments }: Pick<PackedTokens, "segments">): number =>
  segments.reduce((most, { position, length }) => Math.max(most, position + length), 0);

/**
 * Uniform noise in ±alpha / √(L · C) for the embeddings [T,C] of packed tokens (NEFTune, Jain et al. 2023). L is the length of the longest
 * sequence of the step: the implementations pad the others of a batch to it (TRL, transformers). The same seed gives a row the same noise
 * wherever it is packed.
 */
export function embeddingNoise(
  { ids, rowNumbers }: Pick<PackedTokens, "ids" | "rowNumbers">,
  longest: number,
  width: number,
  alpha: number,
  seed: number,
): Float32Array {
  const bound = alpha / Math.sqrt(longest * width);
  const noise = new Float32Array(ids.length * width);
  for (let row = 0; row < ids.length; row++) {
    const random = createRandom(mixSeed(seed, rowNumbers?.[row] ?? row));
    for (let i = row * width; i < (row + 1) * width; i++) noise[i] = (2 * random.uniform() - 1) * bound;
  }
  return noise;
}
