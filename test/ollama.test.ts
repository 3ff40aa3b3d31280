import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { saveLora } from "../src/adapters/lora-files.ts";
import { attachLora, type LoraSettings } from "../src/adapters/lora-weights.ts";
import { openReference } from "../src/compute/reference/backend.ts";
import { exportRun } from "../src/export/run.ts";
import { saveDecoder } from "../src/models/save.ts";
import { chatTemplates } from "../src/prompts/chat-template.ts";
import { promptStyle } from "../src/prompts/relation-prompt.ts";
import { createRenderer } from "../src/prompts/renderer.ts";
import { openModelTokenizer } from "../src/runs/tokenizer.ts";
import { copyTokenizer } from "../src/tokenizers/open-tokenizer.ts";
import { ROOT, SHARED, temporaryFolder, toyRecipe } from "./e2e/support.ts";
import { TINY_FAMILIES, tinyFamily } from "./tiny-families.ts";

// Modelfiles of `cre export --to gguf` and `gguf-lora`, read by Ollama's own parser and rendered by its own templates (test/ollama/main.go, built by
// `.ci/run`); llama.cpp cuts what Ollama renders into the ids of training.

const PROGRAM = join(ROOT, "build", "ollama-modelfile");
const installed = existsSync(PROGRAM);
if (!installed) {
  console.warn(
    "ollama.test.ts: skipped, build/ollama-modelfile is missing (go build -C test/ollama -o ../../build/ollama-modelfile)",
  );
}
const LLAMA_CPP = join(import.meta.dirname, "llama-cpp");
const hasLlamaCpp = existsSync(join(LLAMA_CPP, "node_modules", "node-llama-cpp"));
if (installed && !hasLlamaCpp) console.warn("ollama.test.ts: ids are not compared, test/llama-cpp is not installed");

const GOLDEN = join(import.meta.dirname, "golden");
const LORA: LoraSettings = { rank: 2, alpha: 4, dropout: 0, targets: "all" };
const LABELS = { names: ["unknown"], noRelation: "unknown" };
const EXAMPLE = { sentence: '甲公司 宣布"收购"{{ 乙公司 }}。', head: "甲公司", tail: "乙公司" };
/** After the pieces of prefix.model. */
const FIRST_ADDED = 440;
const FLAGS = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

type Name = keyof typeof chatTemplates;
interface Case {
  template: Name;
  family: string;
  /** Where its tokenizer is copied from; without one, prefix.model with the special tokens of the template. */
  tokenizer?: string;
}
const published = (name: string) => join(SHARED, "tokenizers", name, "tokenizer.model");
const ALL: readonly Case[] = [
  ...(["default", "plain", "llama2", "mistral", "alpaca", "llama3", "mistral-v3", "glm4"] as const).map((template) => ({
    template,
    family: template === "glm4" ? "glm4" : "llama",
  })),
  { template: "plain" as const, family: "llama", tokenizer: join(ROOT, "models", "base-zh") },
  { template: "qwen" as const, family: "qwen2", tokenizer: join(GOLDEN, "tokenizer-json") },
  { template: "chatglm2" as const, family: "chatglm2", tokenizer: join(GOLDEN, "llama-tokenizers", "prefix.model") },
  { template: "chatglm2" as const, family: "chatglm2", tokenizer: published("chatglm2") },
  { template: "baichuan2" as const, family: "baichuan2-7b", tokenizer: published("baichuan2") },
];
const CASES = ALL.filter(({ tokenizer }) => tokenizer === undefined || existsSync(tokenizer));

const temporary = temporaryFolder("ollama");
afterAll(() => temporary.remove());

/** prefix.model with the special tokens of a template. */
function writeTokenizer(folder: string, template: Name): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "tokenizer.model"), readFileSync(join(GOLDEN, "llama-tokenizers", "prefix.model")));
  const { pieces, end } = chatTemplates[template] as (typeof chatTemplates)["qwen"];
  const tokens = [...pieces.flatMap((piece) => (piece.kind === "token" ? [piece.piece] : [])), ...(end ? [end] : [])];
  const added = [...new Set(tokens)].map((content, i) => [FIRST_ADDED + i, { content, ...FLAGS }]);
  const config = { tokenizer_class: "LlamaTokenizer", legacy: false, added_tokens_decoder: Object.fromEntries(added) };
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(config));
}

interface Made {
  name: string;
  gguf: string;
  lora: string;
  ids: number[];
  end: string;
  tokenCount: number;
}

async function prepare({ template: name, family, tokenizer: source }: Case, index: number): Promise<Made> {
  const backend = openReference({ precision: "float32" });
  const [base, run] = [join(temporary.path, `base ${index}`), join(temporary.path, `run ${index}`)];
  if (source === undefined) writeTokenizer(base, name);
  else await copyTokenizer(source, base);
  const modelType = TINY_FAMILIES[family].family;
  const tokenizer = await openModelTokenizer(base, { modelType });
  const { vocabularySize: tokenCount } = tokenizer;
  const model = await tinyFamily(backend, family, { seed: 1, vocabularySize: tokenCount, tokenCount });
  await saveDecoder(model, base, { dtype: "F32" });
  attachLora(model, LORA, 1);
  mkdirSync(run);
  await saveLora(model, LORA, run, base);
  await backend.close();
  const prompt = { style: "marked", template: name, maxPromptTokens: 2048, maxAnswerTokens: 24 };
  const changes = { model: { path: base, storage: "float32" }, adapter: { method: "lora", ...LORA }, prompt };
  writeFileSync(join(run, "recipe.yaml"), stringify({ ...toyRecipe("data"), ...changes }));
  const template = chatTemplates[name];
  const gguf = await exportRun(run, { to: "gguf", measure: false });
  const lora = await exportRun(run, { to: "gguf-lora" });
  writeFileSync(join(lora, "..", "BASE.gguf"), readFileSync(gguf));
  const renderer = createRenderer({
    ...{ tokenizer, template, style: promptStyle("marked"), labels: LABELS as never },
    ...{ maxPromptTokens: 2048, maxAnswerTokens: 24, addBos: false },
  });
  const end = template.end ?? tokenizer.pieceOf(tokenizer.eosId as number);
  const ids = renderer.renderPrompt(EXAMPLE).ids;
  return { name: `${name} with ${source ?? "its tokens"}`, gguf, lora, ids, end, tokenCount };
}

interface Answer {
  parameters: Record<string, unknown>;
  files: string[];
  prompt: string;
}

describe.skipIf(!installed)("Modelfiles in Ollama", () => {
  let made: Made[];
  let answers: Answer[];
  beforeAll(async () => {
    made = [];
    for (const [i, one] of CASES.entries()) made.push(await prepare(one, i));
    const messages = [{ role: "user", content: promptStyle("marked").renderQuery(EXAMPLE) }];
    const jobs = made.flatMap(({ gguf, lora }) =>
      [gguf, lora].map((file) => ({ modelfile: join(file, "..", "Modelfile"), messages })),
    );
    const { stdout, stderr, status } = spawnSync(PROGRAM, { input: JSON.stringify(jobs), encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
    answers = JSON.parse(stdout);
  }, 600_000);

  it("are parsed: files, temperature 0, the end of an answer", () => {
    for (const [i, { name, gguf, lora, end }] of made.entries()) {
      const [whole, adapter] = answers.slice(2 * i);
      const parameters = expect.objectContaining({ temperature: 0, stop: [end] });
      expect({ name, ...whole }).toMatchObject({ name, files: [gguf.split("/").at(-1)], parameters });
      expect({ name, ...adapter }).toMatchObject({ name, files: ["BASE.gguf", lora.split("/").at(-1)], parameters });
    }
  });

  it.skipIf(!hasLlamaCpp)("render a question to the prompt of training", { timeout: 300_000 }, () => {
    const jobs = made.map(({ gguf, tokenCount }, i) => ({
      ...{ model: gguf, lora: null, prompts: [], newTokens: 0, tokenCount, texts: [] },
      chats: [answers[2 * i].prompt, answers[2 * i + 1].prompt],
    }));
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(LLAMA_CPP, "next-tokens.mjs")], {
      input: JSON.stringify(jobs),
      encoding: "utf8",
      maxBuffer: 2 ** 28,
    });
    if (status !== 0) throw new Error(stderr);
    const got = (JSON.parse(stdout) as { chats: number[][] }[]).map(({ chats }, i) => ({ name: made[i].name, chats }));
    expect(got).toEqual(made.map(({ name, ids }) => ({ name, chats: [ids, ids] })));
  });
});
