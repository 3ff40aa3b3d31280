import { createRandom, mixSeed } from "../base/random.ts";
import type { Backend } from "../compute/backend.ts";
import { rowsOfValues } from "../formats/row-chunks.ts";
import { elementCount } from "../formats/tensor-source.ts";
import type { Decoder } from "./decoder.ts";
import { familyNamed } from "./families/registry.ts";
import { type PlaceOptions, placeDecoder } from "./place.ts";
import type { DecoderSpec } from "./spec.ts";
import type { ModelTensor } from "./tensors.ts";

/**
 * A decoder with random weights: norms are ones, the rest is normal with the deviation of the family or the one given. The same seed gives
 * the same weights; each tensor has a stream of its own, so the order does not matter.
 */
export async function initDecoder(
  backend: Backend,
  spec: DecoderSpec,
  seed: number,
  options: PlaceOptions & { deviation?: number },
): Promise<Decoder> {
  const family = familyNamed(spec.family, "init");
  const { deviation = family.init.deviation } = options;
  const values = async ({ name, shape, initial }: ModelTensor): Promise<Float32Array> => {
    if (initial === "ones") return new Float32Array(shape[0]).fill(1);
    const own = initial === "residual" ? deviation / Math.sqrt(2 * spec.layers) : deviation;
    return normalValues(mixSeed(seed, hashName(name)), elementCount(shape), own);
  };
  return placeDecoder(backend, spec, family, options, {
    vector: values,
    matrix: async (tensor) => rowsOfValues(await values(tensor), tensor.shape[1]),
  });
}

/** `count` normal numbers with the given deviation. */
export function normalValues(seed: number, count: number, deviation: number): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length: count }, () => random.normal() * deviation);
}

/** FNV-1a. */
export function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
