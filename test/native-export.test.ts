import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { saveLora } from "../src/adapters/lora-files.ts";
import { attachLora, type LoraSettings, loraWeights } from "../src/adapters/lora-weights.ts";
import { createRandom } from "../src/base/random.ts";
import { openReference } from "../src/compute/reference/backend.ts";
import { exportModel } from "../src/export/model.ts";
import { exportRun } from "../src/export/run.ts";
import { openCheckpoint } from "../src/models/checkpoint.ts";
import { loadDecoder } from "../src/models/load.ts";
import { saveDecoder } from "../src/models/save.ts";
import { openModelTokenizer } from "../src/runs/tokenizer.ts";
import { copyTokenizer } from "../src/tokenizers/open-tokenizer.ts";
import { ROOT, SHARED, temporaryFolder, toyRecipe } from "./e2e/support.ts";
import { worstOf } from "./golden/backends.ts";
import { TINY_FAMILIES, tinyFamily } from "./tiny-families.ts";
import { randomIds, sequenceLogits } from "./tiny-model.ts";
import { sentences } from "./tokenizer-cases.ts";

// build/python-models is made by `.ci/run`. What `cre export --to hf` writes, in transformers without remote code, SentencePiece and protobuf: our logits, our ids, our prompts.

const PYTHON = [process.env.CRE_PYTHON, join(ROOT, "build", "python-models", "bin", "python"), "python3"].find(
  (one) => one && spawnSync(one, ["-c", "import torch, transformers, peft"], { stdio: "ignore" }).status === 0,
);
if (PYTHON === undefined) {
  console.warn("native-export.test.ts: skipped, no Python with torch, transformers and peft; CRE_PYTHON names one");
}
const LORA: LoraSettings = { rank: 2, alpha: 8, dropout: 0, targets: "all" };
const SEQUENCES = [
  randomIds(createRandom(1), 9, 200),
  randomIds(createRandom(2), 1, 200),
  randomIds(createRandom(3), 30, 200),
];
const QUERY = "请根据给定句子抽取关系。\n甲公司收购乙公司。";

interface Case {
  name: string;
  model: string;
  tokenizer: string;
  class: string;
  template: "chatglm2" | "baichuan2" | null;
}
const TOKENIZER = join(ROOT, "test", "golden", "llama-tokenizers", "prefix.model");
const PUBLISHED = join(SHARED, "tokenizers");
const BYTES = join(ROOT, "test", "golden", "tokenizer-json");
const small = (
  name: string,
  model: string,
  tokenizer: string,
  kind: string,
  template: Case["template"] = null,
): Case => ({
  ...{ name, model, tokenizer, class: kind, template },
});
/** Every family with a small vocabulary, without and with adapters; then the published tokenizers. */
const SMALL: readonly Case[] = [
  small("ChatGLM2", "chatglm2", TOKENIZER, "GlmForCausalLM", "chatglm2"),
  small("Baichuan2-7B", "baichuan2-7b", TOKENIZER, "LlamaForCausalLM"),
  small("Llama", "llama", TOKENIZER, "LlamaForCausalLM"),
  small("Llama 3.1", "llama-3.1", TOKENIZER, "LlamaForCausalLM"),
  small("Qwen2", "qwen2", BYTES, "Qwen2ForCausalLM"),
  small("Qwen2 with YaRN", "qwen2-yarn", BYTES, "Qwen2ForCausalLM"),
  small("Qwen3", "qwen3", BYTES, "Qwen3ForCausalLM"),
  small("Mistral", "mistral", TOKENIZER, "MistralForCausalLM"),
  small("GLM-4", "glm4", BYTES, "GlmForCausalLM"),
];
const LARGE: readonly Case[] = [
  small("published ChatGLM2", "chatglm2", join(PUBLISHED, "chatglm2", "tokenizer.model"), "GlmForCausalLM", "chatglm2"),
  small(
    "published Baichuan2",
    "baichuan2-7b",
    join(PUBLISHED, "baichuan2", "tokenizer.model"),
    "LlamaForCausalLM",
    "baichuan2",
  ),
  small("published Llama-2", "llama", join(PUBLISHED, "llama2", "tokenizer.model"), "LlamaForCausalLM"),
].filter(({ tokenizer }) => existsSync(tokenizer));

interface Answer {
  model: string;
  ids: number[][];
  plain: number[][];
  logits: number[];
  chat: number[] | null;
}

const temporary = temporaryFolder("native-export");
afterAll(() => temporary.remove());
const lines = sentences(["finre"]);
const golden = (name: string): string[] => {
  const file = join(PUBLISHED, name, "golden.jsonl");
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).text as string);
};
/** transformers reads a control token's text in a line as that token, where it is not told to split it, as SentencePiece does. */
const hasControl = (text: string) => /<\/?s>|<unk>/.test(text);
const GOLDEN_LINES = ["llama2", "chatglm2", "baichuan2"].flatMap(golden);
const LINES = [...lines, ...GOLDEN_LINES.filter((text) => !hasControl(text))];

/** What a case is to give: our logits without and with the adapter, our ids, the ids of a prompt in training. */
interface Wanted {
  name: string;
  class: string;
  logits: number[];
  ids: number[][];
  /** Of every golden line, with the special tokens in it as text; null: not asked. */
  plain: number[][] | null;
  chat: number[] | null;
}
const wanted: Wanted[] = [];
const jobs: object[] = [];
let answers: Answer[];

async function prepare({ name, model: family, tokenizer: source, class: kind, template }: Case, isLarge: boolean) {
  const backend = openReference({ precision: "float32" });
  const [base, run] = [join(temporary.path, name), join(temporary.path, `${name} run`)];
  const { family: modelType } = TINY_FAMILIES[family];
  const tokenizer = await openModelTokenizer(source, { modelType });
  const { vocabularySize } = tokenizer;
  const model = await tinyFamily(backend, family, { seed: 5, vocabularySize });
  await saveDecoder(model, base, { dtype: "F32" });
  await copyTokenizer(source, base);
  const checkpoint = await openCheckpoint(base);
  const loaded = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
  await checkpoint.source.close();
  const sequences = isLarge ? [[5, 6, 7]] : SEQUENCES;
  const ours = async () => {
    let logits: number[] = [];
    for (const ids of sequences) logits = logits.concat(Array.from(await sequenceLogits(loaded, ids)));
    return logits;
  };
  const ids = tokenizer.encodeAll(LINES);
  const folder = await exportModel(base, { to: "hf" });
  const begin = ["[gMASK]", "sop"].map((piece) => tokenizer.idOf(piece) as number);
  const [user, assistant] = ["<reserved_106>", "<reserved_107>"].map((piece) => tokenizer.idOf(piece) as number);
  const chat = {
    chatglm2: () => [...begin, ...tokenizer.encode(`[Round 1]\n\n问：${QUERY}\n\n答：`)],
    baichuan2: () => [user, ...tokenizer.encode(QUERY), assistant],
  };
  const own = { name, class: kind, ids, chat: template && chat[template](), plain: null };
  const job = { folder, lines: LINES, sequences, chat: template && QUERY };
  const plain = { job: { plain: GOLDEN_LINES }, own: { plain: tokenizer.encodeAll(GOLDEN_LINES) } };
  wanted.push({ ...own, ...plain.own, logits: await ours() });
  jobs.push({ ...job, ...plain.job, adapter: null });
  if (isLarge) return backend.close();
  attachLora(loaded, LORA, 1);
  const random = createRandom(2);
  for (const weight of loraWeights(loaded)) {
    const values = await backend.readWeight(weight);
    backend.writeWeight(
      weight,
      values.map(() => 0.05 * random.normal()),
    );
  }
  mkdirSync(run);
  await saveLora(loaded, LORA, run, base);
  const recipe = { model: { path: base, storage: "float32" }, adapter: { method: "lora", ...LORA } };
  writeFileSync(join(run, "recipe.yaml"), stringify({ ...toyRecipe("data"), ...recipe }));
  const short = { lines: [], chat: null, sequences };
  const adapted = { class: kind, ids: [], plain: null, chat: null, logits: await ours() };
  wanted.push({ ...adapted, name: `${name}, adapter` });
  jobs.push({ ...short, folder, adapter: await exportRun(run, { to: "hf-peft" }) });
  wanted.push({ ...adapted, name: `${name}, merged` });
  jobs.push({ ...short, folder: await exportRun(run, { to: "hf", measure: false }), adapter: null });
  await backend.close();
}

describe.skipIf(PYTHON === undefined)("folders of --to hf in transformers", () => {
  beforeAll(async () => {
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
    for (const one of SMALL) await prepare(one, false);
    for (const one of LARGE) await prepare(one, true);
    vi.restoreAllMocks();
    const script = join(import.meta.dirname, "transformers", "hf_models.py");
    const { status, stdout, stderr } = spawnSync(PYTHON as string, ["-P", script], {
      input: JSON.stringify(jobs),
      encoding: "utf8",
      maxBuffer: 2 ** 30,
    });
    if (status !== 0) throw new Error(stderr);
    answers = JSON.parse(stdout);
  }, 600_000);

  it("are models of transformers' own classes with our logits, with and without an adapter", () => {
    expect(answers.map(({ model }) => model)).toEqual(wanted.map((one) => one.class));
    const worst = wanted.map(({ name, logits }, i) => ({ name, ...worstOf(answers[i].logits, logits) }));
    console.info(
      `logits of transformers and ours differ by at most: ${worst.map((one) => `${one.name} ${one.difference.toExponential(1)}`).join("; ")}`,
    );
    expect(worst.filter(({ difference }) => !(difference < 1e-4))).toEqual([]);
  });

  it("cut every line into our ids", () => {
    for (const [i, { name, ids }] of wanted.entries()) {
      const different = ids.flatMap((own, line) =>
        own.join() === answers[i].ids[line].join() ? [] : [{ text: LINES[line], own, got: answers[i].ids[line] }],
      );
      expect({ name, different: different.slice(0, 3) }).toEqual({ name, different: [] });
    }
  });

  it("cut every golden line into our ids, the text of special tokens too", () => {
    for (const [i, { name, plain }] of wanted.entries()) {
      if (plain) expect({ name, ids: answers[i].plain }).toEqual({ name, ids: plain });
    }
  });

  it("make the prompt of training by their chat template", () => {
    for (const [i, { name, chat }] of wanted.entries()) {
      if (chat) expect({ name, chat: answers[i].chat }).toEqual({ name, chat });
    }
  });
});
