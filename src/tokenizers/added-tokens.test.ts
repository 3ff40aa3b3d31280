import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { copyTokenizer, openTokenizer } from "./open-tokenizer.ts";
import { encodePlain } from "./tokenizer.ts";

const MODEL = new URL("../../models/base-zh/tokenizer.model", import.meta.url).pathname;
const root = mkdtempSync(join(tmpdir(), "cre-added-"));
afterAll(() => rmSync(root, { recursive: true }));

function folderWith(files: Record<string, unknown>): string {
  const folder = mkdtempSync(join(root, "m-"));
  copyFileSync(MODEL, join(folder, "tokenizer.model"));
  for (const [name, value] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(value));
  return folder;
}

const plain = await openTokenizer(MODEL);
const first = plain.vocabularySize;
const CHAT = { "<|im_start|>": first, "<|im_end|>": first + 1 };
const decoderOf = (tokens: Record<string, object>) => ({
  added_tokens_decoder: Object.fromEntries(
    Object.entries(tokens).map(([content, more], i) => [String(first + i), { content, ...more }]),
  ),
});

describe("tokens that were added to a SentencePiece tokenizer", () => {
  it("have one id each, wherever they are in a text", async () => {
    for (const files of [
      { "added_tokens.json": CHAT },
      { "tokenizer_config.json": decoderOf({ "<|im_start|>": {}, "<|im_end|>": {} }) },
    ]) {
      const tokenizer = await openTokenizer(folderWith(files));
      expect(tokenizer.vocabularySize).toBe(first + 2);
      expect(tokenizer.idOf("<|im_end|>")).toBe(first + 1);
      expect(tokenizer.pieceOf(first)).toBe("<|im_start|>");
      // As transformers does it: text after a token begins like a text of its own.
      const part = plain.encode("公司");
      expect(tokenizer.encode("<|im_start|>公司<|im_end|>")).toEqual([first, ...part, first + 1]);
      expect(tokenizer.encodeAll(["公司<|im_start|><|im_end|>公司", "公司"])).toEqual([
        [...part, first, first + 1, ...part],
        part,
      ]);
      expect(tokenizer.decode([first, ...part, first + 1])).toBe("<|im_start|>公司<|im_end|>");
      expect(tokenizer.bosId).toBe(plain.bosId);
    }
  });

  it("decode to nothing where a file calls them special", async () => {
    const maps = [
      { "special_tokens_map.json": { eos_token: "<|im_end|>" } },
      { "special_tokens_map.json": { additional_special_tokens: [{ content: "<|im_end|>" }] } },
      { "tokenizer_config.json": { pad_token: "<|im_end|>" } },
    ];
    for (const map of maps) {
      const tokenizer = await openTokenizer(folderWith({ "added_tokens.json": CHAT, ...map }));
      expect(tokenizer.decode([first, first + 1])).toBe("<|im_start|>");
    }
  });

  it("take white space along where they say so, and the longest one is found first", async () => {
    const tokens = { "<a>": { lstrip: true }, "<a><a>": {}, "<b>": { rstrip: true, special: true } };
    const tokenizer = await openTokenizer(folderWith({ "tokenizer_config.json": decoderOf(tokens) }));
    const part = plain.encode("公司");
    expect(tokenizer.encode("公司  <a>公司")).toEqual([...part, first, ...part]);
    expect(tokenizer.encode("<a><a><a>")).toEqual([first + 1, first]);
    expect(tokenizer.encode("<b>  公司")).toEqual([first + 2, ...part]);
  });

  it("are not found inside of a word where they say so", async () => {
    const tokenizer = await openTokenizer(
      folderWith({ "tokenizer_config.json": decoderOf({ "<w>": { single_word: true } }) }),
    );
    expect(tokenizer.encode("，<w>。")).toEqual([...plain.encode("，"), first, ...plain.encode("。")]);
    expect(tokenizer.encode("公<w>")).toEqual(plain.encode("公<w>"));
    expect(tokenizer.encode("<w>𠮷")).toEqual(plain.encode("<w>𠮷"));
  });

  it("stay text in plain text where they are special", async () => {
    const files = { "added_tokens.json": CHAT, "tokenizer_config.json": { eos_token: "<|im_end|>" } };
    const tokenizer = await openTokenizer(folderWith(files));
    expect(encodePlain(tokenizer, "<|im_start|>公<|im_end|>")).toEqual([first, ...plain.encode("公<|im_end|>")]);
  });

  it("leave no prefix before text that follows them when the configuration is not legacy", async () => {
    const config = { ...decoderOf({ "<x>": {} }), legacy: false };
    const tokenizer = await openTokenizer(folderWith({ "tokenizer_config.json": config }));
    const [whole] = plain.encodeAll(["公司"]);
    expect(tokenizer.encode("公司<x>")).toEqual([...whole, first]);
    const rest = tokenizer.encode("<x>公司").slice(1);
    expect(rest.map((id) => plain.pieceOf(id)).join("")).toBe("公司");
  });

  it("may repeat the tokenizer's own pieces", async () => {
    const own = { "<unk>": 0, "</s>": plain.idOf("</s>") };
    const tokenizer = await openTokenizer(folderWith({ "added_tokens.json": own }));
    expect(tokenizer.vocabularySize).toBe(first);
    expect(tokenizer.encode("公</s>司")).toEqual(plain.encode("公</s>司"));
  });

  it("are copied with the tokenizer", async () => {
    const files = { "added_tokens.json": CHAT, "special_tokens_map.json": {}, "tokenizer_config.json": {} };
    const to = join(root, "copy");
    await copyTokenizer(folderWith(files), to);
    expect(readdirSync(to).sort()).toEqual([...Object.keys(files), "tokenizer.model"].sort());
    expect((await openTokenizer(to)).vocabularySize).toBe(first + 2);
  });

  it.each(["added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"])(
    "are refused where %s has a key twice",
    async (name) => {
      const folder = folderWith({ "added_tokens.json": CHAT });
      writeFileSync(join(folder, name), '{"pad_token": "<x>", "pad_token": "<y>"}');
      await expect(openTokenizer(folder)).rejects.toThrow(`${name}: has the key "pad_token" twice in one object`);
    },
  );

  it.each<[Record<string, unknown>, RegExp]>([
    [
      { "added_tokens.json": { "<x>": first + 3 } },
      /added_tokens\.json: gives "<x>" the id \d+, expected \d+: ids without a gap/,
    ],
    [
      { "special_tokens_map.json": { additional_special_tokens: ["<pad>", "<|user|>"] } },
      /names the special token "<\|user\|>", but no file gives its id/,
    ],
    [
      { "tokenizer_config.json": { extra_special_tokens: { image_token: "<image>" } } },
      /names the special token "<image>", but no file gives its id/,
    ],
    [{ "added_tokens.json": { "<x>": 5 } }, /added_tokens\.json: gives "<x>" the id 5, which is the id of/],
    [{ "added_tokens.json": { "</s>": first } }, /gives "<\/s>" the id \d+, which is 2 in the tokenizer/],
    [{ "added_tokens.json": { "<x>": -1 } }, /added_tokens\.json: has "<x>" with id -1, expected a text and an id/],
    [{ "added_tokens.json": { "<x>": first, "<y>": first } }, /"<y>" has id \d+, but .* has "<x>"/],
    [
      { "tokenizer_config.json": { added_tokens_decoder: [1] } },
      /added_tokens_decoder is \[1\], expected tokens by id/,
    ],
  ])("are refused by the file's name: %j", async (files, message) => {
    const error = await openTokenizer(folderWith(files)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toMatch(message);
  });
});
