import { join } from "node:path";
import { writeFileAtomic } from "../base/files.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { sumsOfTensors } from "./folder-sums.ts";
import {
  CONFIG_FILE,
  type PeftFolder,
  type PeftLoraConfig,
  readPeftFolder,
  readPeftTensors,
  WEIGHTS_FILE,
} from "./peft-adapter.ts";
import { writeSafetensors } from "./safetensors.ts";
import type { SafetensorsFile } from "./safetensors-read.ts";
import type { TensorToWrite } from "./tensor-source.ts";

/** Opens a PEFT folder with a LoRA or DoRA adapter; see {@link readPeftFolder}. */
export const openPeftFolder = (directory: string): Promise<PeftFolder> => readPeftFolder(nodeFolder(directory));

/** Opens the weights of a PEFT folder; see {@link readPeftTensors}. */
export const openPeftTensors = (directory: string): Promise<SafetensorsFile> => readPeftTensors(nodeFolder(directory));

/** Reads the weights of a PEFT folder that is copied. Throws a UserError for damaged ones. */
export async function checkPeftWeights(directory: string): Promise<void> {
  const tensors = await openPeftTensors(directory);
  try {
    await sumsOfTensors(tensors);
  } finally {
    await tensors.close();
  }
}

/** Writes a LoRA or DoRA adapter as PEFT does; the configuration comes last, so that a folder with one is complete. */
export async function savePeftFolder(
  directory: string,
  config: PeftLoraConfig,
  tensors: readonly TensorToWrite[],
): Promise<void> {
  await writeSafetensors(join(directory, WEIGHTS_FILE), tensors);
  const json = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: config.baseModel,
    r: config.rank,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    target_modules: config.targetModules === "all-linear" ? "all-linear" : [...config.targetModules].sort(),
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    use_dora: config.hasMagnitudes,
    use_rslora: config.scaling === "rslora",
  };
  await writeFileAtomic(join(directory, CONFIG_FILE), `${JSON.stringify(json, null, 2)}\n`);
}
