import { nodeFolder } from "../base/node-folder.ts";
import type { Weight } from "../compute/backend.ts";
import { mergeLoraInto, tensorsToWrite } from "../formats/merge-lora.ts";
import { openPeftFolder, savePeftFolder } from "../formats/peft-folder.ts";
import type { TensorToWrite } from "../formats/tensor-source.ts";
import type { Decoder } from "../models/decoder.ts";
import { ggufLora } from "../models/gguf/write.ts";
import { rowsInHalves } from "../models/hugging-face-rows.ts";
import { joinRows } from "../models/weight-rows.ts";
import { loadLoraFrom, type Part, tensorName } from "./lora-load.ts";
import { adapterOf, modulesOf, shortName } from "./lora-modules.ts";
import type { LoraSettings } from "./lora-weights.ts";
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

/** Loads the adapter of a PEFT folder onto the model; see {@link loadLoraFrom}. */
export const loadLora = (
  model: Decoder,
  directory: string,
  options: { trainable?: boolean } = {},
): Promise<Required<LoraSettings>> => loadLoraFrom(model, nodeFolder(directory), options);

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
