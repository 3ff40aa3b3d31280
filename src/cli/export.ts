import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { type ExportKind, type ExportOptions, exportRun } from "../export/run.ts";
import { type AdapterOptions, addAdapterOptions, sourceOf } from "./adapter-options.ts";
import { type Progress, progress, say, warn } from "./terminal.ts";

/** What each kind writes, as the command says it when it is done. */
const KINDS: Readonly<Record<ExportKind, string>> = {
  peft: "an adapter for Hugging Face PEFT",
  merged: "a whole model for Hugging Face transformers",
  gguf: "a whole model for llama.cpp",
  "gguf-lora": "an adapter for llama.cpp",
};

export function addExportCommand(program: Command): void {
  const command = program
    .command("export")
    .description("write the trained result of a run for other tools")
    .argument("[run]", "run folder")
    .addOption(
      new Option(
        "--to <kind>",
        "peft: adapter for Hugging Face PEFT; merged: whole model for transformers; gguf: whole model for llama.cpp; gguf-lora: adapter for llama.cpp",
      )
        .choices(Object.keys(KINDS))
        .makeOptionMandatory(),
    )
    .option("--output <dir>", "folder to write (default: RUN/export/KIND)")
    .option("--overwrite", "replace a model or an adapter that is in --output")
    .option(
      "--base-name <name>",
      "with --to peft: what the adapter calls its base, for example its name on Hugging Face",
    )
    .addOption(
      new Option("--type <name>", "element type of a whole model (default: that of its base)").choices([
        "F32",
        "F16",
        "BF16",
        "Q8_0",
      ]),
    )
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
  const written = await exportRun(source, { ...options, onTensor, onNotice: warn });
  say(`${resolve(written)}: ${KINDS[options.to]}.`);
}
