import { basename, dirname, join } from "node:path";
import { isUnable, type SavedAdapter, type SavedModel } from "../adapters/method.ts";
import { methodOf } from "../adapters/methods.ts";
import { UserError } from "../base/errors.ts";
import type { GgufFileType } from "../formats/gguf-blocks.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import type { TensorDtype } from "../formats/tensor-source.ts";
import { chatTemplate } from "../prompts/chat-template.ts";
import type { Recipe } from "../recipe/schema.ts";
import { type AdapterSource, openGiven, type RunSource } from "../runs/given-adapter.ts";
import { openRunFolder, type RunFolder } from "../runs/run-folder.ts";
import { findTrained, openTrainedModel, type TrainedResult, type UsedAdapter } from "../runs/trained.ts";
import { findTokenizerFile } from "../tokenizers/open-tokenizer.ts";
import { finishExport } from "./finish.ts";
import { exportGguf, exportGgufAdapter, ggufAdapterFile, ggufFile } from "./gguf.ts";
import { exportMerged } from "./merged.ts";
import { exportHf, exportNativePeft } from "./native.ts";
import { checkModelFolder, holdingFolder, type ModelOutput } from "./output-folder.ts";
import { exportPeft, type PeftFacts } from "./peft.ts";
import type { ExportJob, ExportKind } from "./trained-tensors.ts";

export interface ExportOptions {
  to: ExportKind;
  /** Folder to write; by default export/KIND in the run folder. */
  output?: string;
  /** Whether a model or an adapter in `output` may be replaced; one in the run's own export folder always is. */
  overwrite?: boolean;
  /** Element type of a whole model; by default that of its base. */
  type?: GgufFileType;
  /** The name of the base in an adapter's configuration; by default the one that its config.json notes, or that of its folder. */
  baseName?: string;
  /** Whether to measure what a whole model's form changed, which opens the run and what was written; default: true. */
  measure?: boolean;
  onTensor?: ExportJob["onTensor"];
  onNotice?: ExportJob["onNotice"];
}

/** What is exported: a finished run, or an adapter that another program made. */
interface Exported {
  folder: RunFolder;
  recipe: Recipe;
  trained: TrainedResult;
  checkpoint: Checkpoint;
  close(): Promise<void>;
}

/**
 * Writes the trained result of a run, or an adapter that another program made, for other tools and returns the folder or file. Throws a UserError
 * for a kind that it cannot give.
 */
export async function exportRun(source: RunSource, options: ExportOptions): Promise<string> {
  if (typeof source !== "string") return exportGiven(source, options);
  const { folder, recipe } = await openRunFolder(source);
  expectExport(source, recipe, methodOf(recipe.adapter), options);
  const trained = await findTrained(folder, recipe);
  const checkpoint = await openTrainedModel(folder, trained);
  const close = () => checkpoint.source.close();
  return exportOpened({ folder, recipe, trained, checkpoint, close }, options, true);
}

async function exportGiven(source: AdapterSource, options: ExportOptions): Promise<string> {
  if (options.output === undefined) {
    throw new UserError(
      `${source.adapter}: needs --output DIR, since nothing is written into an adapter made elsewhere.`,
    );
  }
  const given = await openGiven(source);
  try {
    const { adapter } = given.trained;
    expectExport(source.adapter, given.recipe, { saved: adapter as UsedAdapter }, options);
    if (given.isJoined && (options.to === "peft" || options.to === "hf-peft")) {
      throw new UserError(
        `${source.adapter}: cannot be exported to ${options.to}: it names the modules of the base's form in transformers, not those of ${given.trained.model}.`,
        {
          hint: "PEFT loads the folder as it is on what `cre export BASE --to hf` writes; or give --to hf, merged, gguf or gguf-lora.",
        },
      );
    }
  } catch (error) {
    await given.close();
    throw error;
  }
  return exportOpened(given, options);
}

/** Throws a UserError for what cannot be exported to this kind. */
function expectExport(
  directory: string,
  recipe: Recipe,
  method: Parameters<typeof missingExport>[0],
  { to, type }: ExportOptions,
): void {
  if (recipe.prompt.attention === "both") {
    const why = 'prompt.attention "both" has no counterpart there: other programs compute every token causally';
    throw new UserError(`${directory}: cannot be exported to ${to}: ${why}.`, {
      hint: 'Use the run with cre, or train one with prompt.attention "causal".',
    });
  }
  const missing = missingExport(method, to);
  if (missing) {
    const { reason, hint } = missing;
    const method = `adapter.method "${recipe.adapter.method}"`;
    throw new UserError(`${directory}: cannot be exported to ${to}: ${method} ${reason}.`, { hint });
  }
  expectType(to, type);
}

async function exportOpened(opened: Exported, options: ExportOptions, isRun = false): Promise<string> {
  const { folder, recipe, trained, checkpoint, close } = opened;
  const { directory } = folder;
  const { to, type, output = join(directory, "export", to), onTensor = () => {}, onNotice = () => {} } = options;
  try {
    if (options.baseName !== undefined && to !== "peft" && to !== "hf-peft") {
      throw new UserError(`--base-name does not go with --to ${to}: only a PEFT folder names its base.`);
    }
    const tokenizerFile = await findTokenizerFile(trained.tokenizer);
    const overwrite = options.overwrite ?? options.output === undefined;
    const job = { folder, trained, checkpoint, output, overwrite, onTensor, onNotice };
    await checkModelFolder(output, {
      overwrite,
      read: [directory, folder.model, trained.model, recipe.model.path, dirname(tokenizerFile)],
      writes: writtenBy(job, to, type),
    });
    const template = chatTemplate(recipe.prompt.template);
    const write = () => {
      if (to === "merged") return exportMerged(job, recipe.model.path, type as TensorDtype | undefined);
      if (to === "hf") return exportHf(job, type as TensorDtype | undefined);
      if (to === "gguf") return exportGguf(job, type, template);
      const facts = { recipe, baseName: options.baseName ?? null };
      if (to === "hf-peft") return exportNativePeft(job, facts);
      return exportAdapter(job, trained.adapter as UsedAdapter, to, facts);
    };
    return await holdingFolder(output, async () => {
      const written = await write();
      // What is compared with is opened from its run folder.
      const measured = isRun && (options.measure ?? true) ? recipe : null;
      await finishExport(job, { to, written, template, measured });
      return written;
    });
  } finally {
    await close();
  }
}

/** Throws a UserError for an element type that a kind does not have. */
export function expectType(to: ExportKind, type: GgufFileType | undefined): void {
  const isPlain = type === "F32" || type === "F16" || type === "BF16";
  if (!type || to === "gguf" || ((to === "merged" || to === "hf") && isPlain)) return;
  throw new UserError(`--type ${type} does not go with --to ${to}.`, {
    hint: "A whole model can be F32, F16 or BF16, in GGUF also Q8_0, Q6_K and Q4_K_M; adapters stay float32.",
  });
}

export function writtenBy(job: ExportJob, to: ExportKind, type: GgufFileType | undefined): ModelOutput["writes"] {
  if (to === "gguf") return { file: basename(ggufFile(job, type)) };
  if (to === "gguf-lora") return { file: basename(ggufAdapterFile(job)) };
  return "model";
}

function exportAdapter(
  job: ExportJob,
  adapter: UsedAdapter,
  to: "peft" | "gguf-lora",
  facts: PeftFacts,
): Promise<string> {
  const { ggufAdapter } = adapter;
  if (to === "peft" || isUnable(ggufAdapter)) return exportPeft(job, adapter, facts);
  return exportGgufAdapter(job, ggufAdapter);
}

/** Why a method has no export of this kind, as the end of a sentence, with what to do instead; null when it has one. */
export function missingExport(
  { saved }: { saved: SavedModel | Pick<SavedAdapter<never>, "kind" | "merge" | "ggufAdapter"> },
  to: ExportKind,
): { reason: string; hint: string } | null {
  if (saved.kind === "model") {
    if (to === "merged" || to === "hf" || to === "gguf") return null;
    return { reason: "saves a whole model, there is no adapter", hint: "Give --to merged, hf or gguf." };
  }
  const { merge, ggufAdapter } = saved;
  const ability = { peft: {}, "hf-peft": {}, merged: merge, hf: merge, gguf: merge, "gguf-lora": ggufAdapter }[to];
  return isUnable(ability) ? { reason: ability.because, hint: "Give --to peft." } : null;
}
