import { basename, join, resolve } from "node:path";
import type { SavedAdapter, Unable } from "../adapters/method.ts";
import type { AdapterSettings } from "../adapters/methods.ts";
import { UserError } from "../base/errors.ts";
import type { GgufWriteType } from "../formats/gguf-blocks.ts";
import { type GgufSizes, ggufFields } from "../formats/gguf-fields.ts";
import { ggufTensors } from "../formats/gguf-model.ts";
import { GGUF_ARCHITECTURES } from "../formats/gguf-names.ts";
import { writeGguf } from "../formats/gguf-write.ts";
import type { Checkpoint } from "../formats/hf-folder.ts";
import { familyOf, readSpec } from "../models/families/registry.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { readGgufVocabulary } from "./gguf-vocabulary.ts";
import { type ExportJob, trainedTensors } from "./trained-tensors.ts";

/** Writes the whole model for llama.cpp and returns the file. */
export async function exportGguf(job: ExportJob, type: GgufWriteType | undefined): Promise<string> {
  const { checkpoint, trained, output } = job;
  const family = familyOf(checkpoint.config, checkpoint.directory);
  const spec = family.readConfig(checkpoint.config, checkpoint.directory);
  const sizes = sizesOf(spec, checkpoint.directory);
  const chosen = type ?? storedType(checkpoint);
  const name = runName(job);
  const file = join(output, `${name}-${chosen}.gguf`);
  const vocabulary = await readGgufVocabulary(trained.tokenizer, spec);
  // A tied head repeats the embedding; llama.cpp computes tables of angles itself.
  const isLeftOut = (tensor: string) =>
    (spec.tiedHead && tensor === family.names.head) || family.ignored.some((pattern) => pattern.test(tensor));
  const { tensors, close } = await trainedTensors(job, undefined, isLeftOut);
  try {
    await writeGguf(file, ggufFields(name, sizes, vocabulary, chosen), ggufTensors(tensors, sizes, chosen, file));
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
  const sizes = sizesOf(readSpec(config, directory), directory);
  const file = join(job.output, `${runName(job)}-lora.gguf`);
  const { fields, tensors, close } = await open(job.folder.directory, sizes, file);
  try {
    await writeGguf(file, fields, tensors);
    return file;
  } finally {
    await close();
  }
}

const runName = ({ folder }: ExportJob) => basename(resolve(folder.directory));

/** The element type of most use for a checkpoint's own types. */
function storedType({ source }: Checkpoint): GgufWriteType {
  const own = [...source.tensors.values()].map(({ dtype }) => dtype);
  if (own.every((dtype) => dtype === "F32")) return "F32";
  return own.some((dtype) => dtype === "BF16") ? "BF16" : "F16";
}

function sizesOf(spec: DecoderSpec, directory: string): GgufSizes {
  const architecture = GGUF_ARCHITECTURES.find((one) => one === spec.family);
  if (!architecture) {
    throw new UserError(`${directory}: a ${spec.family} model cannot be written as GGUF.`, {
      hint: `These can: ${GGUF_ARCHITECTURES.join(", ")}.`,
    });
  }
  return { ...spec, architecture, rotary: spec.positions.kind === "rotary" ? spec.positions : null };
}
