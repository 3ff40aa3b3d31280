import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { readGgufVocabulary } from "../export/gguf-vocabulary.ts";
import type { GgufWriteType } from "../formats/gguf-blocks.ts";
import { writeGguf } from "../formats/gguf-write.ts";
import { type Checkpoint, readJsonObject, saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { mergeLoraInto, tensorsToWrite } from "../formats/merge-lora.ts";
import { openPeftFolder, type PeftFolder, savePeftFolder } from "../formats/peft-folder.ts";
import type { TensorDtype, TensorToWrite } from "../formats/tensor-source.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { familyOf } from "../models/families/registry.ts";
import { ggufFields } from "../models/gguf/fields.ts";
import { ggufLora, ggufTensors } from "../models/gguf/write.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { reorderRotaryRows } from "../models/weight-rows.ts";
import type { Recipe } from "../recipe/schema.ts";
import { tokenizerPath } from "../runs/open.ts";
import { expectSameBase, openRunFolder } from "../runs/run-folder.ts";
import { copyTokenizer } from "../tokenizers/open-tokenizer.ts";
import { progress, say } from "./terminal.ts";

type Target = "peft" | "merged" | "gguf" | "gguf-lora";

interface ExportOptions {
  to: Target;
  output?: string;
  type?: GgufWriteType;
}

export function addExportCommand(program: Command): void {
  program
    .command("export")
    .description("write what a run has trained for other tools")
    .argument("<run>", "run folder")
    .addOption(
      new Option(
        "--to <kind>",
        "peft: adapter for Hugging Face PEFT; merged: whole model for transformers; gguf: whole model for llama.cpp; gguf-lora: adapter for llama.cpp",
      )
        .choices(["peft", "merged", "gguf", "gguf-lora"])
        .makeOptionMandatory(),
    )
    .option("--output <dir>", "folder to write (default: RUN/export/KIND)")
    .addOption(
      new Option("--type <name>", "element type of a whole model (default: as its base is stored)").choices([
        "F32",
        "F16",
        "BF16",
        "Q8_0",
      ]),
    )
    .action(exportRun);
}

async function exportRun(directory: string, options: ExportOptions): Promise<void> {
  const { folder, recipe } = await openRunFolder(directory);
  const isLora = recipe.adapter.method === "lora";
  const { to, type } = options;
  const output = options.output ?? join(directory, "export", to);
  if (!isLora && (to === "peft" || to === "gguf-lora")) {
    throw new UserError(`${directory}: has trained the whole model, there is no adapter to export.`, {
      hint: "Give --to merged or --to gguf.",
    });
  }
  if (type && to !== "gguf" && (to !== "merged" || type === "Q8_0")) {
    throw new UserError(`--type ${type} does not go with --to ${to}.`, {
      hint: "Whole models take F32, F16 or BF16, in GGUF also Q8_0; adapters stay float32.",
    });
  }
  const trained = isLora ? join(directory, "adapter_config.json") : join(folder.model, "config.json");
  if (!existsSync(trained)) {
    throw new UserError(`${directory}: training has not finished (there is no ${trained}).`, {
      hint: `Go on with: cre train --resume --run ${directory}`,
    });
  }
  if (isLora) await expectSameBase(folder, recipe);
  const checkpoint = await openCheckpoint(isLora ? (recipe.model.path as string) : folder.model);
  const adapter = isLora ? await openPeftFolder(directory) : null;
  const job = { recipe, checkpoint, adapter, tokenizer: isLora ? tokenizerPath(recipe) : folder.model, output };
  try {
    if (to === "peft" && adapter) await exportPeft(checkpoint, adapter, directory, output);
    else if (to === "merged") await exportMerged(job, type as TensorDtype | undefined);
    else await exportGguf(job, basename(resolve(directory)), to, type);
  } finally {
    await adapter?.tensors.close();
    await checkpoint.source.close();
  }
}

async function exportPeft(
  checkpoint: Checkpoint,
  adapter: PeftFolder,
  directory: string,
  output: string,
): Promise<void> {
  if (checkpoint.config.rope_layout === "interleaved") {
    const spec = familyOf(checkpoint.config, checkpoint.directory).readConfig(checkpoint.config, checkpoint.directory);
    await savePeftFolder(output, adapter.config, inHalves(tensorsToWrite(adapter.tensors, "F32"), spec));
  } else {
    await mkdir(output, { recursive: true });
    for (const name of ["adapter_model.safetensors", "adapter_config.json"]) {
      await copyFile(join(directory, name), join(output, name));
    }
  }
  say(`${resolve(output)}: an adapter for Hugging Face PEFT.`);
}

interface ExportJob {
  recipe: Recipe;
  checkpoint: Checkpoint;
  adapter: PeftFolder | null;
  /** Path of the tokenizer that belongs to the model. */
  tokenizer: string;
  output: string;
}

/** The tensors of the trained model but those to leave out, computed when their turn comes. */
function trainedTensors(
  { checkpoint, adapter, output }: ExportJob,
  dtype: TensorDtype | undefined,
  isLeftOut: (name: string) => boolean,
): TensorToWrite[] {
  const base = tensorsToWrite(checkpoint.source, dtype);
  const tensors = (adapter ? mergeLoraInto(base, adapter, output) : base).filter(({ name }) => !isLeftOut(name));
  const bar = progress("export", tensors.length);
  let done = 0;
  return tensors.map((tensor) => ({
    ...tensor,
    values: async () => {
      const values = await tensor.values();
      bar.update(++done, tensor.name);
      if (done === tensors.length) bar.stop();
      return values;
    },
  }));
}

async function exportMerged(job: ExportJob, dtype: TensorDtype | undefined): Promise<void> {
  const { checkpoint, output } = job;
  const { rope_layout: layout, ...others } = checkpoint.config;
  const config: Record<string, unknown> = others;
  const tensors = trainedTensors(job, dtype, () => false);
  if (dtype) config.torch_dtype = { F32: "float32", F16: "float16", BF16: "bfloat16" }[dtype];
  await copyTokenizer(job.tokenizer, output);
  if (job.recipe.model.path) await copyAuthorsCode(job.recipe.model.path, output, config);
  if (layout === "interleaved") {
    const spec = familyOf(checkpoint.config, checkpoint.directory).readConfig(checkpoint.config, checkpoint.directory);
    await saveHuggingFaceFolder(output, config, inHalves(tensors, spec));
  } else {
    await saveHuggingFaceFolder(output, config, tensors);
  }
  say(`${resolve(output)}: a whole model for Hugging Face transformers.`);
}

/** The Python code that ChatGLM2 and Baichuan2 are published with, without which transformers cannot load them; config.json names it. */
async function copyAuthorsCode(base: string, output: string, config: Record<string, unknown>): Promise<void> {
  const file = join(base, "config.json");
  if (!existsSync(file)) return;
  const { auto_map: names } = await readJsonObject(file, "the configuration of a model");
  if (names === undefined) return;
  config.auto_map = names;
  for (const entry of await readdir(base, { withFileTypes: true })) {
    const { name } = entry;
    if (entry.isFile() && name.endsWith(".py")) await copyFile(join(base, name), join(output, name));
  }
}

/** Rows of q and k, or of what an adapter adds to them, as Hugging Face has them. */
function inHalves(tensors: readonly TensorToWrite[], spec: DecoderSpec): TensorToWrite[] {
  return tensors.map((tensor) => {
    const heads = /\.q_proj\.(lora_B\.)?weight$/.test(tensor.name)
      ? spec.heads
      : /\.k_proj\.(lora_B\.)?weight$/.test(tensor.name)
        ? spec.keyValueHeads
        : 0;
    if (heads === 0) return tensor;
    return { ...tensor, values: async () => reorderRotaryRows(await tensor.values(), heads, spec.headWidth, "halves") };
  });
}

async function exportGguf(job: ExportJob, name: string, to: Target, type: GgufWriteType | undefined): Promise<void> {
  const { checkpoint, adapter, output } = job;
  const { config, directory } = checkpoint;
  const family = familyOf(config, directory);
  const spec = family.readConfig(config, directory);
  if (to === "gguf-lora" && adapter) {
    const { tensors } = adapter;
    const file = join(output, `${name}-lora.gguf`);
    const { fields, tensors: parts } = ggufLora(adapter.config, tensorsToWrite(tensors, "F32"), spec, file);
    await writeGguf(file, fields, parts);
    say(`${resolve(file)}: an adapter for llama.cpp.`);
    return;
  }
  const own = [...checkpoint.source.tensors.values()].map(({ dtype }) => dtype);
  const stored = own.every((dtype) => dtype === "F32") ? "F32" : own.some((dtype) => dtype === "BF16") ? "BF16" : "F16";
  const chosen = type ?? stored;
  const file = join(output, `${name}-${chosen}.gguf`);
  const vocabulary = await readGgufVocabulary(job.tokenizer, spec);
  // A tied head is the embedding again; tables of angles are computed by whoever runs the model.
  const isLeftOut = (tensor: string) =>
    (spec.tiedHead && tensor === family.names.head) || family.ignored.some((pattern) => pattern.test(tensor));
  const tensors = trainedTensors(job, undefined, isLeftOut);
  await writeGguf(file, ggufFields(name, spec, vocabulary, chosen), ggufTensors(tensors, spec, chosen, file));
  say(`${resolve(file)}: a whole model for llama.cpp.`);
}
