import { readdir, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { exportModel } from "../export/model.ts";
import { type ExportOptions, exportRun } from "../export/run.ts";
import type { ExportKind } from "../export/trained-tensors.ts";
import { GGUF_FILE_TYPES } from "../formats/gguf-blocks.ts";
import { type AdapterOptions, addAdapterOptions, sourceOf } from "./adapter-options.ts";
import { type Progress, progress, say, warn } from "./terminal.ts";

/** What each kind writes, as the command says it when it is done. */
const KINDS: Readonly<Record<ExportKind, string>> = {
  peft: "an adapter for Hugging Face PEFT",
  merged: "a whole model for Hugging Face transformers",
  hf: "a whole model in an architecture of Hugging Face transformers",
  "hf-peft": "an adapter for Hugging Face PEFT, on what --to hf makes of its base",
  gguf: "a whole model for llama.cpp and Ollama",
  "gguf-lora": "an adapter for llama.cpp",
};

export function addExportCommand(program: Command): void {
  const command = program
    .command("export")
    .description("write the trained result of a run, or a model, for other tools")
    .argument("[run]", "run folder, or model folder or file")
    .addOption(
      new Option(
        "--to <kind>",
        "peft: adapter for Hugging Face PEFT; merged: whole model for transformers, as its base is kept; hf: whole model for transformers without its authors' code (ChatGLM2, Baichuan2-7B too); hf-peft: adapter for PEFT on what hf makes of the base; gguf: whole model for llama.cpp and Ollama; gguf-lora: adapter for llama.cpp",
      )
        .choices(Object.keys(KINDS))
        .makeOptionMandatory(),
    )
    .option("--output <dir>", "folder to write (default: RUN/export/KIND)")
    .option("--overwrite", "replace a model or an adapter that is in --output")
    .option(
      "--base-name <name>",
      "with --to peft and hf-peft: what the adapter calls its base, for example its name on Hugging Face",
    )
    .addOption(
      new Option("--type <name>", "element type of a whole model (default: that of its base)").choices(GGUF_FILE_TYPES),
    )
    .option("--no-measure", "do not measure what the form of a whole model changed")
    .action(exportShowing);
  addAdapterOptions(command);
}

async function exportShowing(
  run: string | undefined,
  { adapter, base, labels, recipe, ...options }: Omit<ExportOptions, "onTensor" | "onNotice"> & AdapterOptions,
): Promise<void> {
  if (options.baseName?.trim() === "") throw new UserError("--base-name: is empty, expected the name of a model.");
  const source = sourceOf(run, { adapter, base, labels, recipe }, "export");
  let bar: Progress | null = null;
  const onTensor = (done: number, total: number, name: string) => {
    bar ??= progress("export", total);
    bar.update(done, name);
    if (done === total) bar.stop();
  };
  const all = { ...options, onTensor, onNotice: warn };
  const isOfModel = typeof source === "string" && (await isModel(source));
  if (isOfModel && options.baseName !== undefined)
    throw new UserError("--base-name: belongs to an adapter, got a model.");
  const written = isOfModel ? await exportModel(source, all) : await exportRun(source, all);
  say(`${resolve(written)}: ${KINDS[options.to]}.`);
}

/** Whether a path is a model rather than a run. */
async function isModel(path: string): Promise<boolean> {
  const info = await stat(path).catch(() => null);
  if (info?.isFile()) return true;
  const names = info ? await readdir(path) : [];
  return !names.includes("recipe.yaml") && names.some((name) => /^config\.json$|\.(gguf|bin)$/.test(name));
}
