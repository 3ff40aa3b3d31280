import { join } from "node:path";
import type { SavedAdapter } from "../adapters/method.ts";
import type { AdapterSettings } from "../adapters/methods.ts";
import { copyFileAtomic } from "../base/files.ts";
import { checkPeftWeights } from "../formats/peft-folder.ts";
import { readSpec } from "../models/families/registry.ts";
import { exportTokenizer } from "./tokenizer-files.ts";
import type { ExportJob } from "./trained-tensors.ts";

/** Writes an adapter as Hugging Face PEFT loads it, with the tokenizer of its base, and returns the folder. */
export async function exportPeft(
  { folder, trained, checkpoint, output, onNotice }: ExportJob,
  adapter: SavedAdapter<AdapterSettings>,
): Promise<string> {
  const { config, directory } = checkpoint;
  await exportTokenizer(trained.tokenizer, output, { modelType: String(config.model_type), onNotice });
  if (config.rope_layout === "interleaved") {
    await adapter.saveInHalves(folder.directory, output, readSpec(config, directory));
    return output;
  }
  await checkPeftWeights(folder.directory);
  for (const name of ["adapter_model.safetensors", "adapter_config.json"]) {
    await copyFileAtomic(join(folder.directory, name), join(output, name));
  }
  return output;
}
