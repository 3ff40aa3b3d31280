import { dirname } from "node:path";
import Table from "cli-table3";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { readLines } from "../base/files.ts";
import { createRandom } from "../base/random.ts";
import { openBackend } from "../compute/open.ts";
import { generate } from "../decode/generate.ts";
import { elementCount } from "../formats/tensor-source.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { readSpec } from "../models/families/registry.ts";
import { parameterCount } from "../models/layer.ts";
import { loadDecoder } from "../models/load.ts";
import type { DecoderSpec } from "../models/spec.ts";
import type { ModelStorage } from "../recipe/answer-schema.ts";
import { checkVocabulary } from "../runs/answering.ts";
import { expectRoom, weightNeed } from "../runs/memory.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { showLoading, storageOption } from "./loading.ts";
import { addInitCommand } from "./model-init.ts";
import { addModelScoreCommand } from "./model-score.ts";
import { positiveNumber, wholeNumber } from "./options.ts";
import { addExportBaseCommand, addPretrainCommand } from "./pretrain.ts";
import { print, printText, warn } from "./terminal.ts";

const MAX_LINE_BYTES = 16_000_000;

export function addModelCommands(program: Command): void {
  const model = program.command("model").description("look at, make and run models");
  model
    .command("info")
    .description("sizes and tensors of a model folder, without reading its weights")
    .argument("<dir>", "model folder or llama2.c file")
    .option("--tensors", "list every tensor")
    .option("--json", "print JSON")
    .action(info);
  addInitCommand(model);
  model
    .command("generate")
    .description("continue a text")
    .argument("<dir>", "model folder")
    .option("--prompt <text>", "text to continue", "")
    .option("--max-new-tokens <n>", "longest continuation", wholeNumber, 128)
    .option(
      "--temperature <t>",
      "sample at this temperature; without it the most likely token is chosen",
      positiveNumber,
    )
    .option("--top-p <p>", "sample among the likeliest tokens of this much probability", positiveNumber, 1)
    .option("--top-k <k>", "sample among at most this number of tokens; 0 for all", wholeNumber, 0)
    .option("--seed <n>", "seed of sampling", wholeNumber, 1)
    .addOption(
      new Option("--precision <name>", "numbers of the products (auto: as stored)")
        .choices(["auto", "float32", "bfloat16"])
        .default("auto"),
    )
    .addOption(storageOption("bf16, or float32 with that precision"))
    .action(generateText);
  addModelScoreCommand(model);
  addPretrainCommand(model);
  addExportBaseCommand(model);
  program
    .command("tokenize")
    .description("one JSON array of ids a line")
    .argument("<dir>", "model folder or tokenizer file")
    .argument("[file]", "text file; - or nothing reads standard input", "-")
    .action(async (directory: string, file: string) => {
      const tokenizer = await openModelTokenizer(directory);
      const source = file === "-" ? process.stdin : file;
      for await (const { number, text, problem } of readLines(source, { maxLineBytes: MAX_LINE_BYTES })) {
        if (text === null)
          throw new UserError(`${file === "-" ? "standard input" : file}, line ${number}: ${problem}.`);
        await print(`${JSON.stringify(tokenizer.encode(text))}\n`);
      }
    });
}

async function info(path: string, options: { tensors?: boolean; json?: boolean }): Promise<void> {
  const { config, source, directory } = await openCheckpoint(path);
  try {
    const spec = readSpec(config, directory);
    const tensors = [...source.tensors.values()];
    const stored = tensors.reduce((sum, tensor) => sum + elementCount(tensor.shape), 0);
    const dtypes = [...new Set(tensors.map(({ dtype }) => dtype))].join(", ");
    if (options.json) {
      const list = tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
      await print(`${JSON.stringify({ spec, parameters: parameterCount(spec), stored, tensors: list }, null, 2)}\n`);
      return;
    }
    const table = new Table({ style: { head: [], border: [] } });
    table.push(
      { family: spec.family },
      { parameters: parameterCount(spec).toLocaleString("en") },
      { "stored elements": `${stored.toLocaleString("en")} in ${tensors.length} tensors (${dtypes})` },
      { vocabulary: spec.vocabularySize },
      { width: spec.width },
      { layers: spec.layers },
      { heads: `${spec.heads} query, ${spec.keyValueHeads} key/value, ${spec.headWidth} wide` },
      { "feed-forward": spec.feedForward },
      { positions: `${positionsText(spec)}, up to ${spec.maxTokens} tokens` },
      { "prompt attention": spec.promptAttention },
      { "queries, keys, values": queriesText(spec) },
      { head: spec.tiedHead ? "tied to the embedding" : `its own weights${spec.normalizedHead ? ", normalised" : ""}` },
    );
    await printText(`${table.toString()}\n`);
    if (options.tensors) {
      for (const { name, dtype, shape } of tensors)
        await printText(`${dtype.padEnd(5)}${`[${shape}]`.padEnd(18)}${name}\n`);
    }
  } finally {
    await source.close();
  }
}

function queriesText({ queryKeyValueBias, queryKeyNorm }: DecoderSpec): string {
  const traits = [...(queryKeyValueBias ? ["with biases"] : []), ...(queryKeyNorm ? ["normalised by head"] : [])];
  return traits.length > 0 ? traits.join(", ") : "plain";
}

function positionsText({ positions, headWidth }: DecoderSpec): string {
  if (positions.kind === "alibi") return "ALiBi";
  const { base, layout, rotatedWidth, scaling } = positions;
  const share = rotatedWidth < headWidth ? ` of ${rotatedWidth} of ${headWidth} elements` : "";
  const scaled = scaling ? `, scaled by ${scaling.kind} ${scaling.factor}` : "";
  return `rotary (${layout})${share}, base ${base}${scaled}`;
}

interface GenerateFlags {
  prompt: string;
  maxNewTokens: number;
  temperature?: number;
  topP: number;
  topK: number;
  seed: number;
  precision: "auto" | "float32" | "bfloat16";
  storage?: ModelStorage;
}

async function generateText(path: string, options: GenerateFlags): Promise<void> {
  // A llama2.c or GGUF model is one file, with its tokenizer next to it.
  const tokenizer = await openModelTokenizer(/\.(bin|gguf)$/.test(path) ? dirname(path) : path);
  const checkpoint = await openCheckpoint(path);
  // A checkpoint stored in float32 is computed in float32 by default.
  const isFloat32 = [...checkpoint.source.tensors.values()].every(({ dtype }) => dtype === "F32");
  const precision = options.precision === "auto" && isFloat32 ? "float32" : options.precision;
  const backend = openBackend(precision, warn);
  try {
    const storage = options.storage ?? (precision === "float32" ? "float32" : "bfloat16");
    const tokenCount = tokenizer.vocabularySize;
    const onProgress = showLoading();
    expectRoom(path, weightNeed(readSpec(checkpoint.config, path), storage), warn);
    const model = await loadDecoder(backend, checkpoint, { storage, trainable: false, tokenCount, onProgress });
    checkVocabulary(tokenizer, model.spec, path);
    const encoded = options.prompt === "" ? [] : tokenizer.encode(options.prompt);
    const prompt = tokenizer.bosId === null ? encoded : [tokenizer.bosId, ...encoded];
    if (prompt.length === 0) throw new UserError("The prompt is empty, and the model has no begin token.");
    const { temperature, topP, topK, seed, maxNewTokens } = options;
    const { maxTokens } = model.spec;
    if (prompt.length + maxNewTokens > maxTokens) {
      const sum = `The prompt has ${prompt.length} tokens; with --max-new-tokens ${maxNewTokens}`;
      warn(`${sum} the text goes beyond the ${maxTokens} tokens that the model was made for.`);
    }
    const ids: number[] = [];
    let shown = "";
    const show = (isLast: boolean) => {
      // Several byte tokens may make one character: an incomplete one is not shown yet.
      const text = tokenizer.decode([...prompt, ...ids]);
      const whole = isLast ? text : text.replace(/\uFFFD+$/, "");
      if (whole.startsWith(shown)) process.stdout.write(whole.slice(shown.length));
      shown = whole;
    };
    await generate(model, [prompt], {
      maxNewTokens,
      eosId: tokenizer.eosId,
      sampling: temperature === undefined ? null : { temperature, topP, topK, random: createRandom(seed) },
      onToken: (_, token) => {
        ids.push(token);
        show(false);
      },
    });
    show(true);
    await print("\n");
  } finally {
    await checkpoint.source.close();
    await backend.close();
  }
}
