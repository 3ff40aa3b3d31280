import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { type Checkpoint, openHuggingFaceFolder } from "./hf-folder.ts";
import { findLlama2c, openLlama2c } from "./llama2c.ts";

/** Opens whatever model a path holds: a Hugging Face folder, a llama2.c checkpoint, or a folder with one. */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  if (!existsSync(path)) throw new UserError(`${path}: does not exist, expected a model folder.`);
  if (statSync(path).isFile()) return openLlama2c(path);
  if (existsSync(join(path, "config.json"))) return openHuggingFaceFolder(path);
  const file = await findLlama2c(path);
  if (file) return openLlama2c(file);
  throw new UserError(`${path}: has no config.json and no llama2.c checkpoint.`, {
    hint: "A model folder holds config.json, safetensors files and tokenizer.model.",
  });
}
