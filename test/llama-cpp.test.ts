import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { loadLora, saveLora } from "../src/adapters/lora-files.ts";
import { attachLora, type LoraSettings, loraWeights } from "../src/adapters/lora-weights.ts";
import { createRandom } from "../src/base/random.ts";
import { addExportCommand } from "../src/cli/export.ts";
import { createTape } from "../src/compute/autograd.ts";
import type { Backend } from "../src/compute/backend.ts";
import { openReference } from "../src/compute/reference/backend.ts";
import { generate } from "../src/decode/generate.ts";
import { openCheckpoint } from "../src/models/checkpoint.ts";
import { type Decoder, forward } from "../src/models/decoder.ts";
import { loadDecoder } from "../src/models/load.ts";
import { saveDecoder } from "../src/models/save.ts";
import { openModelTokenizer as openTokenizer } from "../src/runs/tokenizer.ts";
import { copyTokenizer } from "../src/tokenizers/open-tokenizer.ts";
import { encodePlain } from "../src/tokenizers/tokenizer.ts";
import { SHARED, TOKENIZER, toyRecipe } from "./e2e/support.ts";
import { TESTED_BACKENDS } from "./golden/backends.ts";
import { TINY_FAMILIES, tinyFamily } from "./tiny-families.ts";
import { randomIds } from "./tiny-model.ts";
import { sentences, TOKENIZER_CASES, type TokenizerCase, writeCase } from "./tokenizer-cases.ts";

// Tiny random models of every family, made and exported by us, against llama.cpp (node-llama-cpp, pinned in llama-cpp/package.json).
// llama.cpp knows Baichuan2's positions by the number of layers only: rotary with 32, ALiBi with 40; these models have as many, thin ones.
// Its tokens come from one pass over the prompt and then one at a time, as ours do.

const PACKAGE = join(import.meta.dirname, "llama-cpp");
const installed = existsSync(join(PACKAGE, "node_modules", "node-llama-cpp"));
if (!installed) console.warn("llama-cpp.test.ts: skipped, not installed (npm ci --ignore-scripts in test/llama-cpp)");

const NEW_TOKENS = 32;
const PROMPT_LENGTHS = [1, 3, 8, 17, 24];
/** Rows behind the last token, as published models have. */
const PADDING = 3;
const QWEN_TOKENIZER = join(import.meta.dirname, "golden", "tokenizer-json");
const TEXTS = ["上海东方公司收购了北京的股份", "1998年，Zhang San 与 李四\n合作 <s> 。", "𠀀龘"];
const LORA: LoraSettings = { rank: 4, alpha: 16, dropout: 0, targets: "all" };
const FROZEN = { storage: "float32", trainable: false } as const;
/** Of the logarithms of all probabilities, which are the logits but for a constant; measured: 6e-5 and less. */
const TOLERANCE = 5e-4;
const EXACT_BACKENDS = TESTED_BACKENDS.filter(({ exact }) => exact);

interface Job {
  model: string;
  lora: string | null;
  prompts: number[][];
  newTokens: number;
  tokenCount: number;
  texts: string[];
}

interface Answer {
  prompts: { logProbabilities: number[]; tokens: number[] }[];
  ids: number[][];
}

interface Case {
  base: string;
  run: string;
  prompts: number[][];
  tokenCount: number;
}

let root: string;
const cases = new Map<string, Case>();
/** The largest difference of each family. */
const largest = new Map<string, number>();
let answers: Map<string, { plain: Answer; adapted: Answer }>;

async function exported(...command: string[]): Promise<void> {
  const program = new Command().exitOverride();
  addExportCommand(program);
  await program.parseAsync(["export", ...command], { from: "user" });
}

function writeRun(directory: string, changes: Record<string, unknown>): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "recipe.yaml"), stringify({ ...toyRecipe("data"), ...changes }));
}

/** A run that trained a whole model and one that trained an adapter on it, both with random weights, exported for llama.cpp. */
async function prepare(name: string): Promise<Case> {
  const backend = openReference({ precision: "float32" });
  const full = join(root, name);
  const base = join(full, "model");
  const run = join(root, `${name}-adapter`);
  const tokenizer = name.startsWith("qwen") ? QWEN_TOKENIZER : TOKENIZER;
  const { vocabularySize: tokenCount } = await openTokenizer(tokenizer, { modelType: TINY_FAMILIES[name].family });
  const model = await tinyFamily(backend, name, { seed: 11, vocabularySize: tokenCount + PADDING, tokenCount });
  await saveDecoder(model, base, { dtype: "F32" });
  await copyTokenizer(tokenizer, base);
  writeRun(full, {});
  attachLora(model, LORA, 1);
  const random = createRandom(12);
  for (const weight of loraWeights(model)) {
    const count = weight.rows * weight.columns;
    const values = Float32Array.from({ length: count }, () => 0.1 * random.normal());
    backend.writeWeight(weight, values);
  }
  mkdirSync(run, { recursive: true });
  await saveLora(model, LORA, run, base);
  writeRun(run, { model: { path: base, storage: "float32" }, adapter: { method: "lora", ...LORA } });
  await backend.close();
  await exported(full, "--to", "gguf", "--output", root, "--type", "F32");
  await exported(run, "--to", "gguf-lora", "--output", root);
  const prompts = PROMPT_LENGTHS.map((length) => randomIds(random, length, tokenCount));
  return { base, run, prompts, tokenCount };
}

function askLlamaCpp(jobs: readonly Job[]): Answer[] {
  const { stdout, stderr, status } = spawnSync(process.execPath, [join(PACKAGE, "next-tokens.mjs")], {
    input: JSON.stringify(jobs),
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  if (status !== 0) throw new Error(`llama.cpp ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as Answer[];
}

/** The logarithms of the probabilities of all ids after each prompt. */
async function logProbabilitiesOf(model: Decoder, prompts: readonly number[][]): Promise<number[][]> {
  const tape = createTape(model.backend, { record: false });
  try {
    let start = 0;
    const segments = prompts.map(({ length }) => {
      start += length;
      return { start: start - length, length, keyStart: start - length, position: 0, context: [] };
    });
    const logits = forward(model, tape, {
      ids: Int32Array.from(prompts.flat()),
      segments,
      outputRows: Int32Array.from(segments, (segment) => segment.start + segment.length - 1),
    });
    const values = await model.backend.read(logits.tensor);
    const size = model.spec.vocabularySize;
    return prompts.map((_, i) => logSoftmax(Array.from(values.subarray(i * size, (i + 1) * size))));
  } finally {
    tape.dispose();
  }
}

function logSoftmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0);
  return logits.map((logit) => logit - most - Math.log(sum));
}

describe.skipIf(!installed)("llama.cpp with models of ours", () => {
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "cre-llama-cpp-"));
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
    for (const name of Object.keys(TINY_FAMILIES)) cases.set(name, await prepare(name));
    vi.restoreAllMocks();
    const jobs = [...cases].flatMap(([name, { prompts, tokenCount }]): Job[] => {
      const job = { prompts, newTokens: NEW_TOKENS, tokenCount, texts: TEXTS };
      const model = join(root, `${name}-F32.gguf`);
      return [
        { ...job, model, lora: null },
        { ...job, model, lora: join(root, `${name}-adapter-lora.gguf`) },
      ];
    });
    const all = askLlamaCpp(jobs);
    answers = new Map([...cases.keys()].map((name, i) => [name, { plain: all[2 * i], adapted: all[2 * i + 1] }]));
  }, 170_000);
  afterAll(() => {
    rmSync(root, { recursive: true });
    const differences = [...largest].map(([name, value]) => `${name} ${value.toExponential(1)}`);
    console.info(`log-probabilities of llama.cpp and ours differ by at most: ${differences.join(", ")}`);
  });

  describe.each(Object.keys(TINY_FAMILIES))("%s", (name) => {
    it("cuts text into the same tokens", async () => {
      const tokenizer = await openTokenizer(cases.get(name)?.base as string);
      expect(answers.get(name)?.plain.ids).toEqual(tokenizer.encodeAll(TEXTS));
    });

    describe.each(EXACT_BACKENDS)("on $name", ({ open }) => {
      it.each(["plain", "adapted"] as const)("has the same next tokens: %s", async (kind) => {
        const { base, run, prompts } = cases.get(name) as Case;
        const wanted = answers.get(name)?.[kind] as Answer;
        const backend: Backend = open();
        try {
          const checkpoint = await openCheckpoint(base);
          const { tokenCount } = cases.get(name) as Case;
          const model = await loadDecoder(backend, checkpoint, { ...FROZEN, tokenCount });
          await checkpoint.source.close();
          if (kind === "adapted") await loadLora(model, run);
          const got = await logProbabilitiesOf(model, prompts);
          let worst = 0;
          for (const [i, { logProbabilities }] of wanted.prompts.entries()) {
            expect(logProbabilities).toHaveLength(got[i].length);
            for (const [id, value] of got[i].entries()) worst = Math.max(worst, Math.abs(value - logProbabilities[id]));
          }
          expect(worst).toBeLessThan(TOLERANCE);
          const generated = await generate(model, prompts, { maxNewTokens: NEW_TOKENS, eosId: null });
          expect(generated.map(({ ids }) => ids)).toEqual(wanted.prompts.map(({ tokens }) => tokens));
          largest.set(name, Math.max(worst, largest.get(name) ?? 0));
        } finally {
          await backend.close();
        }
      });
    });
  });

  it("begins with adapters that do something", () => {
    for (const [name, { plain, adapted }] of answers) {
      const [a, b] = [plain, adapted].map(({ prompts }) => prompts[0].logProbabilities);
      expect([name, Math.max(...a.map((value, id) => Math.abs(value - b[id])))]).toSatisfy(([, most]) => most > 0.1);
    }
  });
});

const TOKENIZERS = join(SHARED, "tokenizers");
const hasTokenizers = existsSync(TOKENIZERS);
if (!hasTokenizers) console.warn("llama-cpp.test.ts: published tokenizers are skipped, ../shared/tokenizers is absent");

describe.skipIf(!installed || !hasTokenizers)("llama.cpp with the published tokenizers", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "cre-llama-cpp-tokenizers-"));
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
    vi.restoreAllMocks();
  });

  it.each([
    ["llama2", "llama"],
    ["chatglm2", "chatglm2"],
    ["baichuan2", "baichuan2-7b"],
  ])("cuts text as SentencePiece does: %s", async (tokenizer, family) => {
    const backend = openReference({ precision: "float32" });
    const path = join(TOKENIZERS, tokenizer);
    const modelType = TINY_FAMILIES[family].family;
    const { vocabularySize: tokenCount } = await openTokenizer(path, { modelType });
    const model = await tinyFamily(backend, family, { seed: 1, vocabularySize: tokenCount, tokenCount });
    const run = join(folder, tokenizer);
    await saveDecoder(model, join(run, "model"), { dtype: "BF16" });
    await copyTokenizer(path, join(run, "model"));
    writeRun(run, {});
    await exported(run, "--to", "gguf", "--output", folder);
    await backend.close();
    const lines = readFileSync(join(path, "golden.jsonl"), "utf8").trim().split("\n");
    const golden = lines.map((line) => JSON.parse(line) as { text: string; ids: number[] });
    const texts = golden.map(({ text }) => text);
    const job = { lora: null, prompts: [], newTokens: 0, tokenCount, texts };
    const [{ ids }] = askLlamaCpp([{ ...job, model: join(folder, `${tokenizer}-BF16.gguf`) }]);
    const different = golden.filter((line, i) => line.ids.join() !== ids[i].join());
    expect(different.map((line) => [line.text, line.ids, ids[golden.indexOf(line)]])).toEqual([]);
  });
});

describe.skipIf(!installed)("llama.cpp with a base's own tokenizer", () => {
  let folder: string;
  const lines = sentences().slice(0, 200);
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "cre-llama-cpp-added-"));
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
    vi.restoreAllMocks();
  });
  /**
   * What a GGUF file cannot say: llama.cpp sets the prefix before every part of a text, also before one that begins with a space
   * (transformers' LlamaTokenizer does neither), and joins "so" and "p" to ChatGLM2's command "sop", as with its own converter.
   */
  const isSame = ({ name }: TokenizerCase, text: string) =>
    !(name.includes("transformers 5") && /^[ \u2581]|<left>|<end>/.test(text)) && !text.includes("sop");

  const cases = TOKENIZER_CASES.filter(({ name }) => !/published|added_tokens\.json|gives a prefix/.test(name));
  it.each(cases.map((one) => [one.name, one] as const))(
    "finds added tokens in a text, special ones only where they are asked for: %s",
    async (name, one) => {
      const run = join(folder, `run-${cases.indexOf(one)}`);
      const backend = openReference({ precision: "float32" });
      const base = writeCase(one, join(folder, `base-${cases.indexOf(one)}`));
      const tokenizer = await openTokenizer(base, { modelType: one.modelType });
      const { vocabularySize: tokenCount } = tokenizer;
      const model = await tinyFamily(backend, one.model, { seed: 1, vocabularySize: tokenCount, tokenCount });
      await saveDecoder(model, join(run, "model"), { dtype: "F32" });
      await copyTokenizer(base, join(run, "model"));
      await backend.close();
      writeRun(run, {});
      await exported(run, "--to", "gguf");
      const texts = [...lines, ...(one.texts ?? [])].filter((text) => isSame(one, text));
      const job = { model: join(run, "export", "gguf", `run-${cases.indexOf(one)}-F32.gguf`), lora: null };
      const [{ ids }] = askLlamaCpp([{ ...job, prompts: [], newTokens: 0, tokenCount, texts }]);
      const different = texts.flatMap((text, i) => {
        const own = encodePlain(tokenizer, text);
        return own.join() === ids[i].join() ? [] : [{ text, own, got: ids[i] }];
      });
      expect({ name, different }).toEqual({ name, different: [] });
    },
  );
});
