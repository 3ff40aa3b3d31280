import type { Family } from "./family.ts";
import { addsToResidual, hasBias, hasSlot, isLinearSlot, type LayerSlot, type LinearSlot, slotShape } from "./layer.ts";
import type { DecoderSpec } from "./spec.ts";

/** A tensor of a model as checkpoints keep it. */
export interface ModelTensor {
  name: string;
  shape: number[];
  /** Its values in a model with random weights: ones, normal numbers, or smaller ones where a product adds to the residual stream. */
  initial: "ones" | "normal" | "residual";
}

/** A tensor of a layer: the weights or biases of its slots, one below the other. */
export interface LayerTensor extends ModelTensor {
  /** Name of the module it belongs to, as PEFT knows it. */
  module: string;
  kind: "weight" | "bias";
  slots: readonly LayerSlot[];
}

/** The tensors of one layer, in the order they are saved. */
export function layerTensors(spec: DecoderSpec, family: Family, index: number): LayerTensor[] {
  return family.modules.flatMap(({ name, slots }): LayerTensor[] => {
    if (!slots.every((slot: LayerSlot) => hasSlot(spec, slot))) return [];
    const module = `${family.names.layers}${index}.${name}`;
    const rows = slots.reduce((sum: number, slot: LayerSlot) => sum + slotShape(spec, slot)[0], 0);
    const columns = slotShape(spec, slots[0]).slice(1);
    const shape = [rows, ...columns];
    const weight: LayerTensor = {
      name: `${module}.weight`,
      module,
      kind: "weight",
      shape,
      slots,
      initial: initialOf(slots),
    };
    if (!hasBias(spec, slots[0])) return [weight];
    return [weight, { ...weight, name: `${module}.bias`, kind: "bias", shape: [rows] }];
  });
}

function initialOf(slots: readonly LayerSlot[]): ModelTensor["initial"] {
  if (!isLinearSlot(slots[0])) return "ones";
  return slots.some(addsToResidual) ? "residual" : "normal";
}

/** The tensors of a model outside its layers; a tied head is no tensor of its own. */
export function outerTensors(
  spec: DecoderSpec,
  { names }: Family,
): { embedding: ModelTensor; finalNorm: ModelTensor; head: ModelTensor | null } {
  const table = { shape: [spec.vocabularySize, spec.width], initial: "normal" } as const;
  return {
    embedding: { ...table, name: names.embedding, shape: [...table.shape] },
    finalNorm: { name: names.finalNorm, shape: [spec.width], initial: "ones" },
    head: spec.tiedHead ? null : { ...table, name: names.head, shape: [...table.shape] },
  };
}

/** All tensors of a model, in the order they are saved. */
export function modelTensors(spec: DecoderSpec, family: Family): ModelTensor[] {
  const { embedding, finalNorm, head } = outerTensors(spec, family);
  const layers = Array.from({ length: spec.layers }, (_, index) => layerTensors(spec, family, index));
  return [embedding, ...layers.flat(), finalNorm, ...(head ? [head] : [])];
}

/** A product of a layer, or several that checkpoints join in one matrix: what a low-rank adapter adapts. */
export interface LinearModule {
  /** Its full name, for example "model.layers.0.self_attn.q_proj". */
  name: string;
  slots: readonly LinearSlot[];
  rows: number; // O, of all slots together
  columns: number; // I
}

/** The products of one layer, in the order they are saved. */
export function linearModules(spec: DecoderSpec, family: Family, index: number): LinearModule[] {
  return layerTensors(spec, family, index).flatMap(({ module: name, kind, slots, shape: [rows, columns] }) => {
    const linear = slots.filter(isLinearSlot);
    return kind === "weight" && linear.length > 0 ? [{ name, slots: linear, rows, columns }] : [];
  });
}

/** The rows (or elements) of a tensor that are the weight of one slot. */
export interface TensorPart {
  slot: LayerSlot;
  name: string;
  shape: number[];
  start: number;
  end: number;
}

/** The part of a layer's tensor that belongs to each of its slots. */
export function partsOf(spec: DecoderSpec, { name, kind, slots }: LayerTensor): TensorPart[] {
  let start = 0;
  return slots.map((slot) => {
    const whole = slotShape(spec, slot);
    const shape = kind === "bias" ? [whole[0]] : whole;
    const end = start + shape[0];
    const part = { slot, shape, start, end, name: slots.length > 1 ? `${name}:${slot}` : name };
    start = end;
    return part;
  });
}
