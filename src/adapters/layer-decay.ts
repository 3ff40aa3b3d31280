import type { Weight } from "../compute/backend.ts";
import { type Decoder, layerWeights } from "../models/decoder.ts";
import type { WeightGroup } from "./method.ts";

/**
 * Splits groups of weights by their layer: the last layer, the final norm and an output layer of its own learn at the group's rate, each layer
 * below at `decay` times the rate of the one above it, the embedding (also one that is the output layer) as one more layer below
 * (ULMFiT, Howard & Ruder 2018; ELECTRA). Weights of no layer keep the group's rate. With a decay of 1 the groups as they are.
 */
export function withLayerDecay(model: Decoder, groups: readonly WeightGroup[], decay: number): WeightGroup[] {
  if (decay === 1) return [...groups];
  const depths = new Map<Weight, number>();
  const last = model.layers.length - 1;
  for (const [index, layer] of model.layers.entries()) {
    const { k = null, v = null } = model.prefix?.layers[index] ?? {};
    const own = [...layerWeights(layer), k?.weight, k?.bias, v?.weight, v?.bias];
    for (const weight of own) if (weight) depths.set(weight, last - index);
  }
  depths.set(model.embedding, model.layers.length);
  return groups.flatMap(({ weights, learningRateFactor }) => {
    const byDepth = new Map<number, Weight[]>();
    for (const weight of weights) {
      const depth = depths.get(weight) ?? 0;
      byDepth.set(depth, [...(byDepth.get(depth) ?? []), weight]);
    }
    return [...byDepth].map(([depth, own]) => ({
      weights: own,
      learningRateFactor: learningRateFactor * decay ** depth,
    }));
  });
}
