import { existsSync, readFileSync } from "node:fs";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import type { JsonObject } from "./bounded-json.ts";
import { GPT2_WORDS, SPLIT_WORDS } from "./byte-level.ts";
import { createTokenizerJson } from "./tokenizer-json.ts";

const FOLDER = new URL("../../test/golden/tokenizer-json/", import.meta.url);
const FINRE = new URL("../../../shared/data/finre/train.txt", import.meta.url);
const NO_MARKS = { directory: "folder", bos: null, eos: null, pad: null, addsBos: true };
const FILE = JSON.parse(readFileSync(new URL("tokenizer.json", FOLDER), "utf8")) as JsonObject & { model: object };
const [QWEN, LLAMA3] = [...SPLIT_WORDS.keys()];

const split = (source: string) => ({ type: "Split", pattern: { Regex: source }, behavior: "Isolated", invert: false });
const byteLevel = (use_regex: boolean) => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});
const sequence = (...pretokenizers: object[]) => ({ type: "Sequence", pretokenizers });

const rowsOf = (name: string) =>
  readFileSync(new URL(name, FOLDER), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { text?: string } & Record<string, string[]>)
    .filter(({ text }) => text !== undefined);

/** A file's own tokenizer and the library's. */
function both(changes: { normalizer?: object | null; pre_tokenizer?: object; ignore_merges?: boolean }) {
  const { ignore_merges = false, ...parts } = changes;
  const value = { ...FILE, ...parts, model: { ...FILE.model, ignore_merges } };
  const own = createTokenizerJson(value, NO_MARKS, "t.json");
  const library: { encode(text: string, options: object): { ids: number[] } } = new Library(
    { ...value, decoder: null, post_processor: null },
    {},
  );
  return { own, byLibrary: (text: string) => library.encode(text, { add_special_tokens: false }).ids };
}

const texts = rowsOf("golden.jsonl").map(({ text }) => text as string);
const learnt = texts.slice(0, 11).join("");
const piece = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.nat(learnt.length), fc.nat(20)).map(([at, n]) => learnt.slice(at, at + n)) },
  fc.constantFrom(" ", "  ", "\n", "\r\n", " \n\n ", "\t", "　", "\u00a0", "'s", "'LL", "It'S", "12", "２０２４", "½"),
  fc.constantFrom(
    "😀",
    "👨‍👩‍👧",
    "𠮷",
    "e\u0301",
    "\u0323\u0307",
    "한",
    "\ud800",
    "\udc00x",
    "\ude00\ud83d",
    "<|im_end|>",
    "\0",
  ),
  fc.string({ unit: "binary", maxLength: 4 }),
);
/** Without the characters that the library's GPT-2 expression takes wrongly for space or not, and the one its `(?i:` does not know. */
const anyText = fc.array(piece, { maxLength: 24 }).map((pieces) => pieces.join("").replace(/[\ufeff\u0085ſ]/g, "x"));

describe("words", () => {
  it.each([
    ["qwen", SPLIT_WORDS.get(QWEN)],
    ["llama3", SPLIT_WORDS.get(LLAMA3)],
    ["gpt2", GPT2_WORDS],
  ])("are those of tokenizers 0.23.3: %s", (name, pattern) => {
    const rows = rowsOf("words.jsonl");
    expect(rows.length).toBeGreaterThan(60);
    for (const { text = "", ...words } of rows) {
      expect({ text, words: text.match(pattern as RegExp) ?? [] }).toEqual({ text, words: words[name] });
    }
  });

  it("leave nothing out", () => {
    for (const pattern of [...SPLIT_WORDS.values(), GPT2_WORDS]) {
      fc.assert(
        fc.property(anyText, (text) => (text.match(pattern) ?? []).join("") === text),
        { seed: 11, numRuns: 200 },
      );
    }
  });
});

describe("encodes what the library encodes", () => {
  const cases: [string, Parameters<typeof both>[0]][] = [
    ["as Qwen2", {}],
    ["as Llama-3", { normalizer: null, pre_tokenizer: sequence(split(LLAMA3), byteLevel(false)), ignore_merges: true }],
    ["as GPT-2", { normalizer: { type: "NFKC" }, pre_tokenizer: byteLevel(true) }],
    ["with both expressions", { normalizer: { type: "NFD" }, pre_tokenizer: sequence(split(QWEN), byteLevel(true)) }],
    ["with none", { normalizer: { type: "NFKD" }, pre_tokenizer: byteLevel(false) }],
  ];
  it.each(cases)("%s", (_, changes) => {
    const { own, byLibrary } = both(changes);
    const check = (text: string): void => {
      expect({ text, ids: own.encode(text) }).toEqual({ text, ids: byLibrary(text) });
    };
    for (const text of texts) if (!/[\ufeff\u0085ſ]/.test(text)) check(text);
    fc.assert(fc.property(anyText, check), { seed: 12, numRuns: 400 });
  });

  it("takes whole words where merges are ignored", () => {
    const merges = (FILE.model as { merges: unknown[] }).merges.slice(0, 10);
    const value = { ...FILE, model: { ...FILE.model, merges, ignore_merges: true } };
    const own = createTokenizerJson(value, NO_MARKS, "t.json");
    expect(own.encode("quick")).toHaveLength(5);
    expect(own.encode(" quick")).toEqual([own.idOf("Ġquick")]);
  });
});

describe("long and many words", () => {
  const { own } = both({});

  it("come back whole; more than 2^20 characters at once are refused", () => {
    for (const unit of ["中", "𠮷"]) {
      const text = unit.repeat(2 ** 20 / unit.length);
      expect(own.decode(own.encode(text))).toBe(text);
    }
    expect(() => own.encode("中".repeat(2 ** 20 + 1))).toThrow(
      "t.json: a text has 1048577 characters, expected at most 1048576 to be encoded at once.",
    );
  });

  it("are the same when the cache has forgotten them", () => {
    const random = createRandom(5);
    const words = Array.from({ length: 70_000 }, () => random.below(1e9).toString(36));
    const first = own.encode("the company's");
    own.encodeAll(words.map((word) => `${word} `));
    expect(own.encode("the company's")).toEqual(first);
    expect(own.decode(own.encode(words[0]))).toBe(words[0]);
  });
});

describe("speed", () => {
  const { own, byLibrary } = both({});
  /** Processor time: other processes do not count. */
  const spentMs = (work: () => void): number => {
    const start = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };

  it("is more than three times the library's", () => {
    const random = createRandom(9);
    const cut = () => learnt.slice(random.below(learnt.length)).slice(0, 60);
    const lines = Array.from({ length: 1500 }, cut);
    const ratios = [0, 1, 2].map(() => {
      const ownMs = spentMs(() => own.encodeAll(lines));
      return spentMs(() => lines.map(byLibrary)) / ownMs;
    });
    expect(Math.max(...ratios)).toBeGreaterThan(3);
  });

  if (!existsSync(FINRE)) console.warn("No 10,000 FinRE sentences are encoded: ../shared/data is absent.");
  it.skipIf(!existsSync(FINRE))("takes less than 0.5 s for 10,000 FinRE sentences", () => {
    const rows = readFileSync(FINRE, "utf8").split("\n");
    const sentences = rows.flatMap((row) => row.split("\t")[3] ?? []).slice(0, 10_000);
    expect(sentences).toHaveLength(10_000);
    const elapsedMs = spentMs(() => own.encodeAll(sentences));
    console.info(`tokenizer.json: 10,000 sentences encoded in ${Math.round(elapsedMs)} ms`);
    expect(elapsedMs).toBeLessThan(500);
  });
});
