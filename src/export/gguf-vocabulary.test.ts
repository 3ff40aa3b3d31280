import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { TINY_SPEC } from "../../test/tiny-model.ts";
import { readGgufVocabulary } from "./gguf-vocabulary.ts";

const GOLDEN = join(import.meta.dirname, "..", "..", "test", "golden");
const root = mkdtempSync(join(tmpdir(), "cre-gguf-vocabulary-"));
afterAll(() => rmSync(root, { recursive: true }));
const SPEC = { ...TINY_SPEC, vocabularySize: 1000 };
const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE] = [1, 2, 3, 4, 6];

interface Saved {
  file: { model: { vocab: Record<string, number>; merges: string[][] }; added_tokens: object[] };
  config: object;
}

const saved: Saved = JSON.parse(readFileSync(join(GOLDEN, "llama-tokenizers", "files.json"), "utf8")).models.prefix;

function folderWith(files: Record<string, unknown>, model?: string): string {
  const folder = mkdtempSync(join(root, "m-"));
  if (model) copyFileSync(join(GOLDEN, "llama-tokenizers", model), join(folder, "tokenizer.model"));
  for (const [name, value] of Object.entries(files)) {
    writeFileSync(join(folder, name), typeof value === "string" ? value : JSON.stringify(value));
  }
  return folder;
}

const jsonFolder = (change: object, model: object = {}, config: object = saved.config) =>
  folderWith({
    "tokenizer.json": { ...saved.file, ...change, model: { ...saved.file.model, ...model } },
    "tokenizer_config.json": config,
  });

describe("the vocabulary of a GGUF file", () => {
  it("calls only special tokens control tokens", async () => {
    const added = { "<think>": 440, "<|im_end|>": 441, "<|fim|>": 442 };
    const files = { "added_tokens.json": added, "special_tokens_map.json": { eos_token: "<|im_end|>" } };
    const { texts, types, cutBy } = await readGgufVocabulary(folderWith(files, "prefix.model"), SPEC);
    expect(texts.slice(440)).toEqual(Object.keys(added));
    expect([...types.slice(440)]).toEqual([USER_DEFINED, CONTROL, USER_DEFINED]);
    expect(cutBy).toMatchObject({ addsSpacePrefix: true });
    const config = { tokenizer_class: "LlamaTokenizer", add_prefix_space: false };
    const bare = await readGgufVocabulary(folderWith({ "tokenizer_config.json": config }, "prefix.model"), SPEC);
    expect(bare.cutBy).toMatchObject({ addsSpacePrefix: false });
  });

  it("takes the chat template from a file of its own first", async () => {
    const template = { "tokenizer_config.json": { chat_template: "{{ 1 }}" } };
    const of = async (files: object) =>
      (await readGgufVocabulary(folderWith({ ...files }, "prefix.model"), SPEC)).chatTemplate;
    expect(await of(template)).toBe("{{ 1 }}");
    expect(await of({ ...template, "chat_template.jinja": "{{ 2 }}\n" })).toBe("{{ 2 }}\n");
    expect(await of({})).toBeNull();
  });

  it("has SentencePiece's scores for the merges of a Llama tokenizer.json", async () => {
    const fromJson = await readGgufVocabulary(jsonFolder({}), SPEC);
    const fromModel = await readGgufVocabulary(folderWith({}, "prefix.model"), SPEC);
    expect(fromJson.texts.slice(0, 440)).toEqual(fromModel.texts);
    expect([...fromJson.types.slice(0, 440)]).toEqual([...fromModel.types]);
    expect(fromJson.types[0]).toBe(UNKNOWN);
    expect(fromJson.types[3]).toBe(BYTE);
    if (!("scores" in fromJson.cutBy && "scores" in fromModel.cutBy)) throw new Error("No scores.");
    const made = new Set(saved.file.model.merges.map((merge) => saved.file.model.vocab[merge.join("")]));
    expect(made.size).toBeGreaterThan(50);
    const { scores } = fromJson.cutBy;
    const { scores: own } = fromModel.cutBy;
    const order = (list: Float32Array) => [...made].sort((a, b) => list[b] - list[a] || a - b);
    expect(order(scores)).toEqual(order(own));
    expect([...made].every((id) => fromJson.types[id] === NORMAL)).toBe(true);
  });

  const { merges } = saved.file.model;
  const plain = { tokenizer_class: "PreTrainedTokenizerFast" };
  it.each<[string, () => string, RegExp]>([
    [
      "a missing way to make a piece",
      () => jsonFolder({}, { merges: merges.slice(1) }),
      /has no merge for each way to make "/,
    ],
    [
      "merges out of order",
      () => jsonFolder({}, { merges: [...merges, merges[0]] }),
      /merge \d+ is out of order, which a GGUF file cannot hold/,
    ],
    [
      "ignored merges",
      () => jsonFolder({}, { ignore_merges: true }, plain),
      /sets ignore_merges, which a GGUF file cannot hold/,
    ],
    [
      "words",
      () => jsonFolder({ pre_tokenizer: { type: "Metaspace", prepend_scheme: "first" } }, {}, plain),
      /cuts text by other rules/,
    ],
    [
      "changed text",
      () => jsonFolder({ normalizer: { type: "NFKC" } }, {}, plain),
      /changes or cuts text by other rules/,
    ],
  ])("refuses %s", async (_, folder, message) => {
    await expect(readGgufVocabulary(folder(), SPEC)).rejects.toThrow(message);
  });
});
