import { basename, resolve } from "node:path";
import { isUnable } from "../adapters/method.ts";
import { tensorsToWrite } from "../formats/merge-lora.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import type { TensorDtype, TensorToWrite } from "../formats/tensor-source.ts";
import { checkTiedHead } from "../models/tied-head.ts";
import type { RunFolder } from "../runs/run-folder.ts";
import type { TrainedResult } from "../runs/trained.ts";

/** The forms that are written. */
export type ExportKind = "peft" | "merged" | "hf" | "hf-peft" | "gguf" | "gguf-lora";

/** A finished run that is being written for other tools. */
export interface ExportJob {
  folder: RunFolder;
  trained: TrainedResult;
  /** The model that `trained` names. */
  checkpoint: Checkpoint;
  /** Folder to write. */
  output: string;
  /** Whether files of another model in it may be replaced. */
  overwrite: boolean;
  /** Called after each tensor of a whole model. */
  onTensor: (done: number, total: number, name: string) => void;
  /** Called with what a reader of the export should know. */
  onNotice: (line: string) => void;
}

/** The name of an export: that of the run folder, or of the model. */
export const nameOf = ({ folder }: Pick<ExportJob, "folder">): string =>
  basename(resolve(folder.directory)).replace(/\.(gguf|bin)$/, "");

/** The tensors of the trained model without those to leave out; values are computed when they are read. */
export async function trainedTensors(
  { folder, trained, checkpoint, output, onTensor }: ExportJob,
  dtype: TensorDtype | undefined,
  isLeftOut: (name: string) => boolean,
): Promise<{ tensors: TensorToWrite[]; close(): Promise<void> }> {
  await checkTiedHead(checkpoint);
  const base = tensorsToWrite(checkpoint.source, dtype);
  const merge = trained.adapter?.merge;
  if (merge && isUnable(merge)) throw new Error(`${folder.directory}: cannot be merged: it ${merge.because}.`);
  const { tensors, close } = merge
    ? await merge(base, folder.directory, output)
    : { tensors: base, close: async () => {} };
  const kept = tensors.filter(({ name }) => !isLeftOut(name));
  let done = 0;
  const counted = kept.map((tensor) => ({
    ...tensor,
    values: async () => {
      const values = await tensor.values();
      onTensor(++done, kept.length, tensor.name);
      return values;
    },
  }));
  return { tensors: counted, close };
}
