import { basename, join, resolve } from "node:path";
import type { SavedAdapter, Unable } from "../adapters/method.ts";
import type { AdapterSettings } from "../adapters/methods.ts";
import type { GgufWriteType } from "../formats/gguf-blocks.ts";
import { writeGguf } from "../formats/gguf-write.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { familyOf, readSpec } from "../models/families/registry.ts";
import { ggufFields } from "../models/gguf/fields.ts";
import { ggufTensors } from "../models/gguf/write.ts";
import { readGgufVocabulary } from "./gguf-vocabulary.ts";
import { exportTokenizerNextTo } from "./tokenizer-files.ts";
import { type ExportJob, trainedTensors } from "./trained-tensors.ts";

/** Writes the whole model for llama.cpp and returns the file. */
export async function exportGguf(job: ExportJob, type: GgufWriteType | undefined): Promise<string> {
  const { checkpoint, trained } = job;
  const family = familyOf(checkpoint.config, checkpoint.directory);
  const spec = family.readConfig(checkpoint.config, checkpoint.directory);
  const chosen = type ?? storedType(checkpoint);
  const name = runName(job);
  const file = ggufFile(job, type);
  const vocabulary = await readGgufVocabulary(trained.tokenizer, spec);
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

function writeTokenizer({ trained, checkpoint, output, overwrite, onNotice }: ExportJob): Promise<void> {
  const modelType = String(checkpoint.config.model_type);
  return exportTokenizerNextTo(trained.tokenizer, output, { modelType, overwrite, onNotice });
}

/** The file of a whole model, of an element type or of that of the checkpoint. */
export function ggufFile(job: ExportJob, type: GgufWriteType | undefined): string {
  return join(job.output, `${runName(job)}-${type ?? storedType(job.checkpoint)}.gguf`);
}

/** The file of an adapter. */
export function ggufAdapterFile(job: ExportJob): string {
  return join(job.output, `${runName(job)}-lora.gguf`);
}

const runName = ({ folder }: ExportJob) => basename(resolve(folder.directory));

/** The element type of most use for a checkpoint's own types. */
function storedType({ source }: Checkpoint): GgufWriteType {
  const own = [...source.tensors.values()].map(({ dtype }) => dtype);
  if (own.every((dtype) => dtype === "F32")) return "F32";
  return own.some((dtype) => dtype === "BF16") ? "BF16" : "F16";
}
