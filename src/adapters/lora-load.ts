import { showValue, UserErrors } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { readPeftFolder } from "../formats/peft-adapter.ts";
import type { TensorInfo } from "../formats/tensor-source.ts";
import type { Decoder } from "../models/decoder.ts";
import { modulesOf, shortName } from "./lora-modules.ts";
import { attachValues, detachLora, expectNone, type LoraSettings } from "./lora-weights.ts";

export type Part = "lora_A.weight" | "lora_B.weight" | "lora_magnitude_vector";

/** PEFT's name of an adapter's weight. */
export function tensorName(module: string, part: Part): string {
  return `base_model.model.${module}.${part}`;
}

/**
 * Loads the LoRA or DoRA adapter of a PEFT folder onto the model, frozen unless `trainable`. Every target needs its tensors in the right
 * shape and no tensor may be left over: throws a UserErrors with all problems, and leaves the model without the adapter.
 */
export async function loadLoraFrom(
  model: Decoder,
  folder: Folder,
  options: { trainable?: boolean } = {},
): Promise<Required<LoraSettings>> {
  expectNone(model);
  const { config, tensors: source } = await readPeftFolder(folder);
  try {
    const { rank, alpha, dropout, scaling, hasMagnitudes } = config;
    const wanted = modulesOf(model).filter(({ name }) => isTarget(name, config.targetModules));
    const shapes = new Map<string, number[]>();
    for (const { name, rows, columns } of wanted) {
      shapes.set(tensorName(name, "lora_A.weight"), [rank, columns]);
      shapes.set(tensorName(name, "lora_B.weight"), [rows, rank]);
      if (hasMagnitudes) shapes.set(tensorName(name, "lora_magnitude_vector"), [rows]);
    }
    checkTensors(folder.directory, source.tensors, shapes, config.targetModules);
    for (const module of wanted) {
      const read = (part: Part) => source.read(tensorName(module.name, part));
      const values = {
        a: await read("lora_A.weight"),
        b: await read("lora_B.weight"),
        magnitude: hasMagnitudes ? await read("lora_magnitude_vector") : null,
      };
      attachValues(model, module, { rank, alpha, dropout, scaling, trainable: options.trainable ?? false }, values);
    }
    const every = wanted.length === modulesOf(model).length;
    const targets = every ? "all" : [...new Set(wanted.map(({ name }) => shortName(name)))];
    return { rank, alpha, dropout, scaling, targets };
  } catch (error) {
    detachLora(model);
    throw error;
  } finally {
    await source.close();
  }
}

/** A target is a full path or the last parts of one, as PEFT matches them. */
function isTarget(module: string, targets: readonly string[] | "all-linear"): boolean {
  return targets === "all-linear" || targets.some((target) => module === target || module.endsWith(`.${target}`));
}

function checkTensors(
  directory: string,
  tensors: ReadonlyMap<string, TensorInfo>,
  shapes: ReadonlyMap<string, number[]>,
  targets: readonly string[] | "all-linear",
): void {
  const problems: string[] = [];
  if (shapes.size === 0) problems.push(`no module of the model is called ${showValue(targets)}`);
  for (const [name, shape] of shapes) {
    const info = tensors.get(name);
    if (!info) problems.push(`tensor "${name}" is missing`);
    else if (info.shape.join() !== shape.join()) problems.push(`"${name}" is [${info.shape}], expected [${shape}]`);
  }
  for (const name of tensors.keys()) {
    if (!shapes.has(name)) problems.push(`tensor ${showValue(name, 200)} belongs to no target module of the model`);
  }
  if (problems.length === 0) return;
  throw new UserErrors(`${directory}: the adapter does not fit the model:`, problems, {
    hint: "Was the adapter trained on another base model?",
  });
}
