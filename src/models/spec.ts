import { UserErrors } from "../base/errors.ts";

/** Rotary positions: angle of pair i at position p is p · base^(−2i / rotatedWidth). */
export interface RotaryPositions {
  kind: "rotary";
  base: number;
  layout: "interleaved" | "halves";
  /** How many of a head's elements are turned; the rest passes through. */
  rotatedWidth: number;
}

/** Everything the one decoder needs to know about a model: a family is a translation of its config.json into this. */
export interface DecoderSpec {
  family: string;
  vocabularySize: number; // V
  width: number; // C
  layers: number;
  heads: number; // H
  keyValueHeads: number; // G
  headWidth: number; // D
  feedForward: number; // F
  normEpsilon: number;
  positions: RotaryPositions;
  /** The output layer is the embedding itself. */
  tiedHead: boolean;
  /** Longest sequence the model was made for. */
  maxTokens: number;
  bosId: number | null;
  eosId: number | null;
}

/** One weight of a layer, named as the decoder uses it. */
export type LayerSlot = "attentionNorm" | "q" | "k" | "v" | "output" | "feedForwardNorm" | "gate" | "up" | "down";
export const LAYER_SLOTS: readonly LayerSlot[] = [
  "attentionNorm",
  "q",
  "k",
  "v",
  "output",
  "feedForwardNorm",
  "gate",
  "up",
  "down",
];

/** A family: how its config.json reads and what its tensors are called. */
export interface Family {
  modelType: string;
  readConfig(config: Readonly<Record<string, unknown>>, where: string): DecoderSpec;
  writeConfig(spec: DecoderSpec): Record<string, unknown>;
  names: {
    embedding: string;
    finalNorm: string;
    head: string;
    /** Name of a layer's weight; without its ".weight" end it is the module that LoRA targets. */
    layer(index: number, slot: LayerSlot): string;
  };
  /** Tensors of published checkpoints that carry nothing the decoder needs. */
  ignored: readonly RegExp[];
}

/** The shape [O, I] (or [C] for norms) of a layer's weight. */
export function layerShape(spec: DecoderSpec, slot: LayerSlot): number[] {
  const { width: C, feedForward: F } = spec;
  const queryWidth = spec.heads * spec.headWidth;
  const keyValueWidth = spec.keyValueHeads * spec.headWidth;
  switch (slot) {
    case "attentionNorm":
    case "feedForwardNorm":
      return [C];
    case "q":
      return [queryWidth, C];
    case "k":
    case "v":
      return [keyValueWidth, C];
    case "output":
      return [C, queryWidth];
    case "gate":
    case "up":
      return [F, C];
    case "down":
      return [C, F];
  }
}

/** Number of parameters; a tied head counts once. */
export function parameterCount(spec: DecoderSpec): number {
  let perLayer = 0;
  for (const slot of LAYER_SLOTS) perLayer += layerShape(spec, slot).reduce((a, b) => a * b, 1);
  const embedding = spec.vocabularySize * spec.width;
  return perLayer * spec.layers + embedding * (spec.tiedHead ? 1 : 2) + spec.width;
}

/** Checks the sizes of a specification against each other; reports all problems together. */
export function checkSpec(spec: DecoderSpec, where: string): DecoderSpec {
  const problems: string[] = [];
  const limits: [keyof DecoderSpec, number][] = [
    ["vocabularySize", 1 << 21],
    ["width", 1 << 16],
    ["layers", 1024],
    ["heads", 1024],
    ["keyValueHeads", 1024],
    ["headWidth", 1024],
    ["feedForward", 1 << 18],
    ["maxTokens", 1 << 24],
  ];
  for (const [name, limit] of limits) {
    const size = spec[name] as number;
    if (!Number.isInteger(size) || size < 1 || size > limit) {
      problems.push(`${name} is ${size}, expected a whole number from 1 to ${limit}`);
    }
  }
  if (spec.heads % spec.keyValueHeads !== 0) {
    problems.push(`${spec.heads} heads cannot share ${spec.keyValueHeads} key/value heads evenly`);
  }
  const { rotatedWidth, base } = spec.positions;
  if (rotatedWidth % 2 !== 0 || rotatedWidth > spec.headWidth || rotatedWidth < 2) {
    problems.push(
      `the rotated width is ${rotatedWidth}, expected an even number up to the head width ${spec.headWidth}`,
    );
  }
  if (!(base > 0) || !Number.isFinite(base)) problems.push(`the rotary base is ${base}, expected a positive number`);
  if (!(spec.normEpsilon > 0 && spec.normEpsilon < 1)) problems.push(`the norm epsilon is ${spec.normEpsilon}`);
  if (problems.length > 0) throw new UserErrors(`${where}: the model's sizes do not fit together:`, problems);
  return spec;
}
