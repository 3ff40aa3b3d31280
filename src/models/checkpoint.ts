import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { missingModelHint } from "../base/path-hints.ts";
import { openHuggingFaceFolder } from "../formats/hf-folder.ts";
import { findLlama2c, openLlama2c } from "../formats/llama2c.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { useNativeByteChecks } from "./byte-checks.ts";
import { openGgufModel } from "./gguf/read.ts";

/** Opens the model at a path: a Hugging Face folder, a GGUF file, a llama2.c checkpoint, or a folder with one of these files. */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  useNativeByteChecks();
  const info = await stat(path).catch((error: unknown) => {
    throw new UserError(`${path}: cannot be read (${messageOf(error)}), expected a model folder.`, {
      hint: missingModelHint(path),
    });
  });
  if (info.isFile()) {
    if (path.endsWith(".gguf")) return openGgufModel(path);
    if (!/\.(safetensors|pt|pth)$|pytorch_model[^/]*\.bin$/.test(path)) return openLlama2c(path);
    throw new UserError(`${path}: is one file of a model.`, { hint: `Give the folder: ${dirname(path)}` });
  }
  if (!info.isDirectory()) throw new UserError(`${path}: is neither a file nor a folder, expected a model folder.`);
  if (existsSync(join(path, "config.json"))) return openHuggingFaceFolder(path);
  const ggufFiles = (await readdir(path)).filter((name) => name.endsWith(".gguf"));
  if (ggufFiles.length === 1) return openGgufModel(join(path, ggufFiles[0]));
  if (ggufFiles.length > 1) {
    throw new UserError(`${path}: has ${ggufFiles.length} GGUF files (${ggufFiles.join(", ")}), expected one.`, {
      hint: "Give the path of the one to open.",
    });
  }
  const file = await findLlama2c(path);
  if (file) return openLlama2c(file);
  throw new UserError(`${path}: has no config.json, no GGUF file and no llama2.c checkpoint.`, {
    hint: "A model folder holds config.json, weights (safetensors or PyTorch files) and a tokenizer.",
  });
}
