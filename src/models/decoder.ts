import { mixSeed } from "../base/random.ts";
import { createTape, type Tape, type Value } from "../compute/autograd.ts";
import type {
  AttentionSegment,
  AttentionSpec,
  Backend,
  RotarySpec,
  Rotation,
  RowPositions,
  Tensor,
  Weight,
} from "../compute/backend.ts";
import {
  isLinearSlot,
  LAYER_SLOTS,
  type LayerSlot,
  LINEAR_SLOTS,
  type LinearSlot,
  type NormSlot,
  type OptionalSlot,
} from "./layer.ts";
import { divisorsOf, freeDivisors, type Magnitude } from "./magnitude.ts";
import { behindPrefix, encodedRows, type Prefix, prefixRows, prefixWeights } from "./prefix.ts";
import { rotaryFrequencies, rotaryMagnitude } from "./rotary.ts";
import type { DecoderSpec } from "./spec.ts";

/**
 * A low-rank product added to a weight's: y += scale · dropout(x)·aᵀ·bᵀ, with a[R,I] and b[O,R] (Hu et al. 2021). Weights that checkpoints
 * join in one matrix share `a`, and their b are rows of one matrix.
 */
export interface LowRank {
  a: Weight;
  b: Weight;
  scale: number;
  dropout: number;
  /** The rows of the sum of both weights have trained lengths (DoRA); null: their own. */
  magnitude: Magnitude | null;
}

/** w[O,I] with its bias and its adapter, where there are any. */
export interface Linear {
  weight: Weight;
  bias: Weight | null; // [1,O]
  lowRank: LowRank | null;
}

/** A layer's weights, one entry for each slot of the table in layer.ts; null for a norm that the model does not have. */
export type DecoderLayer = { [S in LinearSlot]: Linear } & {
  [S in NormSlot]: S extends OptionalSlot ? Weight | null : Weight; // [1,C], or [1,D] over each head
};

/** A decoder's weights on a backend. With a tied head, `head.weight` is `embedding`. */
export interface Decoder {
  spec: DecoderSpec;
  backend: Backend;
  embedding: Weight; // [V,C]
  layers: DecoderLayer[];
  finalNorm: Weight;
  head: Linear; // [V,C]
  /** Keys and values in front of every sequence, where a method trains them. */
  prefix: Prefix | null;
}

/** Keys and values of past tokens, one pair of [S, G·D] tensors a layer; S is the capacity in rows, and the rows of a prefix behind it. */
export interface KeyValueCache {
  capacity: number;
  layers: { k: Tensor; v: Tensor }[];
}

/** Dropout while training: after the embedding and on what each half layer adds to the residual stream. */
export interface ForwardDropout {
  probability: number;
  seed: number;
}

/** Packed tokens: T rows of any number of sequences; segments separate the sequences and hold their positions. */
export interface PackedTokens {
  ids: Int32Array; // [T]
  segments: readonly AttentionSegment[];
  /** The rows to return logits for; all rows by default. */
  outputRows?: Int32Array;
  /** With a cache, keys and values of row t are written to cache row rows[t], and the keys of segments are cache rows. */
  cache?: { store: KeyValueCache; rows: Int32Array };
  dropout?: ForwardDropout | null;
  /**
   * The number of each row [T] for dropout, of the model and of adapters; its place by default. Rows that are numbered by what they are keep
   * their masks in any order, and in any pass.
   */
  rowNumbers?: Int32Array;
  /** Added to the embeddings [T,C]. */
  embeddingNoise?: Tensor | null;
  /** Seed of the adapters' dropout, which only a recording tape applies. */
  seed?: number;
}

/** The rotation of queries or keys. */
type Rotary = RotarySpec & RowPositions;
/** Of the rows of a value; null: their places. */
type RowNumbers = Int32Array | null;

/**
 * The one forward pass: training, evaluation, extraction and serving all run this.
 * Returns logits [outputRows or T, V].
 */
export function forward(model: Decoder, tape: Tape, tokens: PackedTokens): Value {
  const { spec, prefix } = model;
  // The rows of a prefix are behind all others, so that no other row has another number because of them.
  const segments = prefix
    ? behindPrefix(tokens.segments, prefix, tokens.cache?.store.capacity ?? tokens.ids.length)
    : tokens.segments;
  const attention: AttentionSpec = {
    heads: spec.heads,
    keyValueHeads: spec.keyValueHeads,
    headWidth: spec.headWidth,
    scale: rotaryMagnitude(spec.positions) ** 2 / Math.sqrt(spec.headWidth),
    slopes: spec.positions.kind === "alibi" ? alibiSlopes(spec.heads) : null,
  };
  const rotation: Rotation | null =
    spec.positions.kind === "rotary"
      ? { frequencies: rotaryFrequencies(spec.positions), layout: spec.positions.layout }
      : null;
  if (rotation) attention.rotary = rotation;
  const positions = rowPositions({ ids: tokens.ids, segments });
  const rotaryOf = (heads: number): Rotary | null =>
    rotation && { ...rotation, positions, heads, headWidth: spec.headWidth };
  // Rotated in the product's epilogue, or after the norm of queries and keys where there is one.
  const rotated = (product: (rotary: Rotary | null) => Value, norm: Weight | null, heads: number): Value => {
    const rotary = rotaryOf(heads);
    if (!norm) return product(rotary);
    const normed = tape.rmsNorm(product(null), norm, spec.normEpsilon);
    return rotary ? tape.rotary(normed, positions, rotary) : normed;
  };
  const dropped = (x: Value, place: number, numbers: RowNumbers): Value => {
    const dropout = tokens.dropout;
    if (!dropout || dropout.probability === 0) return x;
    return tape.dropout(x, dropout.probability, mixSeed(dropout.seed, place), numbers);
  };
  // Half a layer adds f(x) to the residual stream; without dropout the addition is fused into f's last product.
  const added = (x: Value, layer: Linear, input: Value, place: number, numbers: RowNumbers): Value => {
    const seed = seedOf(place, 0);
    if (!tokens.dropout) return linear(tape, layer, input, { residual: x, wide: true, seed, numbers });
    return tape.add(x, dropped(linear(tape, layer, input, { seed, numbers }), place, numbers));
  };
  const seedOf = (place: number, slot: number) => mixSeed(tokens.seed ?? 0, place, slot);
  const allNumbers = tokens.rowNumbers ?? null;
  const numbersOf = (rows: Int32Array | null): RowNumbers =>
    rows && allNumbers ? rows.map((row) => allNumbers[row]) : (rows ?? allNumbers);

  const output = outputOf(tokens);
  const encoded = prefix && !tokens.cache ? encodedRows(tape, prefix) : null;
  const embedded = tape.embed(model.embedding, tokens.ids); // [T,C]
  const noise = tokens.embeddingNoise;
  let x = dropped(noise ? tape.add(embedded, tape.constant(noise)) : embedded, 0, allNumbers);
  for (const [index, layer] of model.layers.entries()) {
    x = tape.block(encoded ? [x, encoded] : [x], ([input, rows = null]) => {
      const h = tape.rmsNorm(input, layer.attentionNorm, spec.normEpsilon);
      const place = 2 * index + 1;
      const lowsOfInput = new Map<Weight, Value>();
      const product = (of: Linear, slot: number, rotary: Rotary | null = null) =>
        linear(tape, of, h, { rotary, seed: seedOf(place, slot), numbers: allNumbers }, lowsOfInput);
      const q = rotated((rotary) => product(layer.q, 1, rotary), layer.queryNorm, spec.heads); // [T,H·D]
      let k = rotated((rotary) => product(layer.k, 2, rotary), layer.keyNorm, spec.keyValueHeads); // [T,G·D]
      let v = product(layer.v, 3);
      if (tokens.cache) {
        const cached = tokens.cache.store.layers[index];
        tape.backend.copyRows(k.tensor, cached.k, tokens.cache.rows);
        tape.backend.copyRows(v.tensor, cached.v, tokens.cache.rows);
        k = tape.constant(cached.k);
        v = tape.constant(cached.v);
      } else if (prefix) {
        const own = prefix.layers[index];
        k = tape.appendRows(k, prefixRows(tape, own.k, rows), rotaryOf(spec.keyValueHeads));
        v = tape.appendRows(v, prefixRows(tape, own.v, rows));
      }
      let mixed = tape.attention(q, k, v, segments, attention);
      let before = input;
      let numbers = allNumbers;
      if (output.early && index === model.layers.length - 1) {
        mixed = tape.gatherRows(mixed, output.early);
        before = tape.gatherRows(input, output.early);
        numbers = numbersOf(output.early);
      }
      const afterAttention = added(before, layer.output, mixed, place, numbers);
      const h2 = tape.rmsNorm(afterAttention, layer.feedForwardNorm, spec.normEpsilon);
      const lows = new Map<Weight, Value>();
      const gate = linear(tape, layer.gate, h2, { seed: seedOf(place + 1, 4), numbers }, lows); // [T,F]
      const gated = linear(tape, layer.up, h2, { gate, seed: seedOf(place + 1, 5), numbers }, lows);
      return added(afterAttention, layer.down, gated, place + 1, numbers);
    });
  }
  if (output.late) x = tape.gatherRows(x, output.late);
  return linear(tape, model.head, tape.rmsNorm(x, model.finalNorm, spec.normEpsilon), {
    seed: seedOf(2 * spec.layers + 1, 0),
    numbers: numbersOf(tokens.outputRows ?? null),
  });
}

/**
 * The rows that the last layer continues with after its attention (`early`), and the rows of the result (`late`); null means all. After the
 * last attention rows no longer meet, so only those with wanted logits are computed further.
 */
function outputOf(tokens: PackedTokens): { early: Int32Array | null; late: Int32Array | null } {
  const { outputRows } = tokens;
  if (!outputRows) return { early: null, late: null };
  const distinct = [...new Set(outputRows)];
  if (distinct.length === tokens.ids.length) return { early: null, late: outputRows };
  if (distinct.length === outputRows.length) return { early: outputRows, late: null };
  const placeOf = new Map(distinct.map((row, place) => [row, place]));
  return { early: Int32Array.from(distinct), late: outputRows.map((row) => placeOf.get(row) as number) };
}

interface LinearOptions {
  residual?: Value;
  gate?: Value;
  wide?: boolean;
  rotary?: Rotary | null;
  /** Of the adapter's dropout, with the numbers of the rows of x. */
  seed: number;
  numbers: RowNumbers;
}

/**
 * x·wᵀ (+ bias and residual), plus the low-rank product of an adapter; products with the same `a` share x·aᵀ through `lows`. With a gate, the
 * result is multiplied by silu(gate).
 */
function linear(tape: Tape, layer: Linear, x: Value, options: LinearOptions, lows = new Map<Weight, Value>()): Value {
  const { residual, gate, wide, rotary } = options;
  const { weight, bias, lowRank } = layer;
  const plus: { x: Value; w: Weight; scale: number }[] = [];
  if (lowRank) {
    const low = lows.get(lowRank.a) ?? lowOf(tape, lowRank, x, options); // [T,R]
    lows.set(lowRank.a, low);
    plus.push({ x: low, w: lowRank.b, scale: lowRank.scale });
    if (lowRank.magnitude) {
      const divisors = tape.constant(divisorsOf(tape.backend, weight, lowRank.magnitude, lowRank));
      const sum = tape.matmul(x, weight, { plus, wide: true });
      const y = tape.scaleColumns(sum, lowRank.magnitude.weight, divisors, bias);
      if (gate) return tape.swiglu(gate, y);
      if (residual) return tape.add(residual, y);
      return rotary ? tape.rotary(y, rotary.positions, rotary) : y;
    }
  }
  return gate
    ? tape.matmulSwiglu(gate, x, weight, { bias, plus })
    : tape.matmul(x, weight, { bias, residual, wide, plus, rotary });
}

function lowOf(
  tape: Tape,
  { a, dropout }: LowRank,
  x: Value,
  { seed, numbers }: Pick<LinearOptions, "seed" | "numbers">,
): Value {
  const input = tape.recording && dropout > 0 ? tape.dropout(x, dropout, mixSeed(seed, 0x10a), numbers) : x;
  return tape.matmul(input, a, { wide: true });
}

/** The sequence position of each row [T]; 0 where no segment has it. */
export function rowPositions({ ids, segments }: Pick<PackedTokens, "ids" | "segments">): Int32Array {
  const positions = new Int32Array(ids.length);
  for (const { start, length, position } of segments) {
    for (let i = 0; i < length; i++) positions[start + i] = position + i;
  }
  return positions;
}

/**
 * The slope of each head: 2^(−8i/H) for i from 1 where H is a power of two. Otherwise the slopes of the power of two below it, followed by
 * every second slope of the power above (Press et al. 2022, and their published code).
 */
export function alibiSlopes(heads: number): Float32Array {
  const power = 2 ** Math.floor(Math.log2(heads));
  return Float32Array.from({ length: heads }, (_, h) => {
    return h < power ? 2 ** ((-8 * (h + 1)) / power) : 2 ** ((-4 * (2 * (h - power) + 1)) / power);
  });
}

/** An empty cache of `capacity` rows; those of a prefix are filled and not counted. */
export function createCache(model: Decoder, capacity: number): KeyValueCache {
  const { backend, prefix } = model;
  const width = model.spec.keyValueHeads * model.spec.headWidth;
  const rows = capacity + (prefix?.tokens ?? 0);
  const layers = model.layers.map(() => ({
    k: backend.zeros(rows, width, { wide: false }),
    v: backend.zeros(rows, width, { wide: false }),
  }));
  if (!prefix) return { capacity, layers };
  const tape = createTape(backend, { record: false });
  const places = Int32Array.from({ length: prefix.tokens }, (_, row) => capacity + row);
  const encoded = encodedRows(tape, prefix);
  for (const [index, { k, v }] of prefix.layers.entries()) {
    backend.copyRows(prefixRows(tape, k, encoded).tensor, layers[index].k, places);
    backend.copyRows(prefixRows(tape, v, encoded).tensor, layers[index].v, places);
  }
  tape.dispose();
  return { capacity, layers };
}

export function freeCache(model: Decoder, cache: KeyValueCache): void {
  for (const { k, v } of cache.layers) {
    model.backend.free(k);
    model.backend.free(v);
  }
}

/** A layer of these weights, without adapters. */
export function makeLayer(
  weights: ReadonlyMap<LayerSlot, Weight>,
  biases: ReadonlyMap<LayerSlot, Weight>,
): DecoderLayer {
  const entries = LAYER_SLOTS.map((slot) => {
    const weight = weights.get(slot) ?? null;
    return [slot, isLinearSlot(slot) ? { weight, bias: biases.get(slot) ?? null, lowRank: null } : weight];
  });
  return Object.fromEntries(entries) as DecoderLayer;
}

/** The weight or the bias of a slot; null where the layer has none. */
export function slotWeight(layer: DecoderLayer, slot: LayerSlot, kind: "weight" | "bias"): Weight | null {
  if (isLinearSlot(slot)) return layer[slot][kind];
  return kind === "weight" ? layer[slot] : null;
}

/** Every weight of a layer in a fixed order, low-rank ones included; one that several products share comes more than once. */
export function layerWeights(layer: DecoderLayer): Weight[] {
  return LAYER_SLOTS.flatMap((slot) => {
    const lowRank = isLinearSlot(slot) ? layer[slot].lowRank : null;
    const added = [lowRank?.a, lowRank?.b, lowRank?.magnitude?.weight];
    const own = [slotWeight(layer, slot, "weight"), slotWeight(layer, slot, "bias"), ...added];
    return own.flatMap((weight) => weight ?? []);
  });
}

/** Every weight of the decoder once, in a fixed order, those that a method has added included. */
export function decoderWeights(model: Decoder): Weight[] {
  const weights = new Set<Weight>([model.embedding, ...model.layers.flatMap(layerWeights)]);
  weights.add(model.finalNorm).add(model.head.weight);
  for (const weight of model.prefix ? prefixWeights(model.prefix) : []) weights.add(weight);
  return [...weights];
}

/** Frees every weight. */
export function freeDecoder(model: Decoder): void {
  for (const layer of model.layers) {
    for (const slot of LINEAR_SLOTS) {
      const magnitude = layer[slot].lowRank?.magnitude;
      if (magnitude) freeDivisors(model.backend, magnitude);
    }
  }
  for (const weight of decoderWeights(model)) model.backend.freeWeight(weight);
}

/** Instruction set and number formats that a decoder's results come from. */
export function arithmeticOf({ backend, layers }: Decoder): string {
  return layers[0].q.weight.storage === "w8a8" ? `${backend.arithmetic}, int8 products` : backend.arithmetic;
}
