import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { readJsonObject } from "./hf-folder.ts";
import { openSafetensors, type SafetensorsFile, writeSafetensors } from "./safetensors.ts";
import type { TensorToWrite } from "./tensor-source.ts";

/** What adapter_config.json of Hugging Face PEFT says about a LoRA adapter. */
export interface PeftLoraConfig {
  rank: number;
  alpha: number;
  dropout: number;
  targetModules: string[];
  baseModel: string | null;
}

export interface PeftFolder {
  config: PeftLoraConfig;
  tensors: SafetensorsFile;
}

/** Options of PEFT that change the mathematics and that we do not compute: anything but these values is an error, not a surprise. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  bias: ["none"],
  use_dora: [false],
  use_rslora: [false],
  fan_in_fan_out: [false],
  lora_bias: [false],
  rank_pattern: [{}],
  alpha_pattern: [{}],
  modules_to_save: [[]],
  layers_to_transform: [[]],
};

/** Opens a PEFT folder with a LoRA adapter: adapter_config.json and adapter_model.safetensors. */
export async function openPeftFolder(directory: string): Promise<PeftFolder> {
  const file = join(directory, "adapter_config.json");
  const raw = await readJsonObject(file, "a PEFT adapter configuration");
  const fail = (key: string, expected: string) =>
    new UserError(`${file}: "${key}" is ${JSON.stringify(raw[key])}, expected ${expected}.`);
  if (raw.peft_type !== "LORA") throw fail("peft_type", '"LORA"');
  for (const [key, allowed] of Object.entries(NEUTRAL)) {
    const value = raw[key];
    if (value === undefined || value === null) continue;
    if (!allowed.some((one) => JSON.stringify(one) === JSON.stringify(value)))
      throw fail(key, JSON.stringify(allowed[0]));
  }
  const { r, lora_alpha: alpha, lora_dropout: dropout = 0, target_modules: targets } = raw;
  if (!Number.isInteger(r) || (r as number) < 1 || (r as number) > 65_536) throw fail("r", "a whole number from 1");
  if (typeof alpha !== "number" || !Number.isFinite(alpha)) throw fail("lora_alpha", "a number");
  if (typeof dropout !== "number" || dropout < 0 || dropout >= 1)
    throw fail("lora_dropout", "a number from 0 to below 1");
  const named = typeof targets === "string" ? [targets] : targets;
  if (!Array.isArray(named) || named.length === 0 || !named.every((name) => typeof name === "string")) {
    throw fail("target_modules", "a list of module names");
  }
  const weights = join(directory, "adapter_model.safetensors");
  if (!existsSync(weights)) {
    throw new UserError(`${directory}: has no adapter_model.safetensors.`, {
      hint: "Adapters saved as adapter_model.bin can be saved again by PEFT with safe_serialization=True.",
    });
  }
  return {
    config: {
      rank: r as number,
      alpha,
      dropout,
      targetModules: named as string[],
      baseModel: typeof raw.base_model_name_or_path === "string" ? raw.base_model_name_or_path : null,
    },
    tensors: await openSafetensors(weights),
  };
}

/** Writes a LoRA adapter as PEFT does; the configuration comes last, so that a folder with one is whole. */
export async function savePeftFolder(
  directory: string,
  config: PeftLoraConfig,
  tensors: readonly TensorToWrite[],
): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeSafetensors(join(directory, "adapter_model.safetensors"), tensors);
  const json = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: config.baseModel,
    r: config.rank,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    target_modules: [...config.targetModules].sort(),
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    use_dora: false,
    use_rslora: false,
  };
  await writeFileAtomic(join(directory, "adapter_config.json"), `${JSON.stringify(json, null, 2)}\n`);
}
