import { showValue, UserError, UserErrors } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { type PeftFolder, readPeftFolder } from "../formats/peft-adapter.ts";
import { type TargetSettings, targetSettings } from "../formats/peft-targets.ts";
import { type PeftPart, peftTensorName } from "../formats/peft-tensors.ts";
import type { TensorInfo } from "../formats/tensor-source.ts";
import type { Decoder } from "../models/decoder.ts";
import { modulesOf, shortName } from "./lora-modules.ts";
import { attachValues, detachLora, expectNone, type LoraSettings } from "./lora-weights.ts";

/** Loads the LoRA or DoRA adapter of a PEFT folder onto the model, frozen; see {@link attachPeft}. */
export async function loadLoraFrom(model: Decoder, folder: Folder): Promise<Required<LoraSettings>> {
  expectNone(model);
  const adapter = await readPeftFolder(folder);
  try {
    return await attachPeft(model, adapter, folder.directory);
  } finally {
    await adapter.tensors.close();
  }
}

/**
 * Puts the adapter of an open PEFT folder on the model, frozen unless `trainable`. Every target needs its tensors in the right shape and no tensor
 * may be left over: throws a UserErrors with all problems, and leaves the model without the adapter. `merged` names tensors that the model's
 * weights hold already.
 */
export async function attachPeft(
  model: Decoder,
  adapter: PeftFolder,
  where: string,
  {
    trainable = false,
    merged = new Set(),
    dropout = adapter.config.dropout,
  }: { trainable?: boolean; merged?: ReadonlySet<string>; dropout?: number } = {},
): Promise<Required<LoraSettings>> {
  const { config, tensors: source } = adapter;
  try {
    const { rank, alpha, scaling, hasMagnitudes } = config;
    const modules = modulesOf(model);
    const names = modules.map(({ name }) => name);
    const targets = targetSettings(adapter, names);
    const wanted = modules.filter(({ name }) => targets.has(name));
    const shapes = new Map<string, number[]>();
    for (const { name, rows, columns } of wanted) {
      const { rank } = targets.get(name) as TargetSettings;
      shapes.set(peftTensorName(name, "lora_A.weight"), [rank, columns]);
      shapes.set(peftTensorName(name, "lora_B.weight"), [rows, rank]);
      if (hasMagnitudes) shapes.set(peftTensorName(name, "lora_magnitude_vector"), [rows]);
    }
    checkTensors(where, source.tensors, shapes, merged, { targets: config.targetModules, names });
    for (const module of wanted) {
      const { rank, alpha } = targets.get(module.name) as TargetSettings;
      const read = (part: PeftPart) => source.read(peftTensorName(module.name, part));
      const values = {
        a: await read("lora_A.weight"),
        b: await read("lora_B.weight"),
        magnitude: hasMagnitudes ? await read("lora_magnitude_vector") : null,
      };
      attachValues(model, module, { rank, alpha, dropout, scaling, trainable }, values);
    }
    const every = wanted.length === modules.length;
    const short = every ? "all" : [...new Set(wanted.map(({ name }) => shortName(name)))];
    return { rank, alpha, dropout, scaling, targets: short };
  } catch (error) {
    detachLora(model);
    throw error;
  }
}

const MOST_NAMES = 12;
const OTHER_BASE = "Was the adapter trained on another base model?";

export function checkTensors(
  where: string,
  tensors: ReadonlyMap<string, TensorInfo>,
  shapes: ReadonlyMap<string, number[]>,
  merged: ReadonlySet<string>,
  { targets, names }: { targets: readonly string[] | string; names: readonly string[] },
): void {
  const problems: string[] = [];
  if (shapes.size === 0 && merged.size === 0) {
    const own = [...new Set(names.map(shortName))].slice(0, MOST_NAMES).join(", ");
    throw new UserError(
      `${where}: the adapter does not fit the model: no module of it is called ${showValue(targets)}, but ${own}.`,
      { hint: OTHER_BASE },
    );
  }
  for (const [name, shape] of shapes) {
    const info = tensors.get(name);
    if (!info) problems.push(`tensor "${name}" is missing`);
    else if (info.shape.join() !== shape.join()) problems.push(`"${name}" is [${info.shape}], expected [${shape}]`);
  }
  for (const name of tensors.keys()) {
    if (!shapes.has(name) && !merged.has(name)) {
      problems.push(`tensor ${showValue(name, 200)} belongs to no target module of the model`);
    }
  }
  if (problems.length === 0) return;
  throw new UserErrors(`${where}: the adapter does not fit the model:`, problems, {
    hint: OTHER_BASE,
  });
}
