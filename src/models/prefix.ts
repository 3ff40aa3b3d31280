import type { Tape, Value } from "../compute/autograd.ts";
import type { AttentionSegment, KeySpan, Weight } from "../compute/backend.ts";

/** The keys or values of one layer: rows [P,G·D] of their own, or with an encoder w[G·D,M] and bias[1,G·D], which make them from its rows. */
export interface PrefixRows {
  weight: Weight;
  bias: Weight | null;
}

/** The first layer of the network that all rows of a prefix come from: tanh(embedding · wᵀ + bias), [P,M]. */
export interface PrefixEncoder {
  embedding: Weight; // [P,E]
  weight: Weight; // [M,E]
  bias: Weight; // [1,M]
}

/**
 * Trained keys and values in front of every sequence, in every layer (Li & Liang 2021, P-Tuning v2: Liu et al. 2022). Attention reads the keys
 * as they are, also where it rotates those of tokens. They take the positions 0 to P − 1, the first token has position P (as in PEFT).
 */
export interface Prefix {
  tokens: number; // P
  encoder: PrefixEncoder | null;
  layers: readonly { k: PrefixRows; v: PrefixRows }[];
}

/** The weights of a prefix in a fixed order. */
export function prefixWeights({ encoder, layers }: Prefix): Weight[] {
  const ofRows = ({ weight, bias }: PrefixRows) => (bias ? [weight, bias] : [weight]);
  const first = encoder ? [encoder.embedding, encoder.weight, encoder.bias] : [];
  return [...first, ...layers.flatMap(({ k, v }) => [...ofRows(k), ...ofRows(v)])];
}

/** The rows that an encoder gives to all layers [P,M]; null without an encoder. */
export function encodedRows(tape: Tape, { tokens, encoder }: Prefix): Value | null {
  if (!encoder) return null;
  const embedded = tape.embed(encoder.embedding, firstRows(tokens));
  return tape.tanh(tape.matmul(embedded, encoder.weight, { bias: encoder.bias }));
}

/** The keys or values of one layer [P,G·D]. */
export function prefixRows(tape: Tape, { weight, bias }: PrefixRows, encoded: Value | null): Value {
  return encoded ? tape.matmul(encoded, weight, { bias }) : tape.embed(weight, firstRows(weight.rows));
}

/** Segments whose sequences all see the prefix, whose rows begin at row `start` of the key tensor; positions count from behind it. */
export function behindPrefix(
  segments: readonly AttentionSegment[],
  { tokens }: Prefix,
  start: number,
): AttentionSegment[] {
  const prefix: KeySpan = { start, length: tokens, position: 0 };
  return segments.map((segment) => ({
    ...segment,
    position: segment.position + tokens,
    context: [prefix, ...segment.context.map((span) => ({ ...span, position: span.position + tokens }))],
  }));
}

const firstRows = (count: number) => Int32Array.from({ length: count }, (_, row) => row);
