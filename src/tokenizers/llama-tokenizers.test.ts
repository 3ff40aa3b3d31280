import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { type JsonObject, parseJsonObject } from "./bounded-json.ts";
import { openTokenizer } from "./open-tokenizer.ts";
import { encodePlain, type Tokenizer } from "./tokenizer.ts";
import { createTokenizerJson } from "./tokenizer-json.ts";

// Against transformers 5 and the Rust library: test/golden/make/llama_tokenizers.py.
const GOLDEN = new URL("../../test/golden/llama-tokenizers/", import.meta.url);
const NO_SETTINGS = { directory: "folder", bos: null, eos: null, pad: null, addsBos: null };

interface Row {
  text: string;
  ids: number[];
  /** The ids where special tokens in the text stay text, if they differ. */
  plain?: number[];
  decoded: string;
}

interface Files {
  generator: string;
  models: Record<
    string,
    {
      file: JsonObject & { model: JsonObject; added_tokens: JsonObject[] };
      config: JsonObject;
      variants: { name: string; change: JsonObject; settings?: JsonObject; rows: Row[] }[];
    }
  >;
}

const read = <T>(name: string) => JSON.parse(readFileSync(new URL(name, GOLDEN), "utf8")) as T;
const files = read<Files>("files.json");
const { folders } = read<{ folders: { model: string; config: JsonObject; rows: Row[] }[] }>("folders.json");

const root = mkdtempSync(join(tmpdir(), "cre-llama-tokenizers-"));
afterAll(() => rmSync(root, { recursive: true }));

function folderWith(parts: Record<string, JsonObject>): string {
  const folder = mkdtempSync(join(root, "m-"));
  for (const [name, value] of Object.entries(parts)) writeFileSync(join(folder, name), JSON.stringify(value));
  return folder;
}

/** A saved file with a variant's change. */
function changed({ file }: Files["models"][string], { model, tokens, ...parts }: JsonObject): JsonObject {
  return {
    ...file,
    ...parts,
    model: { ...file.model, ...(model as JsonObject | undefined) },
    added_tokens: file.added_tokens.map((token) => (token.special ? token : { ...token, ...(tokens as JsonObject) })),
  };
}

function check(tokenizer: Tokenizer, rows: readonly Row[]): void {
  expect(rows.length).toBeGreaterThan(20);
  const wrong = rows.flatMap(({ text, ids, plain = ids, decoded }) => {
    const got = { ids: tokenizer.encode(text), plain: encodePlain(tokenizer, text), decoded: tokenizer.decode(ids) };
    const isSame =
      got.ids.join() === ids.join() && got.plain.join() === plain.join() && [undefined, got.decoded].includes(decoded);
    return isSame ? [] : [{ text, want: { ids, plain, decoded }, got }];
  });
  expect(wrong).toEqual([]);
}

describe.each(Object.entries(files.models))(`tokenizer.json against ${files.generator}: %s`, (_, saved) => {
  it.each(saved.variants.filter(({ settings }) => !settings).map((variant) => [variant.name, variant] as const))(
    "%s",
    (_name, { change, rows }) => check(createTokenizerJson(changed(saved, change), NO_SETTINGS, "t.json"), rows),
  );

  it.each(saved.variants.filter(({ settings }) => settings).map((variant) => [variant.name, variant] as const))(
    "%s",
    async (_name, { change, settings, rows }) => {
      const { add_prefix_space: _space, legacy: _legacy, ...config } = saved.config;
      const folder = folderWith({
        "tokenizer.json": changed(saved, change),
        "tokenizer_config.json": { ...config, ...settings },
      });
      // The oracle's option split_special_tokens was not asked for.
      const tokenizer = await openTokenizer(folder);
      check({ ...tokenizer, encodePlain: tokenizer.encode }, rows);
      expect(tokenizer).toMatchObject({ bosId: 1, eosId: 2, unkId: 0 });
    },
  );
});

describe("a folder with tokenizer.model against transformers 5", () => {
  it.each(folders.map((folder) => [`${folder.model} ${describeSettings(folder.config)}`, folder] as const))(
    "%s",
    async (_name, { model, config, rows }) => {
      const folder = folderWith({ "tokenizer_config.json": config });
      copyFileSync(new URL(`${model}.model`, GOLDEN), join(folder, "tokenizer.model"));
      const tokenizer = await openTokenizer(folder);
      check({ ...tokenizer, encodePlain: tokenizer.encode }, rows);
      for (const { text, ids } of rows) expect(tokenizer.decode(ids)).toBe(withoutSpecials(text));
    },
  );
});

describe("a tokenizer.json that is not supported or broken", () => {
  const saved = files.models.prefix;
  const { prefix } = files.models;
  const sequence = (kind: string, steps: unknown[]) => ({ type: "Sequence", [kind]: steps });
  const replace = (from: string, content: string) => ({ type: "Replace", pattern: { String: from }, content });
  const longer = Array.from({ length: 16 }, () => replace("a", "aaaa"));
  it.each<[JsonObject, string]>([
    [
      { model: { byte_fallback: false } },
      "has neither byte_fallback nor unk_token: a character without a piece would be",
    ],
    [{ model: { unk_token: "<nothing>" } }, 'unk_token is "<nothing>", which is no piece.'],
    [{ model: { type: "Unigram" } }, 'the model is of type "Unigram", supported: BPE.'],
    [{ normalizer: { type: "Precompiled" } }, 'normalizer is {"type":"Precompiled"}, supported: none, NFC'],
    [{ normalizer: { type: "Replace", pattern: { Regex: "(a+)+$" }, content: "" } }, '"(a+)+$"'],
    [
      { normalizer: sequence("normalizers", new Array(17).fill({ type: "NFC" })) },
      "normalizer has 17 steps, expected at",
    ],
    [
      { pre_tokenizer: { type: "Split", pattern: { Regex: "a|\\d" }, behavior: "Isolated" } },
      "supported: none, Metaspace,",
    ],
    [{ pre_tokenizer: { type: "Digits" } }, 't.json, pre_tokenizer has {"type":"Digits"}, supported: none, Metaspace'],
    [{ pre_tokenizer: { type: "Metaspace", prepend_scheme: "last" } }, '"prepend_scheme":"last"'],
    [{ decoder: { type: "BPEDecoder" } }, 't.json, decoder is {"type":"BPEDecoder"}, supported: Replace, ByteFallback'],
    [{ decoder: null }, "t.json, decoder is null, supported"],
    [
      {
        normalizer: { type: "Replace", pattern: { Regex: "\\A +| +\\z" }, content: "" },
        pre_tokenizer: { type: "Metaspace", prepend_scheme: "first" },
      },
      'prepend_scheme is "first" after a normalizer that removes characters.',
    ],
  ])("%j", (change, message) => {
    expect(() => createTokenizerJson(changed(saved, change), NO_SETTINGS, "t.json")).toThrow(message);
  });

  it("is refused when its steps would fill the memory", () => {
    const text = "a".repeat(100);
    const tokenizer = createTokenizerJson(
      changed(saved, { normalizer: sequence("normalizers", longer), decoder: sequence("decoders", longer) }),
      NO_SETTINGS,
      "t.json",
    );
    expect(() => tokenizer.encode(text)).toThrow(/^t\.json: normalizer makes \d+ characters of 100, which is not/);
    expect(() => tokenizer.decode([tokenizer.idOf("a") as number])).toThrow(
      /^t\.json, decoder makes \d+ characters of 1/,
    );
  });

  it("names the settings that no class honours", async () => {
    const write = (config: JsonObject, file: JsonObject = prefix.file) =>
      openTokenizer(folderWith({ "tokenizer.json": file, "tokenizer_config.json": { ...prefix.config, ...config } }));
    await expect(write({ legacy: "yes" })).rejects.toThrow(
      'tokenizer_config.json: legacy is "yes", expected true or false.',
    );
    await expect(write({ add_prefix_space: 1 })).rejects.toThrow("add_prefix_space is 1, expected true or false.");
    const noBytes = { ...prefix.file, model: { ...prefix.file.model, byte_fallback: false, unk_token: "<unk>" } };
    await expect(write({}, noBytes)).rejects.toThrow(
      "sets no byte_fallback, which transformers' LlamaTokenizer needs.",
    );
    const qwen = JSON.parse(readFileSync(new URL("../tokenizer-json/tokenizer.json", GOLDEN), "utf8")) as JsonObject;
    const config = { tokenizer_class: "Qwen2Tokenizer", add_prefix_space: true };
    const folder = folderWith({ "tokenizer.json": qwen, "tokenizer_config.json": config });
    await expect(openTokenizer(folder)).rejects.toThrow(`${folder}: sets add_prefix_space for a byte-level tokenizer`);
    writeFileSync(
      join(folder, "tokenizer_config.json"),
      JSON.stringify({ ...config, tokenizer_class: "PreTrainedTokenizerFast" }),
    );
    expect((await openTokenizer(folder)).vocabularySize).toBe(587);
  });

  it("gives a message or works, whatever bytes change", () => {
    const variants = saved.variants.filter(({ settings }) => !settings);
    const whole = variants.map(({ change }) => new TextEncoder().encode(JSON.stringify(changed(saved, change))));
    let refused = 0;
    const edit = fc.record({ at: fc.nat(), byte: fc.integer({ min: 32, max: 126 }) });
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.array(edit, { minLength: 1, maxLength: 4 }), (which, edits) => {
        const bytes = whole[which].slice();
        for (const { at, byte } of edits) bytes[at % bytes.length] = byte;
        try {
          const file = parseJsonObject(new TextDecoder().decode(bytes), "t.json", "a tokenizer");
          const tokenizer = createTokenizerJson(file, NO_SETTINGS, "t.json");
          tokenizer.decode(tokenizer.encode("北京<x> the company's 12\n"));
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          expect(error.message).toContain("t.json");
          refused++;
        }
      }),
      { seed: 7, numRuns: 400 },
    );
    expect(refused).toBeGreaterThan(100);
  });
});

function describeSettings({ add_prefix_space, legacy }: JsonObject): string {
  return JSON.stringify({ add_prefix_space, legacy });
}

/** What comes back: special tokens, and spaces that belong to a token, are gone. */
const withoutSpecials = (text: string) =>
  text
    .replaceAll("<end>", "")
    .replace(/\p{White_Space}*<left>/gu, "<left>")
    .replace(/<right>\p{White_Space}*/gu, "<right>");
