import { existsSync } from "node:fs";
import { link, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { copyFileAtomic } from "../base/files.ts";
import { makeFolder } from "../base/output.ts";
import { exportTokenizer } from "../export/tokenizer-files.ts";
import { saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { tensorsToWrite } from "../formats/merge-lora.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { PROMPT_ATTENTION_KEY } from "../models/families/config-reader.ts";
import { familyNamed } from "../models/families/registry.ts";
import { rowsInHalves } from "../models/hugging-face-rows.ts";
import type { DecoderSpec } from "../models/spec.ts";

const WEIGHT_FILES =
  /^(model|pytorch_model).*\.(safetensors|bin)$|^(model\.safetensors|pytorch_model\.bin)\.index\.json$/;

/** Throws a UserError for a model that transformers opens only with Python code of its authors. */
export function expectNativeBase(spec: DecoderSpec, where: string): void {
  if (!familyNamed(spec.family, where).needsAuthorsCode) return;
  throw new UserError(
    `--engine torch: transformers opens a ${spec.family} model only with Python code of its authors, which is not run.`,
    { hint: "Train here, without --engine, or start from the same model in a native architecture." },
  );
}

/**
 * Writes the base as transformers opens it, with a tokenizer: the files of a Hugging Face folder under a second name, or copies where the file system
 * has no such names; anything else (GGUF, llama2.c, interleaved rotary pairs) written anew.
 */
export async function writeNativeBase(
  checkpoint: Checkpoint,
  spec: DecoderSpec,
  tokenizer: string,
  directory: string,
  onNotice: (text: string) => void,
): Promise<void> {
  const { config, source } = checkpoint;
  await makeFolder(directory);
  await exportTokenizer(tokenizer, directory, { modelType: spec.family, onNotice });
  const isFolder = existsSync(join(checkpoint.directory, "config.json"));
  if (isFolder && config.rope_layout !== "interleaved") {
    const names = (await readdir(checkpoint.directory)).filter((name) => WEIGHT_FILES.test(name));
    for (const name of [...names, "config.json"])
      await linkFile(join(checkpoint.directory, name), join(directory, name));
    return;
  }
  const { rope_layout: layout, [PROMPT_ATTENTION_KEY]: _attention, ...native } = config;
  const tensors = tensorsToWrite(source);
  await saveHuggingFaceFolder(directory, native, layout === "interleaved" ? rowsInHalves(tensors, spec) : tensors);
}

async function linkFile(from: string, to: string): Promise<void> {
  await rm(to, { force: true });
  await link(from, to).catch(() => copyFileAtomic(from, to));
}
