import { showValue, UserError, UserErrors } from "../base/errors.ts";
import { elementCount, type TensorToWrite } from "../formats/tensor-source.ts";
import { familyNamed } from "./families/registry.ts";
import type { Family } from "./family.ts";
import type { LayerSlot } from "./layer.ts";
import type { DecoderSpec } from "./spec.ts";
import { type LayerTensor, layerTensors, outerTensors, partsOf } from "./tensors.ts";
import { joinRows, normalizedRows, sharedBy } from "./weight-rows.ts";

// Models whose checkpoints need their authors' code, in an architecture that transformers has.

/**
 * The specification of the same model in an architecture of transformers; the same one for a family that is in transformers. Throws a UserError
 * for a model that transformers cannot compute without its authors' code.
 */
export function nativeSpec(spec: DecoderSpec, where: string): DecoderSpec {
  const form = familyNamed(spec.family, where).nativeForm?.(spec);
  if (form && "because" in form) {
    throw new UserError(`${where}: transformers has no architecture for this ${spec.family} model: ${form.because}.`, {
      hint: "Give --to merged (transformers with the authors' code) or --to gguf (llama.cpp).",
    });
  }
  return nativeForm(spec, where) ?? spec;
}

/** As {@link nativeSpec}; null for a model that has no other form. */
export function nativeForm(spec: DecoderSpec, where: string): DecoderSpec | null {
  const form = familyNamed(spec.family, where).nativeForm?.(spec);
  if (!form || "because" in form) return null;
  const { modelType: family } = form;
  const native = familyNamed(family, where);
  const { positions } = spec;
  const layout = native.rotaryLayout;
  const own = { ...spec, family, normalizedHead: false };
  return positions.kind === "rotary" ? { ...own, positions: { ...positions, layout } } : own;
}

/** Rows of one tensor. */
interface Rows {
  tensor: TensorToWrite;
  start: number;
  end: number;
}

/**
 * The tensors of a model in its native form: rows cut and joined, a normalised output layer written out. Tensors that hold no weights of the
 * decoder are left out. Throws a UserErrors for missing ones.
 */
export function nativeTensors(
  tensors: readonly TensorToWrite[],
  spec: DecoderSpec,
  native: DecoderSpec,
  where: string,
): TensorToWrite[] {
  const [from, to] = [familyNamed(spec.family, where), familyNamed(native.family, where)];
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const problems: string[] = [];
  const find = (name: string): TensorToWrite | null => {
    const tensor = byName.get(name);
    if (!tensor) problems.push(`tensor "${name}" is missing`);
    return tensor ?? null;
  };
  const uses = new Map<string, number>();
  const planned: { name: string; shape: readonly number[]; rows: Rows[]; isNormalized: boolean }[] = [];
  const plan = (name: string, shape: readonly number[], rows: readonly (Rows | null)[], isNormalized = false) => {
    const found = rows.flatMap((one) => one ?? []);
    for (const { tensor } of found) uses.set(tensor.name, (uses.get(tensor.name) ?? 0) + 1);
    if (found.length === rows.length) planned.push({ name, shape, rows: found, isNormalized });
  };
  const whole = (name: string): Rows | null => {
    const tensor = find(name);
    return tensor && { tensor, start: 0, end: tensor.shape[0] };
  };
  const [fromOuter, toOuter] = [outerTensors(spec, from), outerTensors(native, to)];
  plan(toOuter.embedding.name, toOuter.embedding.shape, [whole(fromOuter.embedding.name)]);
  for (let index = 0; index < spec.layers; index++) {
    const places = slotPlaces(spec, from, index);
    for (const tensor of layerTensors(native, to, index)) {
      const rows = tensor.slots.map((slot): Rows | null => {
        const place = places.get(`${slot} ${tensor.kind}`);
        const source = place && find(place.name);
        return source ? { tensor: source, start: place.start, end: place.end } : null;
      });
      plan(tensor.name, tensor.shape, rows);
    }
  }
  plan(toOuter.finalNorm.name, toOuter.finalNorm.shape, [whole(fromOuter.finalNorm.name)]);
  if (fromOuter.head && toOuter.head) {
    plan(toOuter.head.name, toOuter.head.shape, [whole(fromOuter.head.name)], spec.normalizedHead);
  }
  if (problems.length > 0)
    throw new UserErrors(`${where}: the tensors do not fit config.json:`, [...new Set(problems)]);
  const readers = new Map(
    [...uses].map(([name, count]) => [name, sharedBy(count, (byName.get(name) as TensorToWrite).values)]),
  );
  return planned.map(({ name, shape, rows, isNormalized }): TensorToWrite => {
    const values = async () => {
      const parts: Float32Array[] = [];
      for (const { tensor, start, end } of rows) {
        const read = await (readers.get(tensor.name) as TensorToWrite["values"])();
        parts.push(rowsOf(read, tensor.shape, start, end));
      }
      const joined = joinRows(parts);
      return isNormalized ? normalizedRows(joined, shape[1]) : joined;
    };
    return { name, dtype: rows[0].tensor.dtype, shape, values };
  });
}

/** Where a layer's tensors have the rows of each slot, by its name and kind. */
function slotPlaces(spec: DecoderSpec, family: Family, index: number) {
  const places = new Map<string, { name: string; module: string; start: number; end: number }>();
  for (const tensor of layerTensors(spec, family, index)) {
    for (const { slot, start, end } of partsOf(spec, tensor)) {
      places.set(`${slot} ${tensor.kind}`, { name: tensor.name, module: tensor.module, start, end });
    }
  }
  return places;
}

function rowsOf(values: ArrayLike<number>, shape: readonly number[], start: number, end: number): Float32Array {
  const columns = elementCount(shape.slice(1));
  const all = values instanceof Float32Array ? values : Float32Array.from(values);
  return all.subarray(start * columns, end * columns);
}

const PREFIX = "base_model.model.";

/**
 * The tensors of a LoRA or DoRA adapter over the native form of its base, and PEFT's names of its modules: each new module has a copy of `a` and
 * its own rows of `b` and of the row lengths.
 * Throws a UserErrors for tensors that belong to no module of the model.
 */
export function nativeLora(
  tensors: readonly TensorToWrite[],
  spec: DecoderSpec,
  native: DecoderSpec,
  where: string,
): { targets: string[]; tensors: TensorToWrite[] } {
  const [from, to] = [familyNamed(spec.family, where), familyNamed(native.family, where)];
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const used = new Set<string>();
  const out: TensorToWrite[] = [];
  const targets = new Set<string>();
  const all = new Set<string>();
  for (let index = 0; index < spec.layers; index++) {
    const places = slotPlaces(spec, from, index);
    for (const tensor of layerTensors(native, to, index).filter(({ kind }) => kind === "weight")) {
      const parts = tensor.slots.flatMap((slot: LayerSlot) => places.get(`${slot} weight`) ?? []);
      const modules = new Set(parts.map(({ module }) => module));
      const [module] = modules;
      const names = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"].map(
        (end) => `${PREFIX}${module}.${end}`,
      );
      const [a, ...rest] = names.map((name) => byName.get(name) ?? null);
      if (tensor.shape.length === 2) all.add(tensor.module);
      // A native module never joins modules that were apart: each of its rows has the same `a`.
      if (!a || modules.size !== 1) continue;
      for (const name of names) used.add(name);
      targets.add(tensor.module);
      out.push({ ...a, name: nameOf(tensor, names[0], module) });
      for (const [i, one] of rest.entries()) {
        if (!one) continue;
        const values = async () => {
          const read = await one.values();
          return joinRows(parts.map(({ start, end }) => rowsOf(read, one.shape, start, end)));
        };
        const shape = [tensor.shape[0], ...one.shape.slice(1)];
        out.push({ ...one, name: nameOf(tensor, names[i + 1], module), shape, values });
      }
    }
  }
  const unused = tensors.filter(({ name }) => !used.has(name));
  if (unused.length > 0) {
    const problems = unused.map(({ name }) => `tensor ${showValue(name, 200)} belongs to no module of the model`);
    throw new UserErrors(`${where}: the adapter does not fit the model:`, problems);
  }
  const short = (module: string) => module.slice(module.lastIndexOf(".") + 1);
  // PEFT applies a short name in every layer.
  const isEverywhere = (name: string) => [...all].every((module) => short(module) !== name || targets.has(module));
  const names = [...targets].map((module) => (isEverywhere(short(module)) ? short(module) : module));
  return { targets: [...new Set(names)].sort(), tensors: out };
}

const nameOf = (tensor: LayerTensor, name: string, module: string) =>
  `${PREFIX}${tensor.module}${name.slice(PREFIX.length + module.length)}`;
