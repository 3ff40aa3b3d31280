import { UserError } from "../base/errors.ts";
import { openPeftFolder, savePeftFolder } from "../formats/peft-folder.ts";
import { loraScale } from "../formats/peft-scale.ts";
import { type PeftPart, peftTensorName } from "../formats/peft-tensors.ts";
import type { TensorToWrite } from "../formats/tensor-source.ts";
import type { Decoder } from "../models/decoder.ts";
import { familyNamed } from "../models/families/registry.ts";
import { type LinearSlot, rotatedHeads } from "../models/layer.ts";
import { reorderRotaryRows } from "../models/weight-rows.ts";
import { checkTensors } from "./lora-load.ts";
import { adapterOf, type Module, modulesOf, shortName, targetsOfSpec } from "./lora-modules.ts";
import { freshA, type LoraSettings } from "./lora-weights.ts";
import type { Elsewhere } from "./method.ts";

/** Low-rank weights of a training elsewhere; trained magnitudes (DoRA) start there, from the rows of the base. */
export function loraElsewhere(hasMagnitudes: boolean): Elsewhere<LoraSettings> {
  return {
    async writeFresh({ rank, alpha, dropout, scaling = "lora", targets }, spec, seed, directory) {
      const chosen = targetsOfSpec(targets, spec);
      const tensors = chosen.flatMap((module): TensorToWrite[] => {
        const { name, rows, columns } = module;
        const put = (part: PeftPart, shape: number[], make: () => Float32Array): TensorToWrite => {
          return { name: peftTensorName(name, part), dtype: "F32", shape, values: async () => make() };
        };
        return [
          put("lora_A.weight", [rank, columns], () => freshA(module, rank, seed)),
          put("lora_B.weight", [rows, rank], () => new Float32Array(rows * rank)),
        ];
      });
      const targetModules = [...new Set(chosen.map(({ name }) => shortName(name)))];
      const config = { rank, alpha, dropout, scaling, hasMagnitudes, targetModules, baseModel: null };
      await savePeftFolder(directory, config, tensors);
    },
    readTrained: (model, directory) => readTrained(model, directory, hasMagnitudes),
  };
}

async function readTrained(model: Decoder, directory: string, hasMagnitudes: boolean): Promise<void> {
  const { backend } = model;
  const { config, tensors } = await openPeftFolder(directory);
  try {
    const modules = modulesOf(model).flatMap((module) => {
      const adapter = adapterOf(module);
      return adapter ? [{ module, adapter }] : [];
    });
    const shapes = new Map<string, number[]>();
    for (const { module, adapter } of modules) {
      const rank = adapter.a.rows;
      if (config.hasMagnitudes !== hasMagnitudes || loraScale(config) !== adapter.scale) {
        throw new UserError(`${directory}: is an adapter with other settings than the recipe's.`, {
          hint: "Collect the folder that was trained from this run's hand-over.",
        });
      }
      shapes.set(peftTensorName(module.name, "lora_A.weight"), [rank, module.columns]);
      shapes.set(peftTensorName(module.name, "lora_B.weight"), [module.rows, rank]);
      if (hasMagnitudes) shapes.set(peftTensorName(module.name, "lora_magnitude_vector"), [module.rows]);
    }
    checkTensors(directory, tensors.tensors, shapes, new Set(), {
      targets: config.targetModules,
      names: modules.map(({ module }) => module.name),
    });
    for (const { module, adapter } of modules) {
      const read = (part: PeftPart) => tensors.read(peftTensorName(module.name, part));
      backend.writeWeight(adapter.a, await read("lora_A.weight"));
      const b = rowsOfParts(model, module, await read("lora_B.weight"));
      for (const [i, weight] of adapter.b.entries()) backend.writeWeight(weight, b[i]);
      if (!hasMagnitudes) continue;
      const lengths = rowsOfParts(model, module, await read("lora_magnitude_vector"));
      for (const [i, { weight }] of adapter.magnitudes.entries()) backend.writeWeight(weight, lengths[i]);
    }
  } finally {
    await tensors.close();
  }
}

/** The rows of each part of a module, in the order that the model rotates them. */
function rowsOfParts({ spec }: Decoder, { parts, rows }: Module, values: ArrayLike<number>): Float32Array[] {
  const all = Float32Array.from(values);
  const columns = all.length / rows;
  const { positions } = spec;
  const native = familyNamed(spec.family, "adapter").rotaryLayout;
  let start = 0;
  return parts.map(({ slot, linear }) => {
    const end = start + linear.weight.rows;
    const own = all.slice(start * columns, end * columns);
    start = end;
    const heads = rotatedHeads(spec, slot as LinearSlot);
    const isReordered = positions.kind === "rotary" && positions.layout !== native;
    return isReordered && heads > 0 ? reorderRotaryRows(own, heads, spec.headWidth, positions.layout) : own;
  });
}
