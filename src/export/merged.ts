import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { copyFileAtomic } from "../base/files.ts";
import { saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { readJsonObject } from "../formats/json-file.ts";
import type { TensorDtype } from "../formats/tensor-source.ts";
import { PROMPT_ATTENTION_KEY } from "../models/families/config-reader.ts";
import { readSpec } from "../models/families/registry.ts";
import { rowsInHalves } from "../models/hugging-face-rows.ts";
import { exportTokenizer } from "./tokenizer-files.ts";
import { type ExportJob, trainedTensors } from "./trained-tensors.ts";

export const TORCH_DTYPES = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

/** Writes the whole model as transformers loads it and returns the folder. `base` is the model folder that the run started from. */
export async function exportMerged(
  job: ExportJob,
  base: string | undefined,
  dtype: TensorDtype | undefined,
): Promise<string> {
  const { checkpoint, trained, output, onNotice } = job;
  // Only causal runs are exported, whatever their base was trained as.
  const { rope_layout: layout, [PROMPT_ATTENTION_KEY]: _attention, ...others } = checkpoint.config;
  const config: Record<string, unknown> = others;
  const { tensors, close } = await trainedTensors(job, dtype, () => false);
  try {
    if (dtype) config.torch_dtype = TORCH_DTYPES[dtype];
    await exportTokenizer(trained.tokenizer, output, { modelType: String(checkpoint.config.model_type), onNotice });
    if (base) await copyAuthorsCode(base, output, config);
    const isInterleaved = layout === "interleaved";
    const spec = isInterleaved ? readSpec(checkpoint.config, checkpoint.directory) : null;
    await saveHuggingFaceFolder(output, config, spec ? rowsInHalves(tensors, spec) : tensors);
    return output;
  } finally {
    await close();
  }
}

/** The Python code that ChatGLM2 and Baichuan2 are published with: transformers cannot load them without it; config.json names it. */
async function copyAuthorsCode(base: string, output: string, config: Record<string, unknown>): Promise<void> {
  const file = join(base, "config.json");
  if (!existsSync(file)) return;
  const { auto_map: names } = await readJsonObject(file, "the configuration of a model");
  if (names === undefined) return;
  config.auto_map = names;
  for (const entry of await readdir(base, { withFileTypes: true })) {
    const { name } = entry;
    if (entry.isFile() && name.endsWith(".py")) await copyFileAtomic(join(base, name), join(output, name));
  }
}
