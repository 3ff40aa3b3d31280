import { showValue, UserError, UserErrors } from "../base/errors.ts";
import type { Weight } from "../compute/backend.ts";
import { mergeLoraInto, tensorsToWrite } from "../formats/merge-lora.ts";
import type { PeftFolder } from "../formats/peft-adapter.ts";
import type { PeftLora } from "../formats/peft-config.ts";
import { openPeftFolder, savePeftFolder } from "../formats/peft-folder.ts";
import { loraScale } from "../formats/peft-scale.ts";
import { targetSettings } from "../formats/peft-targets.ts";
import { type PeftPart, peftTensorName, sortPeftTensors } from "../formats/peft-tensors.ts";
import type { TensorToWrite } from "../formats/tensor-source.ts";
import type { Decoder } from "../models/decoder.ts";
import { ggufLora } from "../models/gguf/write.ts";
import { rowsInHalves } from "../models/hugging-face-rows.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { joinRows } from "../models/weight-rows.ts";
import { attachPeft } from "./lora-load.ts";
import { adapterOf, modulesOf, shortName, targetModules } from "./lora-modules.ts";
import { expectNone, type LoraSettings } from "./lora-weights.ts";
import { type OpenTensors, type SavedAdapter, withSource } from "./method.ts";

// Low-rank adapters as PEFT folders.

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
    const put = (part: PeftPart, shape: number[], values: TensorToWrite["values"]) =>
      tensors.push({ name: peftTensorName(module.name, part), dtype: "F32", shape, values });
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
  const adapter = await openPeftFolder(directory);
  try {
    return await attachPeft(model, adapter, directory, options);
  } finally {
    await adapter.tensors.close();
  }
}

/** Puts a trained adapter on the model, to train it further. Throws a UserError when it is not of these settings. */
export async function startLora(
  model: Decoder,
  settings: LoraSettings & { method: "lora" | "dora" },
  directory: string,
): Promise<void> {
  expectNone(model);
  const wanted = targetModules(model, settings.targets).map(({ name }) => name);
  const adapter = await openPeftFolder(directory);
  try {
    const { config } = adapter;
    expectOneRank(config, directory);
    const own = { ...config, method: config.hasMagnitudes ? "dora" : "lora" };
    const { scaling = "lora" } = settings;
    const problems = (["method", "rank", "alpha", "scaling"] as const)
      .map((key) => ({ key, value: { ...settings, scaling }[key] }))
      .filter(({ key, value }) => own[key] !== value)
      .map(({ key, value }) => `adapter.${key} is ${showValue(value)}, but ${directory} has ${showValue(own[key])}`);
    const names = modulesOf(model).map(({ name }) => name);
    const found = [...targetSettings(adapter, names).keys()];
    if (found.join() !== wanted.join()) {
      const targets = showValue(config.targetModules);
      problems.push(`adapter.targets is ${showValue(settings.targets)}, but ${directory} has ${targets}`);
    }
    if (problems.length > 0) throw new UserErrors("The adapter that training starts from:", problems, { inline: true });
    await attachPeft(model, adapter, directory, { trainable: true, dropout: settings.dropout });
  } finally {
    await adapter.tensors.close();
  }
}

/** Throws a UserError for an adapter that was made elsewhere, with settings that no run has. */
export function expectOneRank({ rankPattern, alphaPattern, layers, excludeModules }: PeftLora, where: string): void {
  const has = [
    Object.keys(rankPattern).length > 0 && "rank_pattern",
    Object.keys(alphaPattern).length > 0 && "alpha_pattern",
    layers !== null && "layers_to_transform",
    excludeModules.length > 0 && "exclude_modules",
  ].find((name) => name !== false);
  if (has === undefined) return;
  throw new UserError(
    `${where}: "${has}" cannot be kept here: a recipe has one rank and alpha for the same modules of every layer.`,
  );
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
      expectOneRank(config, directory);
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
  const adapter = await openPeftFolder(directory);
  return withSource(adapter.tensors, () => ggufLoraOf(adapter, spec, where));
};

/** An open LoRA adapter in llama.cpp's form. */
export const ggufLoraOf = (adapter: PeftFolder, spec: DecoderSpec, where: string) =>
  ggufLora(adapter.config, withOneAlpha(adapter), spec, where);

/** The tensors of an adapter with one alpha for all modules, as llama.cpp has it: the factor of a module with another one is in its b. */
function withOneAlpha(adapter: PeftFolder): TensorToWrite[] {
  const { config, tensors } = adapter;
  const { lowRank } = sortPeftTensors(tensors.tensors.keys());
  const targets = targetSettings(adapter, [...lowRank.keys()]);
  const alpha = loraScale(config) * config.rank;
  const factors = new Map<string, number>();
  for (const [module, { scale, rank }] of targets) {
    const factor = (scale * rank) / alpha;
    if (factor !== 1) factors.set(peftTensorName(module, "lora_B.weight"), factor);
  }
  return tensorsToWrite(tensors, "F32").map((tensor) => {
    const factor = factors.get(tensor.name);
    if (factor === undefined) return tensor;
    return { ...tensor, values: async () => Float32Array.from(await tensor.values(), (value) => value * factor) };
  });
}
