import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { parseJsonObject } from "./bounded-json.ts";
import { copyTokenizer, openTokenizer } from "./open-tokenizer.ts";
import { createTokenizerJson } from "./tokenizer-json.ts";

const FOLDER = new URL("../../test/golden/tokenizer-json/", import.meta.url);
const FILE_TEXT = readFileSync(new URL("tokenizer.json", FOLDER), "utf8");
const NO_MARKS = { directory: "folder", bos: null, eos: null, pad: null, addsBos: true };

interface Row {
  text?: string;
  ids: number[];
  /** The ids where special tokens in the text stay text, if they differ. */
  plain?: number[];
  decoded?: string;
}

const parse = (text: string) => createTokenizerJson(parseJsonObject(text, "t.json", "a tokenizer"), NO_MARKS, "t.json");
/** The golden file with one value replaced, by its path. */
function changed(path: string, value: unknown): string {
  const file = JSON.parse(FILE_TEXT) as Record<string, unknown>;
  const keys = path.split(".");
  const last = keys.pop() as string;
  let at = file;
  for (const key of keys) at = at[key] as Record<string, unknown>;
  at[last] = value;
  return JSON.stringify(file);
}

/** The rows that test/golden/make/tokenizer_json.py wrote with the Rust library; the first line says which version. */
const [origin, ...rows] = readFileSync(new URL("golden.jsonl", FOLDER), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Row & { pieces?: number });

describe("against the tokenizers library", () => {
  const tokenizer = parse(FILE_TEXT);

  it("encodes the same ids, with added tokens in the text; in plain text special ones stay text", () => {
    expect(tokenizer.vocabularySize).toBe(origin.pieces);
    const encoded = rows.filter((row) => row.text !== undefined);
    expect(encoded.length).toBeGreaterThan(50);
    expect(encoded.filter((row) => row.plain).length).toBeGreaterThan(3);
    for (const { text = "", ids, plain = ids } of encoded) {
      expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids });
      expect({ text, ids: tokenizer.encodePlain(text) }).toEqual({ text, ids: plain });
    }
    const end = tokenizer.idOf("<|im_end|>") as number;
    expect(tokenizer.encode("a<|im_end|>")).toContain(end);
    expect(tokenizer.encodePlain("a<|im_end|>")).not.toContain(end);
  });

  it("decodes the same text, broken bytes and added tokens too", () => {
    const decoded = rows.filter((row) => row.decoded !== undefined);
    expect(decoded.length).toBeGreaterThan(55);
    for (const { ids, decoded: text } of decoded) expect({ ids, text: tokenizer.decode(ids) }).toEqual({ ids, text });
  });

  it("gives any text back but for its normalisation", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        expect(tokenizer.decode(tokenizer.encodePlain(text))).toBe(Buffer.from(text).toString().normalize("NFC"));
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  it("names pieces", () => {
    expect(tokenizer.pieceOf(tokenizer.idOf("<tool_call>") as number)).toBe("<tool_call>");
    expect(tokenizer.idOf("Ġthe")).not.toBeNull();
    expect(tokenizer.idOf("nothing like it")).toBeNull();
    expect(() => tokenizer.pieceOf(587)).toThrow("t.json: id 587 is none of the tokenizer's 587 pieces.");
    expect(() => tokenizer.decode([-1])).toThrow("id -1 is none");
  });

  it("cuts a long text without a space in bearable time", () => {
    const text = "收购公司上海".repeat(2000);
    const start = performance.now();
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect(performance.now() - start).toBeLessThan(3000);
  });
});

describe("marks", () => {
  it("come from tokenizer_config.json, else from generation_config.json, and travel with the tokenizer", async () => {
    const tokenizer = await openTokenizer(FOLDER.pathname);
    const endOfText = tokenizer.idOf("<|endoftext|>");
    expect(tokenizer).toMatchObject({ bosId: null, eosId: endOfText, padId: endOfText, vocabularySize: 587 });

    const folder = await mkdtemp(join(tmpdir(), "cre-tokenizer-"));
    try {
      const copy = join(folder, "copy");
      await copyTokenizer(FOLDER.pathname, copy);
      expect(await openTokenizer(copy)).toMatchObject({ eosId: endOfText });
      const write = (name: string, value: unknown) => writeFile(join(copy, name), JSON.stringify(value));
      await write("generation_config.json", { bos_token_id: 582, eos_token_id: [584, 582] });
      expect(await openTokenizer(copy)).toMatchObject({ bosId: null, eosId: endOfText });
      await write("tokenizer_config.json", {});
      expect(await openTokenizer(copy)).toMatchObject({ bosId: 582, eosId: 584, padId: null });
      await write("tokenizer_config.json", { bos_token: { content: "<|im_start|>" }, eos_token: "<|end|>" });
      await expect(openTokenizer(copy)).rejects.toThrow('has no piece "<|end|>", which ');
      await write("tokenizer_config.json", { bos_token: { content: "<|im_start|>" }, add_bos_token: false });
      expect((await openTokenizer(copy)).bosId).toBeNull();
      await write("tokenizer_config.json", { eos_token: 7 });
      await expect(openTokenizer(copy)).rejects.toThrow("tokenizer_config.json: eos_token is 7, expected a piece.");
      await write("tokenizer_config.json", {});
      await write("generation_config.json", { eos_token_id: "2" });
      await expect(openTokenizer(copy)).rejects.toThrow('eos_token_id is "2", expected an id.');
      await expect(openTokenizer(FOLDER.pathname, { expectedPieces: 9 })).rejects.toThrow(
        "587 pieces, the model says 9",
      );
      expect(await readFile(join(copy, "tokenizer.json"), "utf8")).toBe(FILE_TEXT);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe("a file that is not supported or broken", () => {
  const split = (pattern: unknown, behavior = "Isolated") => ({ type: "Split", pattern, behavior, invert: false });
  const sequence = (...pretokenizers: unknown[]) => ({ type: "Sequence", pretokenizers });
  const cases: [string, unknown, string][] = [
    ["model", null, "t.json: the model is null, supported: BPE."],
    ["model.type", "Unigram", 'the model is of type "Unigram", supported: BPE.'],
    ["model.type", "WordPiece", 'the model is of type "WordPiece", supported: BPE.'],
    ["model.byte_fallback", true, "t.json: sets byte_fallback, but has no piece <0x00>."],
    ["model.unk_token", "<none>", 't.json: unk_token is "<none>", which is no piece.'],
    ["pre_tokenizer", { type: "Metaspace" }, 't.json, pre_tokenizer is {"type":"Metaspace"}, supported: ByteLevel.'],
    [
      "normalizer",
      { type: "Sequence", normalizers: [{ type: "Prepend" }] },
      'normalizer is {"type":"Prepend"}, supported',
    ],
    ["model.vocab", [], "the vocabulary is [], expected an object."],
    ["model.vocab", { a: 0 }, 'merge 0 is ["å","ħ"], expected two pieces.'],
    ["model.vocab.a", -1, 'the id of piece "a" is -1, expected a whole number below 1048576.'],
    ["model.vocab.a", 3, "two pieces have the id 3."],
    ["model.merges", {}, "merges is {}, expected a list of at most 1048576."],
    ["model.merges", ["a"], 'merge 0 is "a", expected two pieces.'],
    ["model.merges", [["a", "zzz"]], 'merge 0 is ["a","zzz"], expected two pieces.'],
    ["model.merges", ["Z Z"], 'merge 0 gives "ZZ", which is no piece.'],
    [
      "normalizer",
      { type: "Lowercase" },
      'normalizer is {"type":"Lowercase"}, supported: none, NFC, NFD, NFKC, NFKD, ',
    ],
    ["pre_tokenizer", null, "pre_tokenizer is null, supported: ByteLevel."],
    ["pre_tokenizer", sequence(), "supported: Split and ByteLevel."],
    ["pre_tokenizer", { type: "ByteLevel", add_prefix_space: true }, "sets add_prefix_space, which is not supported."],
    ["pre_tokenizer", sequence(split({ Regex: "(a+)+$" }), { type: "ByteLevel" }), 'splits by "(a+)+$", supported:'],
    [
      "pre_tokenizer",
      sequence(split({}, "Removed"), { type: "ByteLevel" }),
      "supported: Split with behavior Isolated.",
    ],
    ["decoder", { type: "Metaspace" }, 't.json, decoder is {"type":"Metaspace"}, supported: ByteLevel.'],
    ["added_tokens", {}, "added_tokens is {}, expected a list."],
    ["added_tokens", [{ id: 600 }], 'added token 0 is {"id":600}, expected an object with id and content.'],
    [
      "added_tokens",
      [{ id: 600, content: "<x>" }],
      'added token 0 is "<x>" with id 600, expected 582, the next after the',
    ],
    ["added_tokens", [{ id: 2 ** 31, content: "x" }], "added token 0, its id is 2147483648, expected"],
    ["added_tokens", [{ id: 0, content: "x" }], 'added token 0 is "x" with id 0, which "!" has already.'],
    ["added_tokens", [{ id: 600, content: "!" }], 'added token 0 is "!", which has another id already.'],
  ];
  it.each(cases)("%s = %j", (path, value, message) => {
    const text = changed(path, value);
    expect(() => parse(text)).toThrow(UserError);
    expect(() => parse(text)).toThrow(message);
  });

  it("has no piece for a byte", () => {
    const file = JSON.parse(changed("added_tokens", [])) as { model: object };
    expect(() => parse(JSON.stringify({ ...file, model: { type: "BPE", vocab: { a: 0 }, merges: [] } }))).toThrow(
      't.json: has no piece "Ā" for byte 0.',
    );
  });

  it("takes what other versions of the library write", () => {
    const file = JSON.parse(FILE_TEXT) as { model: { merges: (string | string[])[] } };
    const merges = file.model.merges.map((merge) => (typeof merge === "string" ? merge.split(" ") : merge.join(" ")));
    const other = parse(changed("model.merges", merges));
    for (const { text = "", ids } of rows.filter((row) => row.text)) expect(other.encode(text)).toEqual(ids);
    const gpt2 = parse(changed("pre_tokenizer", { type: "ByteLevel", add_prefix_space: false }));
    expect(gpt2.decode(gpt2.encode("东方 12 x"))).toBe("东方 12 x");
  });

  it("is refused before it can fill the memory", () => {
    expect(() => parse(`{"a":${"[".repeat(100)}`)).toThrow("t.json: is nested more than 32 deep.");
    expect(() => parse(`{"a":[${"[],".repeat(2 ** 21)}[]]}`)).toThrow("expected at most 2097152 and 8388608");
    expect(() => parse('{"a":"[[[[')).toThrow("t.json: is not JSON");
    expect(() => parse('"[\\"[["')).toThrow('t.json: holds "[\\"[[", expected an object');
    expect(() => parse("")).toThrow("is not JSON");
  });

  it("is refused when a piece of its vocabulary comes twice", () => {
    const [piece, id] = Object.entries((JSON.parse(FILE_TEXT) as { model: { vocab: object } }).model.vocab)[7];
    const member = `${JSON.stringify(piece)}: ${id}`;
    expect(FILE_TEXT).toContain(member);
    expect(() => parse(FILE_TEXT.replace(member, `${member}, ${JSON.stringify(piece)}: 3`))).toThrow(
      `t.json: has the key ${JSON.stringify(piece)} twice in one object, expected it once.`,
    );
  });

  it("gives a message or works, whatever bytes change", () => {
    const whole = new TextEncoder().encode(FILE_TEXT);
    const change = fc.record({ at: fc.nat(whole.length - 1), byte: fc.integer({ min: 32, max: 126 }) });
    let refused = 0;
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(3), (changes, cut) => {
        const bytes = whole.slice(0, cut === 0 ? changes[0].at : whole.length);
        for (const { at, byte } of changes) if (at < bytes.length) bytes[at] = byte;
        try {
          const tokenizer = parse(new TextDecoder().decode(bytes));
          tokenizer.decode(tokenizer.encode("北京 the company's 12\n"));
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
