import type { Decoder, DecoderLayer } from "./decoder.ts";
import { LAYER_SLOTS, LINEAR_SLOTS } from "./layer.ts";

/** A decoder over the same weights, without an adapter: it can get one of its own, and the given decoder stays as it is. */
export function sameBase(model: Decoder): Decoder {
  const layers = model.layers.map((layer) => {
    const bare = Object.fromEntries(LAYER_SLOTS.map((slot) => [slot, layer[slot]])) as DecoderLayer;
    for (const slot of LINEAR_SLOTS) bare[slot] = { ...layer[slot], lowRank: null };
    return bare;
  });
  return { ...model, layers, head: { ...model.head, lowRank: null }, prefix: null };
}
