import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { UserError } from "../base/errors.ts";
import type { TensorDtype } from "../formats/tensor-source.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { familyOf, readSpec } from "../models/families/registry.ts";
import { chatTemplate } from "../prompts/chat-template.ts";
import { runFolder } from "../runs/run-folder.ts";
import { findTokenizerFile } from "../tokenizers/open-tokenizer.ts";
import { defaultOutput, finishExport } from "./finish.ts";
import { exportGguf } from "./gguf.ts";
import { exportMerged } from "./merged.ts";
import { exportHf } from "./native.ts";
import { checkModelFolder, holdingFolder } from "./output-folder.ts";
import { type ExportOptions, expectType, writtenBy } from "./run.ts";
import type { ExportJob } from "./trained-tensors.ts";

/**
 * Writes a model that no run was needed for, for other tools, and returns the folder or file: the base of an adapter, or a checkpoint of
 * somebody else. Throws a UserError for a kind that is an adapter.
 */
export async function exportModel(path: string, options: ExportOptions): Promise<string> {
  const { to, type, onTensor = () => {}, onNotice = () => {} } = options;
  if (to === "peft" || to === "hf-peft" || to === "gguf-lora") {
    throw new UserError(`${path}: cannot be exported to ${to}: it is a model, which has no adapter.`, {
      hint: "Give a run folder, or --to hf, merged or gguf.",
    });
  }
  expectType(to, type);
  const isFile = (await stat(path)).isFile();
  const output = options.output ?? defaultOutput(path, isFile, to);
  const checkpoint = await openCheckpoint(path);
  try {
    const spec = readSpec(checkpoint.config, checkpoint.directory);
    if (spec.promptAttention === "both") {
      throw new UserError(`${path}: cannot be exported to ${to}: other programs compute every token causally.`);
    }
    // A llama2.c or GGUF model is one file, with its tokenizer next to it.
    const tokenizer = isFile ? dirname(path) : path;
    const tokenizerFile = await findTokenizerFile(tokenizer);
    const overwrite = options.overwrite ?? options.output === undefined;
    const trained = { model: path, tokenizer, adapter: null };
    const job: ExportJob = { folder: runFolder(path), trained, checkpoint, output, overwrite, onTensor, onNotice };
    await checkModelFolder(output, {
      overwrite,
      read: [path, dirname(tokenizerFile)],
      writes: writtenBy(job, to, type),
    });
    // The authors' code writes the prompts of these families' chat models; transformers' own architecture comes without it.
    const family = familyOf(checkpoint.config, checkpoint.directory);
    const template = family.nativeForm ? chatTemplate(family.chatTemplate) : null;
    return await holdingFolder(output, async () => {
      const dtype = type as TensorDtype | undefined;
      const write = () => {
        if (to === "gguf") return exportGguf(job, type, template);
        return to === "hf" ? exportHf(job, dtype) : exportMerged(job, isFile ? undefined : path, dtype);
      };
      const written = await write();
      await finishExport(job, { to, written, template: to === "merged" ? null : template, measured: null });
      return written;
    });
  } finally {
    await checkpoint.source.close();
  }
}
