import { mixSeed } from "../base/random.ts";
import type { Tape, Value } from "../compute/autograd.ts";
import type { AttentionSegment, AttentionSpec, Backend, RotarySpec, Tensor, Weight } from "../compute/backend.ts";
import type { DecoderSpec } from "./spec.ts";

/** A low-rank product beside a weight: y += scale · dropout(x)·aᵀ·bᵀ, with a[R,I] and b[O,R] (Hu et al. 2021). */
export interface LowRank {
  a: Weight;
  b: Weight;
  scale: number;
  dropout: number;
}

/** w[O,I] with what may stand beside it. */
export interface Linear {
  weight: Weight;
  lowRank: LowRank | null;
}

export interface DecoderLayer {
  attentionNorm: Weight;
  q: Linear;
  k: Linear;
  v: Linear;
  output: Linear;
  feedForwardNorm: Weight;
  gate: Linear;
  up: Linear;
  down: Linear;
}

/** A decoder's weights on a backend. With a tied head, `head.weight` is `embedding`. */
export interface Decoder {
  spec: DecoderSpec;
  backend: Backend;
  embedding: Weight; // [V,C]
  layers: DecoderLayer[];
  finalNorm: Weight;
  head: Linear; // [V,C]
}

/** Keys and values of past tokens, one pair of [S, G·D] tensors a layer; S is the capacity in rows. */
export interface KeyValueCache {
  capacity: number;
  layers: { k: Tensor; v: Tensor }[];
}

/** Dropout while training: after the embedding and on what each half layer adds to the residual stream. */
export interface ForwardDropout {
  probability: number;
  seed: number;
}

/** Packed tokens: T rows of any number of sequences, told apart by segments. */
export interface PackedTokens {
  ids: Int32Array; // [T]
  positions: Int32Array; // [T]
  segments: readonly AttentionSegment[];
  /** Rows whose next-token scores are wanted; all rows when absent. */
  outputRows?: Int32Array;
  /** With a cache, keys and values of row t go to cache row cacheRows[t], and segments speak of cache rows. */
  cache?: { store: KeyValueCache; rows: Int32Array };
  dropout?: ForwardDropout | null;
  /** Seed of the adapters' own dropout (on a recording tape only). */
  seed?: number;
}

/**
 * The one forward pass: training, evaluation, extraction and serving all run this.
 * Returns logits [outputRows or T, V].
 */
export function forward(model: Decoder, tape: Tape, tokens: PackedTokens): Value {
  const { spec } = model;
  const rotary: RotarySpec = {
    heads: spec.heads,
    headWidth: spec.headWidth,
    frequencies: rotaryFrequencies(spec),
    layout: spec.positions.layout,
  };
  const attention: AttentionSpec = {
    heads: spec.heads,
    keyValueHeads: spec.keyValueHeads,
    headWidth: spec.headWidth,
    scale: 1 / Math.sqrt(spec.headWidth),
    slopes: null,
  };
  const dropped = (x: Value, place: number): Value => {
    const dropout = tokens.dropout;
    if (!dropout || dropout.probability === 0) return x;
    return tape.dropout(x, dropout.probability, mixSeed(dropout.seed, place));
  };
  // Half a layer adds f(x) to the residual stream; without dropout the addition is fused into f's last product.
  const added = (x: Value, layer: Linear, input: Value, place: number): Value => {
    const seed = seedOf(place, 0);
    if (!tokens.dropout) return linear(tape, layer, input, { residual: x, wide: true, seed });
    return tape.add(x, dropped(linear(tape, layer, input, { seed }), place));
  };
  const seedOf = (place: number, slot: number) => mixSeed(tokens.seed ?? 0, place, slot);

  let x = dropped(tape.embed(model.embedding, tokens.ids), 0); // [T,C]
  for (const [index, layer] of model.layers.entries()) {
    x = tape.block([x], ([input]) => {
      const h = tape.rmsNorm(input, layer.attentionNorm, spec.normEpsilon);
      const q = tape.rotary(linear(tape, layer.q, h, { seed: seedOf(2 * index + 1, 1) }), tokens.positions, rotary); // [T,H·D]
      let k = tape.rotary(linear(tape, layer.k, h, { seed: seedOf(2 * index + 1, 2) }), tokens.positions, {
        ...rotary,
        heads: spec.keyValueHeads,
      }); // [T,G·D]
      let v = linear(tape, layer.v, h, { seed: seedOf(2 * index + 1, 3) });
      if (tokens.cache) {
        const cached = tokens.cache.store.layers[index];
        tape.backend.copyRows(k.tensor, cached.k, tokens.cache.rows);
        tape.backend.copyRows(v.tensor, cached.v, tokens.cache.rows);
        k = tape.constant(cached.k);
        v = tape.constant(cached.v);
      }
      const mixed = tape.attention(q, k, v, tokens.segments, attention);
      const afterAttention = added(input, layer.output, mixed, 2 * index + 1);
      const h2 = tape.rmsNorm(afterAttention, layer.feedForwardNorm, spec.normEpsilon);
      const gate = linear(tape, layer.gate, h2, { seed: seedOf(2 * index + 2, 4) }); // [T,F]
      const up = linear(tape, layer.up, h2, { seed: seedOf(2 * index + 2, 5) });
      return added(afterAttention, layer.down, tape.swiglu(gate, up), 2 * index + 2);
    });
  }
  if (tokens.outputRows) x = tape.gatherRows(x, tokens.outputRows);
  return linear(tape, model.head, tape.rmsNorm(x, model.finalNorm, spec.normEpsilon), {
    seed: seedOf(2 * spec.layers + 1, 0),
  });
}

/** x·wᵀ (+ residual), with the low-rank product beside it when there is one. */
function linear(
  tape: Tape,
  layer: Linear,
  x: Value,
  options: { residual?: Value; wide?: boolean; seed: number },
): Value {
  const { residual, wide } = options;
  const { lowRank } = layer;
  if (!lowRank) return tape.matmul(x, layer.weight, { residual, wide });
  const input =
    tape.recording && lowRank.dropout > 0 ? tape.dropout(x, lowRank.dropout, mixSeed(options.seed, 0x10a)) : x;
  const low = tape.matmul(input, lowRank.a); // [T,R]
  return tape.matmul(x, layer.weight, { residual, wide, plus: [{ x: low, w: lowRank.b, scale: lowRank.scale }] });
}

/** Angle per position of each rotated pair. */
export function rotaryFrequencies(spec: DecoderSpec): Float32Array {
  const { base, rotatedWidth } = spec.positions;
  return Float32Array.from({ length: rotatedWidth / 2 }, (_, i) => base ** ((-2 * i) / rotatedWidth));
}

/** An empty cache of `capacity` rows. */
export function createCache(model: Decoder, capacity: number): KeyValueCache {
  const width = model.spec.keyValueHeads * model.spec.headWidth;
  const layers = model.layers.map(() => ({
    k: model.backend.zeros(capacity, width, { wide: false }),
    v: model.backend.zeros(capacity, width, { wide: false }),
  }));
  return { capacity, layers };
}

export function freeCache(model: Decoder, cache: KeyValueCache): void {
  for (const { k, v } of cache.layers) {
    model.backend.free(k);
    model.backend.free(v);
  }
}

/** Every weight of the decoder once, in a fixed order, low-rank ones included. */
export function decoderWeights(model: Decoder): Weight[] {
  const weights = new Set<Weight>([model.embedding]);
  for (const layer of model.layers) {
    for (const part of Object.values(layer) as (Weight | Linear)[]) {
      if (!("weight" in part)) {
        weights.add(part);
        continue;
      }
      weights.add(part.weight);
      if (part.lowRank) weights.add(part.lowRank.a).add(part.lowRank.b);
    }
  }
  weights.add(model.finalNorm).add(model.head.weight);
  return [...weights];
}

/** Frees every weight. */
export function freeDecoder(model: Decoder): void {
  for (const weight of decoderWeights(model)) model.backend.freeWeight(weight);
}
