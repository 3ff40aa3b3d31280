import { basename, dirname, join, resolve } from "node:path";
import { readJsonObject } from "../formats/json-file.ts";
import { readSpec } from "../models/families/registry.ts";
import { nativeSpec } from "../models/native-form.ts";
import type { ChatTemplate } from "../prompts/chat-template.ts";
import type { Recipe } from "../recipe/schema.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { findingTokens, writeChatTemplate } from "./chat.ts";
import { answerEndId, writeGenerationConfig } from "./generation.ts";
import { readChatTemplate } from "./gguf-vocabulary.ts";
import { measureChange } from "./measure.ts";
import { writeServing } from "./serving.ts";
import { type ExportJob, type ExportKind, nameOf } from "./trained-tensors.ts";

export interface FinishOptions {
  to: ExportKind;
  /** What was written: a folder or a file. */
  written: string;
  /** The template of the prompts; null for a base that was trained with none. */
  template: ChatTemplate | null;
  /** The recipe of a run whose change is measured; null: not. */
  measured: Recipe | null;
}

/** Writes what others need to serve an export: the chat template, the end of an answer, SERVING.md, Ollama's Modelfile. */
export async function finishExport(job: ExportJob, { to, written, template, measured }: FinishOptions): Promise<void> {
  const { checkpoint, output, onNotice, folder } = job;
  const spec = readSpec(checkpoint.config, checkpoint.directory);
  const isNative = to === "hf" || to === "hf-peft";
  const isGguf = to === "gguf" || to === "gguf-lora";
  const modelType = isNative ? nativeSpec(spec, checkpoint.directory).family : spec.family;
  const read = await openModelTokenizer(output, { modelType });
  const tokenizer = isGguf && template ? findingTokens(read, template) : read;
  const own = await readChatTemplate(output);
  const templateFile = await writeChatTemplate(output, template, { own, tokenizer }, onNotice);
  if (to === "hf" || to === "merged") {
    const marks = { ...tokenizer, bosId: tokenizer.bosId ?? spec.bosId, eosId: tokenizer.eosId ?? spec.eosId };
    await writeGenerationConfig(output, marks, answerEndId(template, tokenizer));
  }
  if (to === "peft" || to === "hf-peft") return;
  await writeServing(output, {
    name: nameOf(job),
    ggufFile: isGguf ? basename(written) : null,
    adapterOf: to === "gguf-lora" ? "BASE.gguf" : null,
    maxTokens: spec.maxTokens,
    template,
    hasOwnTemplate: own !== null,
    // A base in GGUF may have another template, or none.
    templateFile: own !== null || to === "gguf-lora" ? templateFile : null,
    config: isGguf ? {} : await readJsonObject(join(output, "config.json"), "the configuration of a model"),
    tokenizer,
    change: measured && to !== "gguf-lora" ? await measureChange(folder.directory, measured, written) : null,
  });
}

/** Where a model's export is written by default. */
export function defaultOutput(path: string, isFile: boolean, to: ExportKind): string {
  return resolve(isFile ? dirname(path) : path, "export", to);
}
