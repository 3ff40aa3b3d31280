import type { DecoderSpec } from "../models/spec.ts";

/** The model shapes that speed is measured on; weights are random. */
export const SHAPES = {
  "110m": {
    width: 768,
    layers: 12,
    heads: 12,
    keyValueHeads: 12,
    feedForward: 2048,
    vocabularySize: 32_000,
    tiedHead: false,
  },
  "0.4b": {
    width: 1024,
    layers: 24,
    heads: 16,
    keyValueHeads: 16,
    feedForward: 2816,
    vocabularySize: 32_000,
    tiedHead: false,
  },
  "qwen2-0.5b": {
    width: 896,
    layers: 24,
    heads: 14,
    keyValueHeads: 2,
    feedForward: 4864,
    vocabularySize: 151_936,
    tiedHead: true,
  },
  "llama2-7b": {
    width: 4096,
    layers: 32,
    heads: 32,
    keyValueHeads: 32,
    feedForward: 11_008,
    vocabularySize: 32_000,
    tiedHead: false,
  },
} as const;

export type ShapeName = keyof typeof SHAPES;

export function shapeSpec(name: ShapeName, layers?: number): DecoderSpec {
  const shape = SHAPES[name];
  const headWidth = shape.width / shape.heads;
  return {
    ...shape,
    layers: layers ?? shape.layers,
    family: "llama",
    tokenCount: shape.vocabularySize,
    headWidth,
    normEpsilon: 1e-6,
    positions: { kind: "rotary", base: 10_000, layout: "halves", rotatedWidth: headWidth },
    queryKeyValueBias: false,
    promptAttention: "causal",
    queryKeyNorm: false,
    normalizedHead: false,
    maxTokens: 4096,
    bosId: 1,
    eosId: 2,
  };
}

/** Elements of the products inside the layers. */
export function linearElements(spec: DecoderSpec): number {
  const { width: C, feedForward: F, heads, keyValueHeads, headWidth, layers } = spec;
  return layers * (C * headWidth * (2 * heads + 2 * keyValueHeads) + 3 * C * F);
}

/**
 * Floating-point operations of one LoRA step as the prototype's report counts them: 4 · tokens · linear elements (forward, and backward to
 * the input), 4 · head rows · V · C, and attention forward with 2.5 times its work backward over the causal half. Where not all rows have a
 * loss, the rows that `forward` leaves out of the last layer are counted all the same.
 */
export function loraStepFlops(spec: DecoderSpec, sequences: number, tokensEach: number, headRows: number): number {
  const tokens = sequences * tokensEach;
  const head = 4 * headRows * spec.vocabularySize * spec.width;
  const attention = (spec.layers * sequences * spec.heads * 4 * tokensEach ** 2 * spec.headWidth * 3.5) / 2;
  return 4 * tokens * linearElements(spec) + head + attention;
}
