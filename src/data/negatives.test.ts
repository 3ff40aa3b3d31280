import { describe, expect, it } from "vitest";
import type { Example } from "./example.ts";
import { drawNegatives, MOST_OF_SENTENCE } from "./negatives.ts";

const row = (sentence: string, head: string, tail: string, relations = ["收购"]): Example => ({
  sentence,
  head,
  tail,
  relations,
});
const pairsOf = (examples: readonly Example[]) => examples.map(({ head, tail }) => `${head} ${tail}`).sort();
const usual = { noRelation: "unknown", seed: 1, heldOut: [] };

describe("negatives", () => {
  const sentence = "华盛达收购刚泰控股，与中国银行合作。";
  const rows = [row(sentence, "华盛达", "刚泰控股"), row(sentence, "华盛达", "中国银行", ["合作", "客户"])];

  it("are pairs of a sentence's names without a label in either direction, labelled as no relation", () => {
    const { examples, candidates, sentences } = drawNegatives(rows, { ...usual, share: 10 });
    expect(pairsOf(examples)).toEqual(["中国银行 刚泰控股", "刚泰控股 中国银行"]);
    expect([candidates, sentences]).toEqual([2, 1]);
    expect(examples.every(({ relations }) => JSON.stringify(relations) === '["unknown"]')).toBe(true);
    expect(examples.every((example) => example.sentence === sentence && example.headSpan === undefined)).toBe(true);
  });

  it("are a share of the labelled rows, and all candidates when there are fewer", () => {
    const many = Array.from({ length: 40 }, (_, i) => {
      const text = `甲${i}收购乙${i}，丙${i}旁观。`;
      return [row(text, `甲${i}`, `乙${i}`), row(text, `甲${i}`, `丙${i}`)];
    }).flat();
    const draw = (share: number, seed = 1, some = many) => drawNegatives(some, { ...usual, seed, share }).examples;
    expect(draw(0.25)).toHaveLength(20);
    expect(draw(5)).toHaveLength(80);
    expect(draw(0)).toEqual([]);
    expect(draw(0.25)).toEqual(draw(0.25));
    expect(draw(0.25)).not.toEqual(draw(0.25, 2));
    // The order of the rows decides nothing but the order.
    expect(pairsOf(draw(0.25, 1, [...many].reverse()))).toEqual(pairsOf(draw(0.25)));
  });

  it("come from no sentence that is validated on", () => {
    const heldOut = [row(sentence, "中国银行", "华盛达")];
    expect(drawNegatives(rows, { ...usual, heldOut, share: 1 })).toEqual({ examples: [], candidates: 0, sentences: 0 });
  });

  it("use entities that no row names, with the places of the nearest mentions", () => {
    const text = "甲公司，甲公司与乙公司。";
    const annotated = [
      {
        sentence: text,
        mentions: [
          { start: 0, end: 3 },
          { start: 4, end: 7 },
          { start: 8, end: 11 },
        ],
      },
    ];
    const { examples } = drawNegatives([row("丙收购丁。", "丙", "丁")], { ...usual, share: 2, annotated });
    const first = { start: 4, end: 7 };
    const second = { start: 8, end: 11 };
    const both = { sentence: text, relations: ["unknown"] };
    expect(examples).toEqual(
      expect.arrayContaining([
        { ...both, head: "甲公司", tail: "乙公司", headSpan: first, tailSpan: second },
        { ...both, head: "乙公司", tail: "甲公司", headSpan: second, tailSpan: first },
      ]),
    );
    expect(examples).toHaveLength(2);
  });

  it("leave out names that are only parts of each other", () => {
    const text = "中国平安银行收购丁。";
    const overlapping = [row(text, "中国平安银行", "丁"), row(text, "平安", "丁")];
    expect(drawNegatives(overlapping, { ...usual, share: 9 }).candidates).toBe(0);
  });

  it("are bounded for a sentence of very many names", () => {
    const names = Array.from({ length: 60 }, (_, i) => `公司${String(i).padStart(2, "0")}`);
    const text = `${names.join("、")}。`;
    const lists = names.slice(1).map((name) => row(text, names[0], name));
    const { examples, candidates } = drawNegatives(lists, { ...usual, share: 9 });
    expect(examples).toHaveLength(MOST_OF_SENTENCE);
    expect(candidates).toBe(59 * 58);
  });
});
