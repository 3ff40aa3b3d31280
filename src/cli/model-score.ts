import { dirname } from "node:path";
import Table from "cli-table3";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { createTape } from "../compute/autograd.ts";
import { openBackend } from "../compute/open.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { type Decoder, forward } from "../models/decoder.ts";
import { readSpec } from "../models/families/registry.ts";
import { loadDecoder } from "../models/load.ts";
import type { ModelStorage } from "../recipe/answer-schema.ts";
import { checkVocabulary } from "../runs/answering.ts";
import { expectRoom, weightNeed } from "../runs/memory.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { showLoading, storageOption } from "./loading.ts";
import { print, printText, warn } from "./terminal.ts";

export function addModelScoreCommand(model: Command): void {
  model
    .command("score")
    .description("log-probability of a given text, token by token")
    .argument("<dir>", "model folder")
    .requiredOption("--continuation <text>", "text whose tokens are scored; it is encoded by itself, as answers are")
    .option("--prompt <text>", "text in front of it", "")
    .addOption(
      new Option("--precision <name>", "numbers of the products (auto: as stored)")
        .choices(["auto", "float32", "bfloat16"])
        .default("auto"),
    )
    .addOption(storageOption("bf16, or float32 with that precision"))
    .option("--json", "print JSON")
    .action(score);
}

interface ScoreFlags {
  prompt: string;
  continuation: string;
  precision: "auto" | "float32" | "bfloat16";
  storage?: ModelStorage;
  json?: boolean;
}

async function score(path: string, options: ScoreFlags): Promise<void> {
  // A llama2.c or GGUF model is one file, with its tokenizer next to it.
  const tokenizer = await openModelTokenizer(/\.(bin|gguf)$/.test(path) ? dirname(path) : path);
  const { bosId } = tokenizer;
  const encoded = options.prompt === "" ? [] : tokenizer.encode(options.prompt);
  const promptIds = bosId === null ? encoded : [bosId, ...encoded];
  const ids = tokenizer.encode(options.continuation);
  if (promptIds.length === 0) throw new UserError("The prompt is empty, and the model has no begin token.");
  if (ids.length === 0) throw new UserError("--continuation is empty, expected a text.");
  const checkpoint = await openCheckpoint(path);
  const isFloat32 = [...checkpoint.source.tensors.values()].every(({ dtype }) => dtype === "F32");
  const precision = options.precision === "auto" && isFloat32 ? "float32" : options.precision;
  const backend = openBackend(precision, warn);
  try {
    const spec = readSpec(checkpoint.config, path);
    const length = promptIds.length + ids.length;
    if (length > spec.maxTokens) {
      throw new UserError(`The text has ${length} tokens, the model was made for ${spec.maxTokens}.`);
    }
    const storage = options.storage ?? (precision === "float32" ? "float32" : "bfloat16");
    expectRoom(path, weightNeed(spec, storage), warn);
    const tokenCount = tokenizer.vocabularySize;
    const model = await loadDecoder(backend, checkpoint, {
      ...{ storage, tokenCount, trainable: false },
      onProgress: showLoading(),
    });
    checkVocabulary(tokenizer, model.spec, path);
    const scores = await logProbabilities(model, promptIds, ids);
    const tokens = ids.map((id, i) => ({ id, piece: tokenizer.pieceOf(id), logProbability: scores[i] }));
    const sum = scores.reduce((total, one) => total + one, 0);
    if (options.json) {
      await print(`${JSON.stringify({ promptIds, tokens, logProbability: sum }, null, 2)}\n`);
      return;
    }
    const table = new Table({ head: ["token", "id", "log-probability"], style: { head: [], border: [] } });
    for (const { id, piece, logProbability } of tokens) table.push([piece, id, logProbability.toFixed(5)]);
    await printText(`${table.toString()}\nsum ${sum.toFixed(5)}\n`);
  } finally {
    await checkpoint.source.close();
    await backend.close();
  }
}

/** ln p of each token of `ids` [T] after the prompt and those before it, over all rows of the head. */
async function logProbabilities(
  model: Decoder,
  promptIds: readonly number[],
  ids: readonly number[],
): Promise<number[]> {
  const tape = createTape(model.backend, { record: false });
  try {
    const all = [...promptIds, ...ids.slice(0, -1)];
    const first = promptIds.length - 1;
    const logits = forward(model, tape, {
      ids: Int32Array.from(all),
      segments: [{ start: 0, length: all.length, keyStart: 0, position: 0, context: [] }],
      outputRows: Int32Array.from(ids, (_, i) => first + i),
    });
    const values = Float64Array.from(await model.backend.read(logits.tensor));
    const size = model.spec.vocabularySize;
    return ids.map((id, i) => {
      const row = values.subarray(i * size, (i + 1) * size);
      const most = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      let sum = 0;
      for (const value of row) sum += Math.exp(value - most);
      return row[id] - most - Math.log(sum);
    });
  } finally {
    tape.dispose();
  }
}
