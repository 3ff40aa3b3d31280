import { showValue, UserErrors } from "../base/errors.ts";
import type { Weight } from "../compute/backend.ts";
import { mergeLoraInto, tensorsToWrite } from "../formats/merge-lora.ts";
import { openPeftFolder, savePeftFolder } from "../formats/peft-folder.ts";
import type { TensorInfo, TensorToWrite } from "../formats/tensor-source.ts";
import type { Decoder } from "../models/decoder.ts";
import { ggufLora } from "../models/gguf/write.ts";
import { rowsInHalves } from "../models/hugging-face-rows.ts";
import { joinRows } from "../models/weight-rows.ts";
import { adapterOf, modulesOf, shortName } from "./lora-modules.ts";
import { attachValues, detachLora, expectNone, type LoraSettings } from "./lora-weights.ts";
import { type OpenTensors, type SavedAdapter, withSource } from "./method.ts";

// Low-rank adapters as PEFT folders.

export type Part = "lora_A.weight" | "lora_B.weight" | "lora_magnitude_vector";

/** PEFT's name of an adapter's weight. */
export function tensorName(module: string, part: Part): string {
  return `base_model.model.${module}.${part}`;
}

/** Saves the adapter as a PEFT folder. */
export async function saveLora(
  model: Decoder,
  settings: LoraSettings,
  directory: string,
  baseModel: string | null,
): Promise<void> {
  const tensors: TensorToWrite[] = [];
  const targets = new Set<string>();
  const modules = modulesOf(model);
  const read = (weight: Weight) => model.backend.readWeight(weight);
  let hasMagnitudes = false;
  for (const module of modules) {
    const adapter = adapterOf(module);
    if (!adapter) continue;
    // PEFT applies a short name to this module in every layer.
    const short = shortName(module.name);
    const everywhere = modules.every((other) => shortName(other.name) !== short || adapterOf(other) !== null);
    targets.add(everywhere ? short : module.name);
    const { a, b, magnitudes } = adapter;
    const put = (part: Part, shape: number[], values: TensorToWrite["values"]) =>
      tensors.push({ name: tensorName(module.name, part), dtype: "F32", shape, values });
    const joined = async (weights: readonly Weight[]) => joinRows(await Promise.all(weights.map(read)));
    put("lora_A.weight", [a.rows, a.columns], () => read(a));
    put("lora_B.weight", [module.rows, a.rows], () => joined(b));
    if (magnitudes.length === 0) continue;
    hasMagnitudes = true;
    put("lora_magnitude_vector", [module.rows], () => joined(magnitudes.map(({ weight }) => weight)));
  }
  const { rank, alpha, dropout, scaling = "lora" } = settings;
  const config = { rank, alpha, dropout, scaling, hasMagnitudes, targetModules: [...targets], baseModel };
  await savePeftFolder(directory, config, tensors);
}

/**
 * Loads a PEFT folder's LoRA or DoRA adapter onto the model, frozen unless `trainable`. Every target needs its tensors in the right shape
 * and no tensor may be left over: throws a UserErrors with all problems, and leaves the model without the adapter.
 */
export async function loadLora(
  model: Decoder,
  directory: string,
  options: { trainable?: boolean } = {},
): Promise<Required<LoraSettings>> {
  expectNone(model);
  const { config, tensors: source } = await openPeftFolder(directory);
  try {
    const { rank, alpha, dropout, scaling, hasMagnitudes } = config;
    const wanted = modulesOf(model).filter(({ name }) => isTarget(name, config.targetModules));
    const shapes = new Map<string, number[]>();
    for (const { name, rows, columns } of wanted) {
      shapes.set(tensorName(name, "lora_A.weight"), [rank, columns]);
      shapes.set(tensorName(name, "lora_B.weight"), [rows, rank]);
      if (hasMagnitudes) shapes.set(tensorName(name, "lora_magnitude_vector"), [rows]);
    }
    checkTensors(directory, source.tensors, shapes, config.targetModules);
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

export function checkTensors(
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

/** How the methods with low-rank weights are saved, loaded and merged; each adds its form for llama.cpp. */
export const savedLora = {
  kind: "adapter",
  save: saveLora,
  async load(model, directory) {
    await loadLora(model, directory);
  },
  async saveInHalves(directory, output, spec) {
    const { config, tensors } = await openPeftFolder(directory);
    try {
      await savePeftFolder(output, config, rowsInHalves(tensorsToWrite(tensors, "F32"), spec));
    } finally {
      await tensors.close();
    }
  },
  async merge(base, directory, where): Promise<OpenTensors<TensorToWrite>> {
    const adapter = await openPeftFolder(directory);
    return withSource(adapter.tensors, () => ({ tensors: mergeLoraInto(base, adapter, where) }));
  },
} satisfies Omit<SavedAdapter<LoraSettings>, "ggufAdapter">;

/** A LoRA adapter in llama.cpp's form. */
export const ggufAdapterOfLora: SavedAdapter<LoraSettings>["ggufAdapter"] = async (directory, spec, where) => {
  const { config, tensors } = await openPeftFolder(directory);
  return withSource(tensors, () => ggufLora(config, tensorsToWrite(tensors, "F32"), spec, where));
};
