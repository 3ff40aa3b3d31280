import { UserError } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { expectFolderSums } from "./folder-sums.ts";
import { readFolderJson } from "./json-object.ts";
import { CONFIG_FILE, expectReadType, type PeftLora, readLora } from "./peft-config.ts";
import { type MatchAll, matchFreely } from "./python-pattern.ts";
import { readSafetensors, type SafetensorsFile } from "./safetensors-read.ts";
import type { TensorSource } from "./tensor-source.ts";

export const WEIGHTS_FILE = "adapter_model.safetensors";

/** A LoRA or DoRA adapter of PEFT. */
export interface PeftFolder {
  config: PeftLora;
  tensors: TensorSource;
  /** The file of the configuration, for messages. */
  file: string;
  /** Matches the expressions of the configuration. */
  match: MatchAll;
}

/** Reads a PEFT folder with a LoRA or DoRA adapter: adapter_config.json and adapter_model.safetensors. Throws a UserErrors with all problems. */
export async function readPeftFolder(folder: Folder): Promise<PeftFolder> {
  const file = folder.path(CONFIG_FILE);
  const raw = await readFolderJson(folder, CONFIG_FILE, "a PEFT adapter configuration");
  expectReadType(raw, file);
  const config = readLora(raw, file);
  return { config, file, match: matchFreely, tensors: await readPeftTensors(folder) };
}

/** Opens the weights of a PEFT folder, checked against checksums.json where there is one. Throws a UserError when there are none. */
async function readPeftTensors(folder: Folder): Promise<SafetensorsFile> {
  if (!folder.has(WEIGHTS_FILE)) throw new UserError(`${folder.directory}: has no ${WEIGHTS_FILE}.`);
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
