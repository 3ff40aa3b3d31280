import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { expectFolderSums, sumsOfTensors } from "./folder-sums.ts";
import { matchAll } from "./match-patterns.ts";
import { type PeftFolder, WEIGHTS_FILE } from "./peft-adapter.ts";
import { CONFIG_FILE, type PeftLoraConfig, readLora } from "./peft-config.ts";
import { readPeftConfig } from "./peft-config-file.ts";
import { openPytorchBin } from "./pytorch-bin.ts";
import { openSafetensors, writeSafetensors } from "./safetensors.ts";
import type { TensorSource, TensorToWrite } from "./tensor-source.ts";

/** The weights of a PEFT folder; a folder with both has the same weights twice. */
export const PEFT_WEIGHTS = [WEIGHTS_FILE, "adapter_model.bin"] as const;

/** Opens a PEFT folder with a LoRA or DoRA adapter: adapter_config.json and its weights. Throws a UserErrors with all problems. */
export async function openPeftFolder(directory: string): Promise<PeftFolder> {
  const { file, raw } = await readPeftConfig(directory);
  const config = readLora(raw, file);
  return { config, file, match: matchAll, tensors: await openPeftTensors(directory) };
}

/** Opens the weights of a PEFT folder, checked against checksums.json where there is one. Throws a UserError when there are none. */
export async function openPeftTensors(directory: string): Promise<TensorSource> {
  const [safe, pickled] = PEFT_WEIGHTS.map((name) => join(directory, name));
  if (!existsSync(safe) && !existsSync(pickled)) {
    throw new UserError(`${directory}: has no ${PEFT_WEIGHTS.join(" and no ")}.`, {
      hint: "PEFT's save_pretrained writes one of them; was the download finished?",
    });
  }
  const tensors = await (existsSync(safe) ? openSafetensors(safe) : openPytorchBin(pickled));
  try {
    await expectFolderSums(nodeFolder(directory), tensors);
    return tensors;
  } catch (error) {
    await tensors.close();
    throw error;
  }
}

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
  const { targetModules: targets } = config;
  await writeSafetensors(join(directory, WEIGHTS_FILE), tensors);
  const json = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: config.baseModel,
    r: config.rank,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    target_modules: typeof targets === "string" ? targets : [...targets].sort(),
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
