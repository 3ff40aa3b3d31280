import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import { parseSentencePiece } from "./sentencepiece.ts";
import { type BpeSettings, learnPieces, RESERVED_PIECES, type WeightedText } from "./train-bpe.ts";
import { createChunker } from "./train-bpe-chunks.ts";
import { trainBpeModel } from "./train-bpe-model.ts";

const settings = (joins: number, characters: number, changes: Partial<BpeSettings> = {}): BpeSettings => ({
  pieces: RESERVED_PIECES + (changes.symbols?.length ?? 0) + joins + characters,
  coverage: 1,
  longest: 6,
  symbols: [],
  ...changes,
});
const once = (...texts: string[]): WeightedText[] => texts.map((text) => ({ text, weight: 1 }));

/** The same by counting everything again after every join. */
function joinsByDefinition(chunks: ReadonlyMap<string, number>, wanted: number, longest: number): string[] {
  let words = [...chunks].map(([chunk, weight]) => ({ parts: Array.from(chunk), weight }));
  const joins: string[] = [];
  while (joins.length < wanted) {
    const counts = new Map<string, number>();
    for (const { parts, weight } of words) {
      for (let i = 1; i < parts.length; i++) {
        const key = `${parts[i - 1]} ${parts[i]}`;
        if (key.length - 1 <= longest) counts.set(key, (counts.get(key) ?? 0) + weight);
      }
    }
    const [best] = [...counts].sort((a, b) => b[1] - a[1]);
    if (best === undefined) break;
    const [left, right] = best[0].split(" ");
    if (!joins.includes(left + right)) joins.push(left + right);
    words = words.map(({ parts, weight }) => {
      const joined: string[] = [];
      for (const part of parts) {
        if (part === right && joined.at(-1) === left && joined.length > 0)
          joined[joined.length - 1] = `${left}${right}`;
        else joined.push(part);
      }
      return { parts: joined, weight };
    });
  }
  return joins;
}

describe("learnPieces", () => {
  it("joins the most frequent pairs first", async () => {
    const { joins, characters } = await learnPieces(
      once("收购公司", "收购股份", "收购公司的股份", "公司"),
      settings(4, 7),
    );
    expect(joins.slice(0, 3)).toEqual(["收购", "公司", "股份"]);
    expect(joins[3]).toBe("收购公司");
    expect(new Set(characters)).toEqual(new Set("收购公司股份的"));
  });

  it("joins what counting again after every join does", async () => {
    const random = createRandom(5);
    // Weights that make no two sums equal, so that the order of equals does not matter.
    const chunks = new Map<string, number>();
    for (let i = 0; i < 400; i++) {
      const chunk = Array.from({ length: 2 + random.below(9) }, () => "甲乙丙丁戊"[random.below(5)]).join("");
      chunks.set(chunk, (chunks.get(chunk) ?? 0) + 1 + random.uniform());
    }
    const texts = Array.from(chunks, ([text, weight]) => ({ text, weight }));
    const { joins } = await learnPieces(texts, settings(120, 5, { longest: 4 }));
    expect(joins).toEqual(joinsByDefinition(chunks, 120, 4));
    expect(Math.max(...joins.map((join) => join.length))).toBe(4);
  });

  it("counts weights, and writes rare characters in bytes", async () => {
    const texts = [...once("甲乙", "甲乙"), { text: "丙丁", weight: 3 }, { text: "罕", weight: 0.1 }];
    const { joins, characters } = await learnPieces(texts, settings(2, 4, { coverage: 0.99 }));
    expect(joins).toEqual(["丙丁", "甲乙"]);
    expect(characters).toEqual(["丙", "丁", "甲", "乙"]);
  });

  it("says when there is no room or not enough text", async () => {
    await expect(learnPieces(once("甲乙"), settings(0, 1))).rejects.toThrow("261 pieces have no room for 2 characters");
    await expect(learnPieces(once("甲乙"), settings(5, 2))).rejects.toThrow("enough for 1 joined pieces, expected 5");
  });
});

describe("createChunker", () => {
  it("separates kinds of characters, digits and symbols; a space goes with what follows", () => {
    const chunks = createChunker(["\n", "[", "<N>"]);
    const text = "在[甲]公司2024年，Linux 系统<N>。\n “x ”";
    const wanted = ["在", "甲", "]", "公司", "2", "0", "2", "4", "年", "，", "Linux", "▁系统", "。", "▁“", "x", "▁”"];
    expect([...chunks(text)]).toEqual(wanted);
  });
});

describe("trainBpeModel", () => {
  const text = "甲公司收购乙公司的股份。\n公司2024年收购了公司，见Linux 系统。";

  it("makes a model that our reader takes and that gives every text back", async () => {
    const bytes = await trainBpeModel(once(text, text), settings(8, 28, { symbols: ["\n", "[", "]"] }));
    const tokenizer = parseSentencePiece(bytes, "made here");
    expect([tokenizer.unkId, tokenizer.bosId, tokenizer.eosId, tokenizer.padId]).toEqual([0, 1, 2, 3]);
    const pieces = (one: string) => tokenizer.encode(one).map((id) => tokenizer.pieceOf(id));
    expect(pieces("收购[公司]")).toEqual(["收购", "[", "公司", "]"]);
    expect(pieces("收\n购")).toEqual(["收", "\n", "购"]);
    for (const one of [text, "没见过的𠀀字 [ ] \n\n end", ""])
      expect(tokenizer.decode(tokenizer.encode(one))).toBe(one);
  });

  it("refuses settings that make no sense", async () => {
    const problem = (changes: Partial<BpeSettings>) => trainBpeModel(once(text), { ...settings(8, 28), ...changes });
    await expect(problem({ pieces: 10 })).rejects.toThrow("10 pieces, expected 260 to 1048576");
    await expect(problem({ coverage: 1.5 })).rejects.toThrow("The coverage is 1.5");
    await expect(problem({ longest: 0 })).rejects.toThrow("The longest piece has 0 characters");
    await expect(problem({ symbols: ["[", "["] })).rejects.toThrow(UserError);
  });
});
