import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { saveLora } from "../src/adapters/lora-files.ts";
import { attachLora, type LoraSettings } from "../src/adapters/lora-weights.ts";
import { addExportCommand } from "../src/cli/export.ts";
import { openReference } from "../src/compute/reference/backend.ts";
import { saveDecoder } from "../src/models/save.ts";
import { openModelTokenizer } from "../src/runs/tokenizer.ts";
import { copyTokenizer } from "../src/tokenizers/open-tokenizer.ts";
import { ROOT, toyRecipe } from "./e2e/support.ts";
import { tinyFamily } from "./tiny-families.ts";
import { sentences, TOKENIZER_CASES, type TokenizerCase, writeCase } from "./tokenizer-cases.ts";

// Every kind of export, opened by transformers' AutoTokenizer without SentencePiece and protobuf (transformers/encode.py): the same ids as
// ours on 500 sentences. build/python is made by `.ci/run`; any other Python with transformers does, too.

const PACKAGE = join(import.meta.dirname, "transformers");
const python = [join(ROOT, "build", "python", "bin", "python"), "python3"].find(
  (one) => spawnSync(one, ["-c", "import transformers, tokenizers"], { stdio: "ignore" }).status === 0,
);
if (python === undefined) {
  console.warn(
    "transformers.test.ts: skipped, no Python with transformers (python3 -m venv build/python; pip install -r test/transformers/requirements.txt)",
  );
}

const LORA: LoraSettings = { rank: 2, alpha: 4, dropout: 0, targets: "all" };
const KINDS = ["merged", "peft", "gguf", "gguf-lora", "whole"] as const;
/** All forms of export go one way: they are tried with one tokenizer of each form, two of them with the others. */
const kindsOf = ({ name }: TokenizerCase) =>
  ["configuration", "byte-level", "transformers 5"].some((part) => name.includes(part)) ? KINDS : KINDS.slice(0, 2);

interface Answer {
  class: string;
  ids: number[][];
  around: number[];
}

let root: string;
const lines = sentences();
const answers = new Map<string, Answer>();

async function exported(...command: string[]): Promise<void> {
  const program = new Command().exitOverride();
  addExportCommand(program);
  await program.parseAsync(["export", ...command], { from: "user" });
}

const folderOf = (one: TokenizerCase, kind: string) => join(root, `${TOKENIZER_CASES.indexOf(one)}-${kind}`);

/** A base of random weights, an adapter on it and a model that was trained whole, exported in every way. */
async function prepare(one: TokenizerCase): Promise<void> {
  const backend = openReference({ precision: "float32" });
  const base = writeCase(one, folderOf(one, "base"));
  const { vocabularySize: tokenCount } = await openModelTokenizer(base, { modelType: one.modelType });
  const model = await tinyFamily(backend, one.model, { seed: 1, vocabularySize: tokenCount, tokenCount });
  await saveDecoder(model, base, { dtype: "BF16" });
  const [run, full] = [folderOf(one, "run"), folderOf(one, "full")];
  await saveDecoder(model, join(full, "model"), { dtype: "BF16" });
  await copyTokenizer(base, join(full, "model"));
  writeFileSync(join(full, "recipe.yaml"), stringify(toyRecipe("data")));
  attachLora(model, LORA, 1);
  mkdirSync(run, { recursive: true });
  await saveLora(model, LORA, run, base);
  const changes = { model: { path: base, storage: "float32" }, adapter: { method: "lora", ...LORA } };
  writeFileSync(join(run, "recipe.yaml"), stringify({ ...toyRecipe("data"), ...changes }));
  await backend.close();
  for (const kind of kindsOf(one)) {
    const [from, to] = kind === "whole" ? [full, "merged"] : [run, kind];
    await exported(from, "--to", to, "--output", folderOf(one, kind));
  }
}

describe.skipIf(python === undefined)("transformers' AutoTokenizer", () => {
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "cre-transformers-"));
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
    for (const one of TOKENIZER_CASES) await prepare(one);
    vi.restoreAllMocks();
    const jobs = TOKENIZER_CASES.flatMap((one) =>
      kindsOf(one).map((kind) => ({ folder: folderOf(one, kind), lines: [...lines, ...(one.texts ?? [])] })),
    );
    const { stdout, stderr, status } = spawnSync(python as string, [join(PACKAGE, "encode.py")], {
      input: JSON.stringify(jobs),
      encoding: "utf8",
      maxBuffer: 2 ** 30,
    });
    if (status !== 0) throw new Error(`encode.py ended with ${status}: ${stderr}`);
    for (const [i, answer] of (JSON.parse(stdout) as Answer[]).entries()) answers.set(jobs[i].folder, answer);
  }, 300_000);
  afterAll(() => rmSync(root, { recursive: true }));

  describe.each(TOKENIZER_CASES.map((one) => [one.name, one] as const))("%s", (_name, one) => {
    it.each(kindsOf(one))("opens --to %s with the same ids", async (kind) => {
      const answer = answers.get(folderOf(one, kind)) as Answer;
      const tokenizer = await openModelTokenizer(folderOf(one, "base"), { modelType: one.modelType });
      expect(lines).toHaveLength(500);
      const texts = [...lines, ...(one.texts ?? [])];
      const wanted = tokenizer.encodeAll(texts);
      const different = texts.flatMap((text, i) =>
        wanted[i].join() === answer.ids[i].join() ? [] : [{ text, wanted: wanted[i], got: answer.ids[i] }],
      );
      expect(different).toEqual([]);
      const begin = one.modelType === "chatglm" ? ["[gMASK]", "sop"].map(tokenizer.idOf) : [tokenizer.bosId];
      expect(answer.around).toEqual(begin.filter((id) => id !== null));
    });
  });

  it("is a class that a user has without other packages", () => {
    const classes = new Set([...answers.values()].map((answer) => answer.class));
    expect([...classes].sort()).toEqual(["LlamaTokenizer", "Qwen2Tokenizer", "TokenizersBackend"]);
    expect(existsSync(join(folderOf(TOKENIZER_CASES[0], "merged"), "tokenizer.model"))).toBe(true);
  });
});
