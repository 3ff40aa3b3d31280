import { showValue, UserError, UserErrors } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { expectFolderSums } from "./folder-sums.ts";
import { readFolderJson } from "./json-object.ts";
import { readSafetensors, type SafetensorsFile } from "./safetensors-read.ts";

export const CONFIG_FILE = "adapter_config.json";
export const WEIGHTS_FILE = "adapter_model.safetensors";
const MAX_RANK = 65_536;

/** Whether low-rank products count alpha/rank times, or alpha/√rank times (rsLoRA, Kalajdzievski 2023). */
export type LoraScaling = "lora" | "rslora";

/** The settings of a LoRA or DoRA adapter in PEFT's adapter_config.json. */
export interface PeftLoraConfig {
  rank: number;
  alpha: number;
  dropout: number;
  scaling: LoraScaling;
  /** Whether the lengths of rows are trained, too (DoRA). */
  hasMagnitudes: boolean;
  /** Module names or their last parts, as PEFT matches them. */
  targetModules: readonly string[] | "all-linear";
  baseModel: string | null;
}

export interface PeftFolder {
  config: PeftLoraConfig;
  tensors: SafetensorsFile;
}

/** The factor on the low-rank products. */
export function loraScale({
  rank,
  alpha,
  scaling = "lora",
}: {
  rank: number;
  alpha: number;
  scaling?: LoraScaling;
}): number {
  return alpha / (scaling === "rslora" ? Math.sqrt(rank) : rank);
}

/** Entries of adapter_config.json that do not change what a finished adapter computes (PEFT 0.21), and those read below. */
const FREE = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "ensure_weight_tying",
  "eva_config",
  "inference_mode",
  "layers_pattern",
  "lora_alpha",
  "lora_dropout",
  "megatron_config",
  "megatron_core",
  "peft_type",
  "peft_version",
  "qalora_group_size",
  "r",
  "revision",
  "runtime_config",
  "target_modules",
  "task_type",
  "use_dora",
  "use_rslora",
]);

/** Values that other entries may have besides null, false, [] and {}, which switch an option off. Any other value is an error. */
const ALSO_NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  bias: ["none"],
  // Initialisations; the others (pissa, olora, corda, loftq) change the base weights, which the folder does not hold.
  init_lora_weights: [true, "gaussian", "orthogonal", "eva"],
};

/** What switches an option off. */
function isNeutral(value: unknown): boolean {
  if (value === null || value === false) return true;
  return typeof value === "object" && Object.keys(value as object).length === 0;
}

/** The entries of an adapter_config.json that would change what the adapter computes, but are none of those that are read. */
export function unsupportedEntries(
  raw: Readonly<Record<string, unknown>>,
  free: ReadonlySet<string>,
  alsoNeutral: Readonly<Record<string, readonly unknown[]>> = {},
): string[] {
  return Object.entries(raw).flatMap(([key, value]) => {
    if (free.has(key) || isNeutral(value) || alsoNeutral[key]?.includes(value)) return [];
    const also = (alsoNeutral[key] ?? []).map((one) => `${JSON.stringify(one)}, `).join("");
    return [`${showValue(key)} is ${showValue(value)}, which is not supported: expected ${also}false, null or nothing`];
  });
}

const isSwitch = (value: unknown) => typeof value === "boolean" || value === null;

/** Reads a PEFT folder with a LoRA or DoRA adapter: adapter_config.json and adapter_model.safetensors. Throws a UserErrors with all problems. */
export async function readPeftFolder(folder: Folder): Promise<PeftFolder> {
  const file = folder.path(CONFIG_FILE);
  const raw = await readFolderJson(folder, CONFIG_FILE, "a PEFT adapter configuration");
  const problems: string[] = [];
  const expect = (key: string, expected: string, fits: boolean) => {
    if (!fits) problems.push(`"${key}" is ${showValue(raw[key])}, expected ${expected}`);
  };
  const { peft_type: type, r, lora_alpha: alpha, lora_dropout: dropout = 0, target_modules: targets } = raw;
  expect("peft_type", '"LORA"', type === "LORA");
  expect(
    "r",
    `a whole number from 1 to ${MAX_RANK}`,
    Number.isInteger(r) && (r as number) >= 1 && (r as number) <= MAX_RANK,
  );
  expect("lora_alpha", "a number", typeof alpha === "number" && Number.isFinite(alpha));
  expect("lora_dropout", "a number from 0 to below 1", typeof dropout === "number" && dropout >= 0 && dropout < 1);
  const { use_rslora: isRslora = false, use_dora: hasMagnitudes = false } = raw;
  expect("use_rslora", "true or false", isSwitch(isRslora));
  expect("use_dora", "true or false", isSwitch(hasMagnitudes));
  const isList = Array.isArray(targets) && targets.length > 0 && targets.every((name) => typeof name === "string");
  // PEFT reads any other text as a regular expression over module names.
  expect("target_modules", 'a list of module names or "all-linear"', isList || targets === "all-linear");
  problems.push(...unsupportedEntries(raw, FREE, ALSO_NEUTRAL));
  if (problems.length > 0) throw new UserErrors(`${file}: the adapter cannot be used:`, problems);
  const tensors = await readPeftTensors(folder);
  return {
    config: {
      rank: r as number,
      alpha: alpha as number,
      dropout: dropout as number,
      scaling: isRslora ? "rslora" : "lora",
      hasMagnitudes: Boolean(hasMagnitudes),
      targetModules: targets as string[] | "all-linear",
      baseModel: typeof raw.base_model_name_or_path === "string" ? raw.base_model_name_or_path : null,
    },
    tensors,
  };
}

/** Opens the weights of a PEFT folder, checked against checksums.json where there is one. Throws a UserError when there are none. */
export async function readPeftTensors(folder: Folder): Promise<SafetensorsFile> {
  if (!folder.has(WEIGHTS_FILE)) {
    throw new UserError(`${folder.directory}: has no adapter_model.safetensors.`, {
      hint: "Adapters saved as adapter_model.bin can be saved again by PEFT with safe_serialization=True.",
    });
  }
  const opened = await folder.open(WEIGHTS_FILE, "a safetensors file");
  const tensors = await readSafetensors(opened, folder.path(WEIGHTS_FILE));
  try {
    await expectFolderSums(folder, tensors);
    return tensors;
  } catch (error) {
    await tensors.close();
    throw error;
  }
}
