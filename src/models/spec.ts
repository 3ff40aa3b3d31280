import { UserErrors } from "../base/errors.ts";

/** Rotary positions: angle of pair i at position p is p · base^(−2i / rotatedWidth). */
export interface RotaryPositions {
  kind: "rotary";
  base: number;
  layout: "interleaved" | "halves";
  /** How many of a head's elements are turned; the rest passes through. */
  rotatedWidth: number;
}

/** ALiBi: attention scores fall with the distance, by a slope that each head has from its number (Press et al. 2022). */
export interface AlibiPositions {
  kind: "alibi";
}

/** Everything the one decoder needs to know about a model: a family is a translation of its config.json into this. */
export interface DecoderSpec {
  family: string;
  vocabularySize: number; // V
  /** Ids from here on have no token: their rows only fill embedding and head up to a round size, and they are never generated. */
  tokenCount: number;
  width: number; // C
  layers: number;
  heads: number; // H
  keyValueHeads: number; // G
  headWidth: number; // D
  feedForward: number; // F
  normEpsilon: number;
  positions: RotaryPositions | AlibiPositions;
  /** The products that give queries, keys and values add a bias. */
  queryKeyValueBias: boolean;
  /** Queries and keys are normalised, head by head, before they are turned. */
  queryKeyNorm: boolean;
  /** The output layer is the embedding itself. */
  tiedHead: boolean;
  /** Every row of the output layer counts as divided by its length. */
  normalizedHead: boolean;
  /** Longest sequence the model was made for. */
  maxTokens: number;
  bosId: number | null;
  eosId: number | null;
}

/** A product of a layer, named as the decoder uses it. */
export type LinearSlot = "q" | "k" | "v" | "output" | "gate" | "up" | "down";
export const LINEAR_SLOTS: readonly LinearSlot[] = ["q", "k", "v", "output", "gate", "up", "down"];

export const isLinearSlot = (slot: LayerSlot): slot is LinearSlot => LINEAR_SLOTS.some((one) => one === slot);

export type NormSlot = "attentionNorm" | "queryNorm" | "keyNorm" | "feedForwardNorm";
export const NORM_SLOTS: readonly NormSlot[] = ["attentionNorm", "queryNorm", "keyNorm", "feedForwardNorm"];

export type LayerSlot = LinearSlot | NormSlot;

/** A module of a layer as checkpoints keep it: the weight of one slot, or of several as one matrix with their rows in this order. */
export interface LayerModule {
  /** Its name behind the layer's own, for example "self_attn.q_proj". */
  name: string;
  slots: readonly LayerSlot[];
}

/** A family: how its config.json reads and what its tensors are called. */
export interface Family {
  modelType: string;
  readConfig(config: Readonly<Record<string, unknown>>, where: string): DecoderSpec;
  writeConfig(spec: DecoderSpec): Record<string, unknown>;
  names: {
    embedding: string;
    finalNorm: string;
    head: string;
    /** Name of a layer; its modules' names follow behind a dot. */
    layer(index: number): string;
  };
  /** In the order they are saved; those of slots that a specification does not have are left out. */
  modules: readonly LayerModule[];
  /** How checkpoints of this family keep the rows of queries and keys. */
  rotaryLayout: RotaryPositions["layout"];
  /** What a low-rank adapter stands beside unless a recipe says otherwise: last parts of module names. */
  loraTargets: readonly string[];
  /** Tensors of published checkpoints that carry nothing the decoder needs. */
  ignored: readonly RegExp[];
}

/** Whether the model has this weight at all. */
export function hasSlot(spec: DecoderSpec, slot: LayerSlot): boolean {
  return spec.queryKeyNorm || (slot !== "queryNorm" && slot !== "keyNorm");
}

export function hasBias(spec: DecoderSpec, slot: LayerSlot): boolean {
  return spec.queryKeyValueBias && (slot === "q" || slot === "k" || slot === "v");
}

/** The shape [O, I] (or [C], [D] for norms) of a layer's weight; a bias is [O]. */
export function layerShape(spec: DecoderSpec, slot: LayerSlot): number[] {
  const { width: C, feedForward: F, headWidth: D } = spec;
  const queryWidth = spec.heads * D;
  const keyValueWidth = spec.keyValueHeads * D;
  switch (slot) {
    case "attentionNorm":
    case "feedForwardNorm":
      return [C];
    case "queryNorm":
    case "keyNorm":
      return [D];
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

/** A tensor of a layer as checkpoints keep it: the weights or biases of its slots, one below the other. */
export interface LayerTensor {
  name: string;
  /** Name of the module it belongs to, as PEFT knows it. */
  module: string;
  kind: "weight" | "bias";
  shape: number[];
  slots: readonly LayerSlot[];
}

/** The tensors of one layer, in the order they are saved. */
export function layerTensors(spec: DecoderSpec, family: Family, index: number): LayerTensor[] {
  return family.modules.flatMap(({ name, slots }): LayerTensor[] => {
    if (!slots.every((slot) => hasSlot(spec, slot))) return [];
    const module = `${family.names.layer(index)}.${name}`;
    const rows = slots.reduce((sum, slot) => sum + layerShape(spec, slot)[0], 0);
    const columns = layerShape(spec, slots[0]).slice(1);
    const weight = { name: `${module}.weight`, module, kind: "weight" as const, shape: [rows, ...columns], slots };
    if (!hasBias(spec, slots[0])) return [weight];
    return [weight, { name: `${module}.bias`, module, kind: "bias", shape: [rows], slots }];
  });
}

/** Names and shapes of all tensors, in the order they are saved. */
export function tensorShapes(spec: DecoderSpec, family: Family): [string, number[]][] {
  const shapes: [string, number[]][] = [[family.names.embedding, [spec.vocabularySize, spec.width]]];
  for (let index = 0; index < spec.layers; index++) {
    for (const { name, shape } of layerTensors(spec, family, index)) shapes.push([name, shape]);
  }
  shapes.push([family.names.finalNorm, [spec.width]]);
  if (!spec.tiedHead) shapes.push([family.names.head, [spec.vocabularySize, spec.width]]);
  return shapes;
}

/** Number of parameters; a tied head counts once. */
export function parameterCount(spec: DecoderSpec): number {
  let perLayer = 0;
  for (const slot of [...LINEAR_SLOTS, ...NORM_SLOTS]) {
    const shape = layerShape(spec, slot);
    if (hasSlot(spec, slot)) perLayer += shape.reduce((a, b) => a * b, 1) + (hasBias(spec, slot) ? shape[0] : 0);
  }
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
  const { tokenCount, vocabularySize } = spec;
  if (!Number.isInteger(tokenCount) || tokenCount < 1 || tokenCount > vocabularySize) {
    problems.push(`the number of tokens is ${tokenCount}, expected a whole number from 1 to ${vocabularySize}`);
  }
  if (spec.positions.kind === "rotary") checkRotary(spec.positions, spec.headWidth, problems);
  if (spec.tiedHead && spec.normalizedHead) problems.push("a head with normalised rows cannot be the embedding");
  if (!(spec.normEpsilon > 0 && spec.normEpsilon < 1)) problems.push(`the norm epsilon is ${spec.normEpsilon}`);
  if (problems.length > 0) throw new UserErrors(`${where}: the model's sizes do not fit together:`, problems);
  return spec;
}

function checkRotary({ rotatedWidth, base }: RotaryPositions, headWidth: number, problems: string[]): void {
  if (rotatedWidth % 2 !== 0 || rotatedWidth > headWidth || rotatedWidth < 2) {
    problems.push(`the rotated width is ${rotatedWidth}, expected an even number up to the head width ${headWidth}`);
  }
  if (!(base > 0) || !Number.isFinite(base)) problems.push(`the rotary base is ${base}, expected a positive number`);
}
