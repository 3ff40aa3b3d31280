import type { DecoderSpec } from "./spec.ts";

/** A product y[T,O] = x[T,I] · wᵀ of a layer. */
interface LinearEntry {
  kind: "linear";
  /** [O, I] of the weight; a bias is [O]. */
  shape(spec: DecoderSpec): number[];
  hasBias?(spec: DecoderSpec): boolean;
  /** Number of heads among the rows, where rotary embedding rotates the result. */
  rotatedHeads?(spec: DecoderSpec): number;
  /** The result is added to the residual stream. */
  addsToResidual?: true;
}

/** An RMS norm of a layer; every model has one that names no condition. */
interface NormEntry {
  kind: "norm";
  /** [C], or [D] for a norm over each head. */
  shape(spec: DecoderSpec): number[];
  isPresent?(spec: DecoderSpec): boolean;
}

type Entry = LinearEntry | NormEntry;

const queryWidth = (spec: DecoderSpec) => spec.heads * spec.headWidth;
const keyValueWidth = (spec: DecoderSpec) => spec.keyValueHeads * spec.headWidth;
const queryKeyValueBias = (spec: DecoderSpec) => spec.queryKeyValueBias;
const queryKeyNorm = (spec: DecoderSpec) => spec.queryKeyNorm;

/**
 * Every weight of a layer, in the order of the forward pass. The type of a layer, its tensors in checkpoints, loading, initialising, saving,
 * freeing and the targets of LoRA all follow from this table.
 */
export const LAYER = {
  attentionNorm: { kind: "norm", shape: (spec) => [spec.width] },
  q: {
    kind: "linear",
    shape: (spec) => [queryWidth(spec), spec.width],
    hasBias: queryKeyValueBias,
    rotatedHeads: (spec) => spec.heads,
  },
  k: {
    kind: "linear",
    shape: (spec) => [keyValueWidth(spec), spec.width],
    hasBias: queryKeyValueBias,
    rotatedHeads: (spec) => spec.keyValueHeads,
  },
  v: { kind: "linear", shape: (spec) => [keyValueWidth(spec), spec.width], hasBias: queryKeyValueBias },
  queryNorm: { kind: "norm", shape: (spec) => [spec.headWidth], isPresent: queryKeyNorm },
  keyNorm: { kind: "norm", shape: (spec) => [spec.headWidth], isPresent: queryKeyNorm },
  output: { kind: "linear", shape: (spec) => [spec.width, queryWidth(spec)], addsToResidual: true },
  feedForwardNorm: { kind: "norm", shape: (spec) => [spec.width] },
  gate: { kind: "linear", shape: (spec) => [spec.feedForward, spec.width] },
  up: { kind: "linear", shape: (spec) => [spec.feedForward, spec.width] },
  down: { kind: "linear", shape: (spec) => [spec.width, spec.feedForward], addsToResidual: true },
} as const satisfies Record<string, Entry>;

type Table = typeof LAYER;
export type LayerSlot = keyof Table;
/** The slots that hold a product. */
export type LinearSlot = { [S in LayerSlot]: Table[S]["kind"] extends "linear" ? S : never }[LayerSlot];
export type NormSlot = Exclude<LayerSlot, LinearSlot>;
/** The norms that some models do not have. */
export type OptionalSlot = { [S in LayerSlot]: Table[S] extends { isPresent: unknown } ? S : never }[LayerSlot];

export const LAYER_SLOTS = Object.keys(LAYER) as LayerSlot[];
export const isLinearSlot = (slot: LayerSlot): slot is LinearSlot => LAYER[slot].kind === "linear";
export const LINEAR_SLOTS: readonly LinearSlot[] = LAYER_SLOTS.filter(isLinearSlot);

const entryOf = (slot: LayerSlot): Entry => LAYER[slot];
const linearOf = (slot: LayerSlot): LinearEntry | null => {
  const entry = entryOf(slot);
  return entry.kind === "linear" ? entry : null;
};

/** Whether the model has this weight at all. */
export function hasSlot(spec: DecoderSpec, slot: LayerSlot): boolean {
  const entry = entryOf(slot);
  return entry.kind === "linear" || (entry.isPresent?.(spec) ?? true);
}

/** Whether the product of a slot adds a bias. */
export const hasBias = (spec: DecoderSpec, slot: LayerSlot): boolean => linearOf(slot)?.hasBias?.(spec) ?? false;

/** The shape [O, I] (or [C], [D] for norms) of a slot's weight; a bias is [O]. */
export const slotShape = (spec: DecoderSpec, slot: LayerSlot): number[] => entryOf(slot).shape(spec);

/** How many heads a slot's rows have, where rotary embedding rotates them; 0 for the others. */
export const rotatedHeads = (spec: DecoderSpec, slot: LayerSlot): number => linearOf(slot)?.rotatedHeads?.(spec) ?? 0;

/** Whether a slot's product is added to the residual stream. */
export const addsToResidual = (slot: LayerSlot): boolean => linearOf(slot)?.addsToResidual ?? false;

/** Number of parameters; a tied head counts once. */
export function parameterCount(spec: DecoderSpec): number {
  let perLayer = 0;
  for (const slot of LAYER_SLOTS) {
    if (!hasSlot(spec, slot)) continue;
    const shape = slotShape(spec, slot);
    perLayer += shape.reduce((product, size) => product * size, 1) + (hasBias(spec, slot) ? shape[0] : 0);
  }
  const embedding = spec.vocabularySize * spec.width;
  return perLayer * spec.layers + embedding * (spec.tiedHead ? 1 : 2) + spec.width;
}
