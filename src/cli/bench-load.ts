import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { measureLoad } from "../bench/load-model.ts";
import { PUBLISHED_SIZES, type PublishedName, writeModelFolder } from "../bench/model-folder.ts";
import { openBackend } from "../compute/open.ts";
import { checkModelFolder } from "../export/output-folder.ts";
import { parameterCount } from "../models/layer.ts";
import type { ModelStorage } from "../recipe/answer-schema.ts";
import { showLoading, storageOption } from "./loading.ts";
import { wholeNumber } from "./options.ts";
import { print, progress, say, warn } from "./terminal.ts";

export function addLoadCommands(bench: Command): void {
  bench
    .command("model-folder")
    .description("write a folder of a published model's size with random weights, for cre bench load")
    .argument("<dir>", "folder to write")
    .addOption(new Option("--shape <name>", "model").choices(Object.keys(PUBLISHED_SIZES)).makeOptionMandatory())
    .requiredOption("--tokenizer <path>", "tokenizer file or model folder whose tokenizer is copied")
    .option("--layers <n>", "other number of layers", wholeNumber)
    .option("--overwrite", "replace a model that is there")
    .action(modelFolder);
  bench
    .command("load")
    .description("load a model folder, make one LoRA step, generate: times and memory")
    .argument("<dir>", "model folder")
    .addOption(storageOption("bf16"))
    .option("--sequences <n>", "sequences of the step", wholeNumber, 2)
    .option("--tokens <n>", "tokens of a sequence", wholeNumber, 128)
    .option("--new-tokens <n>", "tokens to generate", wholeNumber, 16)
    .option("--json", "print JSON")
    .action(load);
}

async function modelFolder(
  directory: string,
  options: { shape: PublishedName; tokenizer: string; layers?: number; overwrite?: boolean },
): Promise<void> {
  await checkModelFolder(directory, { overwrite: options.overwrite, read: [options.tokenizer], writes: "model" });
  const sizes = PUBLISHED_SIZES[options.shape];
  if (options.layers === 0) throw new UserError("--layers is 0, expected at least one.");
  const bar = progress("write MB", null);
  const spec = await writeModelFolder(
    directory,
    { ...sizes, layers: options.layers ?? sizes.layers },
    options.tokenizer,
    { onProgress: (done, total) => bar.update(Math.round(done / 1e6), `of ${Math.round(total / 1e6)}`) },
  ).finally(() => bar.stop());
  say(`${directory}: ${parameterCount(spec).toLocaleString("en")} parameters, ${spec.layers} layers.`);
}

interface LoadFlags {
  storage?: ModelStorage;
  sequences: number;
  tokens: number;
  newTokens: number;
  json?: boolean;
}

async function load(directory: string, options: LoadFlags): Promise<void> {
  const { storage = "bfloat16" } = options;
  const backend = openBackend("auto", warn);
  try {
    const result = await measureLoad(backend, directory, {
      storage,
      sequences: options.sequences,
      tokensEach: options.tokens,
      newTokens: options.newTokens,
      onLoad: showLoading(),
    });
    if (options.json) {
      await print(`${JSON.stringify({ directory, ...options, storage, backend: backend.description, ...result })}\n`);
      return;
    }
    say(backend.description);
    const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
    const speed = (result.fileBytes / result.loadSeconds / 1e9).toFixed(2);
    const share = (result.peakBytesLoaded / result.weightBytes).toFixed(3);
    await print(
      `${directory}, ${storage}\n` +
        `load      ${result.loadSeconds.toFixed(2)} s for ${gigabytes(result.fileBytes)} of files, ${speed} GB/s\n` +
        `weights   ${gigabytes(result.weightBytes)}; peak of the process ${gigabytes(result.peakBytesLoaded)}, ` +
        `${share} times as much (${gigabytes(result.residentBytesBefore)} before)\n` +
        `LoRA step ${result.stepSeconds.toFixed(2)} s for ${options.sequences} × ${options.tokens} tokens, ` +
        `loss ${result.loss.toFixed(4)}; peak ${gigabytes(result.peakBytesTrained)}\n` +
        `generate  ${result.generateSeconds.toFixed(2)} s for ${options.newTokens} tokens; ` +
        `peak ${gigabytes(result.peakBytesGenerated)}\n`,
    );
  } finally {
    await backend.close();
  }
}
