import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { loadLora } from "../src/adapters/lora-files.ts";
import { createRandom } from "../src/base/random.ts";
import { addExportCommand } from "../src/cli/export.ts";
import type { Backend } from "../src/compute/backend.ts";
import { generate } from "../src/decode/generate.ts";
import { openCheckpoint } from "../src/models/checkpoint.ts";
import type { Decoder } from "../src/models/decoder.ts";
import { loadDecoder } from "../src/models/load.ts";
import { saveDecoder } from "../src/models/save.ts";
import { openModelTokenizer } from "../src/runs/tokenizer.ts";
import { copyTokenizer } from "../src/tokenizers/open-tokenizer.ts";
import { ROOT, TOKENIZER, temporaryFolder } from "./e2e/support.ts";
import { TESTED_BACKENDS, worstOf } from "./golden/backends.ts";
import { TINY_FAMILIES, tinyFamily } from "./tiny-families.ts";
import { randomIds, sequenceLogits } from "./tiny-model.ts";
import { sentences } from "./tokenizer-cases.ts";

// What `cre export` wrote, in the programs that it is written for: the shipped base and the adapter of the demonstration's run on it in transformers,
// PEFT and llama.cpp, and ChatGLM2 and Baichuan2 in llama.cpp by way of the folder of `--to hf`.

const BASE = join(ROOT, "models", "base-zh");
/** A run of LoRA on it. */
const RUN = join(ROOT, "docs", "demo", "run");
const PYTHON = [process.env.CRE_PYTHON, join(ROOT, "build", "python-models", "bin", "python"), "python3"].find(
  (one) => one && spawnSync(one, ["-c", "import torch, transformers, peft"], { stdio: "ignore" }).status === 0,
);
const LLAMA_CPP = join(import.meta.dirname, "llama-cpp");
const hasLlamaCpp = existsSync(join(LLAMA_CPP, "node_modules", "node-llama-cpp"));
if (PYTHON === undefined)
  console.warn("exported-models.test.ts: transformers is skipped, no Python with it; CRE_PYTHON names one");
if (!hasLlamaCpp) {
  console.warn("exported-models.test.ts: llama.cpp is skipped (npm ci --ignore-scripts in test/llama-cpp)");
}

const NEW_TOKENS = 32;
/** Of the logarithms of all probabilities, as in llama-cpp.test.ts. */
const TOLERANCE = 5e-4;
const CONVERTED = ["chatglm2", "baichuan2-7b"] as const;
const temporary = temporaryFolder("exported-models");
const lines = sentences(["finre"]);
let backend: Backend;

async function exported(name: string, ...command: string[]): Promise<string> {
  const output = join(temporary.path, name);
  const program = new Command().exitOverride();
  addExportCommand(program);
  await program.parseAsync(["export", ...command, "--output", output], { from: "user" });
  return output;
}

async function opened(path: string, adapter: string | null = null): Promise<Decoder> {
  const checkpoint = await openCheckpoint(path);
  try {
    const model = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
    if (adapter) await loadLora(model, adapter);
    return model;
  } finally {
    await checkpoint.source.close();
  }
}

interface Continued {
  logProbabilities: number[];
  tokens: number[];
}

/** What llama.cpp says after each prompt (llama-cpp/next-tokens.mjs), and the ids of the texts. */
function askLlamaCpp(
  model: string,
  prompts: number[][],
  tokenCount: number,
  texts: readonly string[],
  lora: string | null = null,
) {
  const job = { model, lora, prompts, newTokens: NEW_TOKENS, tokenCount, texts };
  const { stdout, stderr, status } = spawnSync(process.execPath, [join(LLAMA_CPP, "next-tokens.mjs")], {
    input: JSON.stringify([job]),
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  if (status !== 0) throw new Error(`llama.cpp ended with ${status}: ${stderr}`);
  const [answer] = JSON.parse(stdout) as { prompts: Continued[]; ids: number[][] }[];
  return answer;
}

/** Our log-probabilities after each prompt and its likeliest tokens. */
async function continued(model: Decoder, prompts: readonly number[][]): Promise<Continued[]> {
  const size = model.spec.vocabularySize;
  const generated = await generate(model, prompts, { maxNewTokens: NEW_TOKENS, eosId: null });
  const answers: Continued[] = [];
  for (const [i, prompt] of prompts.entries()) {
    const last = Array.from(await sequenceLogits(model, prompt)).slice((prompt.length - 1) * size);
    const most = Math.max(...last);
    const sum = most + Math.log(last.reduce((total, logit) => total + Math.exp(logit - most), 0));
    answers.push({ logProbabilities: last.map((logit) => logit - sum), tokens: generated[i].ids });
  }
  return answers;
}

function expectSame(name: string, got: readonly Continued[], wanted: readonly Continued[]): void {
  const worst = wanted.map(({ logProbabilities }, i) => worstOf(got[i].logProbabilities, logProbabilities));
  const most = Math.max(...worst.map(({ difference }) => difference));
  console.info(`${name}: log-probabilities of llama.cpp and ours differ by at most ${most.toExponential(1)}`);
  expect(most).toBeLessThan(TOLERANCE);
  expect(got.map(({ tokens }) => tokens)).toEqual(wanted.map(({ tokens }) => tokens));
}

beforeAll(() => {
  backend = (TESTED_BACKENDS.filter(({ exact }) => exact).at(-1) as (typeof TESTED_BACKENDS)[number]).open();
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
});
afterAll(async () => {
  vi.restoreAllMocks();
  await backend.close();
  temporary.remove();
});

describe.skipIf(PYTHON === undefined)("models/base-zh in transformers and PEFT", () => {
  it("gives our logits with and without an adapter, and our ids for every line", { timeout: 400_000 }, async () => {
    const folder = await exported("base-hf", BASE, "--to", "hf");
    const tokenizer = await openModelTokenizer(BASE, { modelType: "llama" });
    const ids = tokenizer.encodeAll(lines);
    const sequences = ids.slice(0, 3).map((line) => line.slice(0, 24));
    const job = { folder, adapter: null, lines, sequences, chat: null };
    const adapter = await exported("demo-peft", RUN, "--to", "peft");
    const merged = await exported("demo-hf", RUN, "--to", "hf", "--type", "F32", "--no-measure");
    const jobs = [job, { ...job, adapter, lines: [] }, { ...job, folder: merged }];
    const script = join(import.meta.dirname, "transformers", "hf_models.py");
    const { status, stdout, stderr } = spawnSync(PYTHON as string, ["-P", script], {
      input: JSON.stringify(jobs),
      encoding: "utf8",
      maxBuffer: 2 ** 30,
    });
    if (status !== 0) throw new Error(stderr);
    const answers = JSON.parse(stdout);
    for (const { model, ids: theirs } of [answers[0], answers[2]]) {
      expect(model).toBe("LlamaForCausalLM");
      expect(lines.filter((_, i) => theirs[i].join() !== ids[i].join())).toEqual([]);
    }
    const own = [await opened(BASE), await opened(BASE, RUN)];
    for (const [i, model] of [own[0], own[1], own[1]].entries()) {
      const logits: number[] = [];
      for (const sequence of sequences) {
        // Too many numbers for the arguments of one call.
        for (const logit of Array.from(await sequenceLogits(model, sequence))) logits.push(logit);
      }
      const worst = worstOf(answers[i].logits, logits);
      const name = ["base-zh", "the demonstration's adapter in PEFT", "merged"][i];
      console.info(`${name}: logits of transformers and ours differ by at most ${worst.difference.toExponential(1)}`);
      expect(worst.difference).toBeLessThan(1e-4);
    }
  });
});

describe.skipIf(!hasLlamaCpp)("models in llama.cpp", () => {
  it("has the same next tokens of models/base-zh, and our ids", { timeout: 300_000 }, async () => {
    const folder = await exported("base-gguf", BASE, "--to", "gguf", "--type", "F32");
    const tokenizer = await openModelTokenizer(BASE, { modelType: "llama" });
    const ids = tokenizer.encodeAll(lines);
    const prompts = [3, 40, 200].map((i) => ids[i].slice(0, 24));
    const answer = askLlamaCpp(join(folder, "base-zh-F32.gguf"), prompts, tokenizer.vocabularySize, lines);
    expect(lines.filter((_, i) => answer.ids[i].join() !== ids[i].join())).toEqual([]);
    expectSame("base-zh", await continued(await opened(BASE), prompts), answer.prompts);
    const adapter = join(await exported("demo-lora", RUN, "--to", "gguf-lora"), "run-lora.gguf");
    const model = join(folder, "base-zh-F32.gguf");
    const adapted = askLlamaCpp(model, prompts, tokenizer.vocabularySize, [], adapter);
    expectSame("the demonstration's adapter", await continued(await opened(BASE, RUN), prompts), adapted.prompts);
  });

  it.each(CONVERTED)("has the same next tokens of a converted folder: %s", { timeout: 60_000 }, async (family) => {
    const base = join(temporary.path, family);
    const modelType = TINY_FAMILIES[family].family;
    const { vocabularySize } = await openModelTokenizer(TOKENIZER, { modelType });
    const model = await tinyFamily(backend, family, { seed: 3, vocabularySize });
    await saveDecoder(model, base, { dtype: "F32" });
    await copyTokenizer(TOKENIZER, base);
    const folder = await exported(`${family}-hf`, base, "--to", "hf");
    const gguf = await exported(`${family}-gguf`, folder, "--to", "gguf", "--type", "F32");
    const random = createRandom(4);
    const prompts = [1, 5, 17].map((length) => randomIds(random, length, vocabularySize));
    const answer = askLlamaCpp(join(gguf, `${family}-hf-F32.gguf`), prompts, vocabularySize, []);
    expectSame(`${family} by its native folder`, await continued(await opened(base), prompts), answer.prompts);
  });
});
