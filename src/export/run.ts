import { basename, dirname, join } from "node:path";
import { isUnable, type SavedAdapter, type SavedModel } from "../adapters/method.ts";
import { methodOf } from "../adapters/methods.ts";
import { UserError } from "../base/errors.ts";
import type { GgufWriteType } from "../formats/gguf-blocks.ts";
import type { TensorDtype } from "../formats/tensor-source.ts";
import { openRunFolder } from "../runs/run-folder.ts";
import { findTrained, openTrainedModel, type TrainedResult } from "../runs/trained.ts";
import { findTokenizerFile } from "../tokenizers/open-tokenizer.ts";
import { exportGguf, exportGgufAdapter, ggufAdapterFile, ggufFile } from "./gguf.ts";
import { exportMerged } from "./merged.ts";
import { checkModelFolder, holdingFolder, type ModelOutput } from "./output-folder.ts";
import { exportPeft } from "./peft.ts";
import type { ExportJob } from "./trained-tensors.ts";

export type ExportKind = "peft" | "merged" | "gguf" | "gguf-lora";

export interface ExportOptions {
  to: ExportKind;
  /** Folder to write; by default export/KIND in the run folder. */
  output?: string;
  /** Whether a model or an adapter in `output` may be replaced; one in the run's own export folder always is. */
  overwrite?: boolean;
  /** Element type of a whole model; by default that of its base. */
  type?: GgufWriteType;
  onTensor?: ExportJob["onTensor"];
  onNotice?: ExportJob["onNotice"];
}

/** Writes the trained result of a run for other tools and returns the folder or file. Throws a UserError for a kind that the run cannot give. */
export async function exportRun(directory: string, options: ExportOptions): Promise<string> {
  const { folder, recipe } = await openRunFolder(directory);
  const { to, type, output = join(directory, "export", to), onTensor = () => {}, onNotice = () => {} } = options;
  if (recipe.prompt.attention === "both") {
    const why = 'prompt.attention "both" has no counterpart there: other programs compute every token causally';
    throw new UserError(`${directory}: cannot be exported to ${to}: ${why}.`, {
      hint: 'Use the run with cre, or train one with prompt.attention "causal".',
    });
  }
  const missing = missingExport(methodOf(recipe.adapter), to);
  if (missing) {
    const { reason, hint } = missing;
    const method = `adapter.method "${recipe.adapter.method}"`;
    throw new UserError(`${directory}: cannot be exported to ${to}: ${method} ${reason}.`, { hint });
  }
  if (type && to !== "gguf" && (to !== "merged" || type === "Q8_0")) {
    throw new UserError(`--type ${type} does not go with --to ${to}.`, {
      hint: "A whole model can be F32, F16 or BF16, in GGUF also Q8_0; adapters stay float32.",
    });
  }
  const trained = await findTrained(folder, recipe);
  const checkpoint = await openTrainedModel(folder, trained);
  try {
    const tokenizerFile = await findTokenizerFile(trained.tokenizer);
    const overwrite = options.overwrite ?? options.output === undefined;
    const job = { folder, trained, checkpoint, output, overwrite, onTensor, onNotice };
    await checkModelFolder(output, {
      overwrite,
      read: [directory, folder.model, trained.model, recipe.model.path, dirname(tokenizerFile)],
      writes: writtenBy(job, to, type),
    });
    return await holdingFolder(output, () => {
      if (to === "merged") return exportMerged(job, recipe.model.path, type as TensorDtype | undefined);
      if (to === "gguf") return exportGguf(job, type);
      return exportAdapter(job, trained.adapter as NonNullable<TrainedResult["adapter"]>, to);
    });
  } finally {
    await checkpoint.source.close();
  }
}

function writtenBy(job: ExportJob, to: ExportKind, type: GgufWriteType | undefined): ModelOutput["writes"] {
  if (to === "gguf") return { file: basename(ggufFile(job, type)) };
  if (to === "gguf-lora") return { file: basename(ggufAdapterFile(job)) };
  return "model";
}

function exportAdapter(
  job: ExportJob,
  adapter: NonNullable<TrainedResult["adapter"]>,
  to: "peft" | "gguf-lora",
): Promise<string> {
  const { ggufAdapter } = adapter;
  if (to === "peft" || isUnable(ggufAdapter)) return exportPeft(job, adapter);
  return exportGgufAdapter(job, ggufAdapter);
}

/** Why a method has no export of this kind, as the end of a sentence, with what to do instead; null when it has one. */
export function missingExport(
  { saved }: { saved: SavedModel | Pick<SavedAdapter<never>, "kind" | "merge" | "ggufAdapter"> },
  to: ExportKind,
): { reason: string; hint: string } | null {
  if (saved.kind === "model") {
    if (to === "merged" || to === "gguf") return null;
    return { reason: "saves a whole model, there is no adapter", hint: "Give --to merged or --to gguf." };
  }
  const ability = { peft: {}, merged: saved.merge, gguf: saved.merge, "gguf-lora": saved.ggufAdapter }[to];
  return isUnable(ability) ? { reason: ability.because, hint: "Give --to peft." } : null;
}
