import { type GgufFile, openGguf } from "../../formats/gguf.ts";
import type { Checkpoint } from "../../formats/model-folder.ts";
import type { TensorInfo } from "../../formats/tensor-source.ts";
import { joinRows } from "../weight-rows.ts";
import { readGgufConfig } from "./config.ts";
import { type GgufPart, placeOf } from "./names.ts";

import { reorderedHeads, reorderPart } from "./rows.ts";
import { ROPE_DIVISORS } from "./scaling.ts";

/**
 * Opens a GGUF file of a model, with the configuration, names and order of rows of its family's checkpoints. Throws a UserErrors for an
 * architecture or an option that this program cannot compute.
 */
export async function openGgufModel(file: string): Promise<Checkpoint> {
  const gguf = await openGguf(file);
  try {
    const divisors = gguf.tensors.has(ROPE_DIVISORS) ? await gguf.read(ROPE_DIVISORS) : null;
    const { family, spec, config } = readGgufConfig(gguf, file, divisors);
    const tensors = new Map<string, TensorInfo>();
    const partsOf = new Map<string, { tensors: string[]; parts: readonly GgufPart[] }>();
    for (const [ggufName, info] of gguf.tensors) {
      if (ggufName === ROPE_DIVISORS) continue;
      const place = placeOf(family, ggufName);
      const names = place?.parts.map(({ name }) => `${name}.${place.kind}`) ?? [];
      const shape = stackedShape(gguf, names);
      // A tensor without a place in the model keeps its name; loading the model reports it.
      const name = place && shape ? place.tensor : ggufName;
      tensors.set(name, { name, dtype: info.dtype, shape: shape ?? info.shape, file });
      if (place && shape) partsOf.set(name, { tensors: names, parts: place.parts });
    }
    const read = async (name: string): Promise<Float32Array> => {
      const place = partsOf.get(name);
      if (!place) return gguf.read(name);
      const read: Float32Array[] = [];
      for (const [i, part] of place.parts.entries()) {
        const values = await gguf.read(place.tensors[i]);
        read.push(reorderPart(place.tensors[i], values, part, spec, family.gguf.rotaryLayout, family.rotaryLayout));
      }
      return joinRows(read);
    };
    const rows = (name: string) => {
      const place = partsOf.get(name);
      if (!place) return gguf.rows?.(name) ?? null;
      const [part, ...others] = place.parts;
      const isInOrder = family.gguf.rotaryLayout === family.rotaryLayout || reorderedHeads(part, spec) === 0;
      return others.length === 0 && isInOrder ? (gguf.rows?.(place.tensors[0]) ?? null) : null;
    };
    return { directory: file, config, source: { tensors, checks: gguf.checks, read, rows, close: () => gguf.close() } };
  } catch (error) {
    await gguf.close();
    throw error;
  }
}

/** The shape of tensors one below the other; null when there is none, one is missing or their rows differ in length. */
function stackedShape(gguf: GgufFile, names: readonly string[]): readonly number[] | null {
  const shapes = names.map((name) => gguf.tensors.get(name)?.shape ?? []);
  if (shapes.length <= 1) return shapes[0] ?? null;
  const rest = shapes[0].slice(1);
  if (!shapes.every((shape) => shape.length > 0 && shape.slice(1).join() === rest.join())) return null;
  return [shapes.reduce((rows, [own]) => rows + own, 0), ...rest];
}
