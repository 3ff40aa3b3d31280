import { join } from "node:path";
import type { SavedAdapter, Unable } from "../adapters/method.ts";
import type { AdapterSettings } from "../adapters/methods.ts";
import type { GgufFileType } from "../formats/gguf-blocks.ts";
import { writeGguf } from "../formats/gguf-write.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { familyOf, readSpec } from "../models/families/registry.ts";
import { type GgufVocabulary, ggufFields } from "../models/gguf/fields.ts";
import { ggufTensors } from "../models/gguf/write.ts";
import type { ChatTemplate } from "../prompts/chat-template.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { chatTemplateText, findingTokens } from "./chat.ts";
import { answerEndId } from "./generation.ts";
import { readGgufVocabulary } from "./gguf-vocabulary.ts";
import { exportTokenizerNextTo } from "./tokenizer-files.ts";
import { type ExportJob, nameOf, trainedTensors } from "./trained-tensors.ts";

/** Writes the whole model for llama.cpp and returns the file; `template` is the chat template of a base that has none. */
export async function exportGguf(
  job: ExportJob,
  type: GgufFileType | undefined,
  template: ChatTemplate | null,
): Promise<string> {
  const { checkpoint, trained } = job;
  const family = familyOf(checkpoint.config, checkpoint.directory);
  const spec = family.readConfig(checkpoint.config, checkpoint.directory);
  const chosen = type ?? storedType(checkpoint);
  const name = nameOf(job);
  const file = ggufFile(job, type);
  const vocabulary = await readGgufVocabulary(trained.tokenizer, spec);
  vocabulary.chatTemplate ??= template && (await templateOf(job, template));
  vocabulary.answerEndId = answerEndId(template, { eosId: vocabulary.eosId, idOf: (piece) => idOf(vocabulary, piece) });
  // A tied head repeats the embedding; llama.cpp computes tables of angles itself.
  const isLeftOut = (tensor: string) =>
    (spec.tiedHead && tensor === family.names.head) || family.ignored.some((pattern) => pattern.test(tensor));
  const { tensors, close } = await trainedTensors(job, undefined, isLeftOut);
  try {
    await writeGguf(file, ggufFields(name, spec, vocabulary, chosen), ggufTensors(tensors, spec, chosen, file));
    await writeTokenizer(job);
    return file;
  } finally {
    await close();
  }
}

function idOf({ texts }: Pick<GgufVocabulary, "texts">, piece: string): number | null {
  const id = texts.indexOf(piece);
  return id < 0 ? null : id;
}

/** Writes an adapter for llama.cpp and returns the file. */
export async function exportGgufAdapter(
  job: ExportJob,
  open: Exclude<SavedAdapter<AdapterSettings>["ggufAdapter"], Unable>,
): Promise<string> {
  const { config, directory } = job.checkpoint;
  const file = ggufAdapterFile(job);
  const { fields, tensors, close } = await open(job.folder.directory, readSpec(config, directory), file);
  try {
    await writeGguf(file, fields, tensors);
    await writeTokenizer(job);
    return file;
  } finally {
    await close();
  }
}

async function templateOf({ trained, checkpoint, onNotice, output }: ExportJob, template: ChatTemplate) {
  const modelType = String(checkpoint.config.model_type);
  const tokenizer = await openModelTokenizer(trained.tokenizer, { modelType });
  return chatTemplateText(template, findingTokens(tokenizer, template), output, onNotice);
}

function writeTokenizer({ trained, checkpoint, output, overwrite, onNotice }: ExportJob): Promise<void> {
  const modelType = String(checkpoint.config.model_type);
  return exportTokenizerNextTo(trained.tokenizer, output, { modelType, overwrite, onNotice });
}

/** The file of a whole model, of an element type or of that of the checkpoint. */
export function ggufFile(job: ExportJob, type: GgufFileType | undefined): string {
  return join(job.output, `${nameOf(job)}-${type ?? storedType(job.checkpoint)}.gguf`);
}

/** The file of an adapter. */
export function ggufAdapterFile(job: ExportJob): string {
  return join(job.output, `${nameOf(job)}-lora.gguf`);
}

/** The element type of most use for a checkpoint's own types. */
function storedType({ source }: Checkpoint): GgufFileType {
  const own = [...source.tensors.values()].map(({ dtype }) => dtype);
  if (own.every((dtype) => dtype === "F32")) return "F32";
  return own.some((dtype) => dtype === "BF16") ? "BF16" : "F16";
}
