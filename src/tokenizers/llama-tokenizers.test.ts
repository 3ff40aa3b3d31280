import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { JsonObject } from "./bounded-json.ts";
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

function describeSettings({ add_prefix_space, legacy }: JsonObject): string {
  return JSON.stringify({ add_prefix_space, legacy });
}

/** What comes back: special tokens, and spaces that belong to a token, are gone. */
const withoutSpecials = (text: string) =>
  text
    .replaceAll("<end>", "")
    .replace(/\p{White_Space}*<left>/gu, "<left>")
    .replace(/<right>\p{White_Space}*/gu, "<right>");
