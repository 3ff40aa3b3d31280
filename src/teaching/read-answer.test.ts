import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { answerReader } from "./read-answer.ts";

const LABELS = ["unknown", "收购", "被收购", "合作", "合作伙伴", "Part-Whole"];
const read = answerReader(LABELS);
const example = { sentence: "甲公司买下乙公司", head: "甲公司", tail: "乙公司" };
const labelIn = (text: string) => read(text, example).label;
const problemOf = (text: string) => read(text, example).problem;

describe("an answer", () => {
  it.each([
    ["收购", "收购"],
    [" 收购。\n", "收购"],
    ["“被收购”", "被收购"],
    ["【合作】", "合作"],
    ["**收购**", "收购"],
    ["关系：收购", "收购"],
    ["答案是：「合作伙伴」。", "合作伙伴"],
    ["关系类型为：ｕｎｋｎｏｗｎ", "unknown"],
    ["Relation: part-whole", "Part-Whole"],
    ['{"关系": "被收购"}', "被收购"],
    ['```json\n{"head": "甲公司", "relation": "收购", "tail": "乙公司"}\n```', "收购"],
    ["收购\n理由：甲公司买下了乙公司，双方并非合作。", "收购"],
    ["句子说甲公司买下乙公司，因此两者的关系是“收购”，而不是“合作”。", "收购"],
    ["不是收购，而是合作", "合作"],
    ["首先看合作：不成立。再看收购：成立。\n最终答案：收购", "收购"],
    ["关系：unknown（句中没有说明两者的关系）", "unknown"],
    ["<think>可能是合作？不，是收购。</think>\n\n收购", "收购"],
    ["也许是合作。</think>收购", "收购"],
    ["(甲公司, 收购, 乙公司)", "收购"],
    ["头实体：甲公司\n尾实体：乙公司\n关系：被收购", "被收购"],
    ["3. 合作", "合作"],
    ["合作关系。", "合作"],
  ])("%j gives %s", (text, label) => {
    expect(read(text, example)).toEqual({ label, problem: null });
  });

  it.each([
    ["", "empty"],
    ["  \n", "empty"],
    ["<think>甲公司买下", "cut off"],
    ["无法判断", "no label"],
    ["买卖", "no label"],
    ["没有合作关系", "no label"],
    ["收购、合作", "several labels"],
    ["收购\n合作", "several labels"],
    ['["收购", "合作"]', "several labels"],
    ["是收购，也是合作", "several labels"],
    // The other direction may be meant.
    ["乙公司收购甲公司", "no label"],
    ["甲公司想要收购这家历史悠久的制造企业", "no label"],
    ["unknowns", "no label"],
  ])("%j has none: %s", (text, problem) => {
    expect(read(text, example)).toEqual({ label: null, problem });
  });

  it("reads a longer label, not the one within it", () => {
    expect(labelIn("关系是被收购")).toBe("被收购");
    expect(labelIn("两者是合作伙伴")).toBe("合作伙伴");
  });

  it("keeps labels apart that differ in case or width", () => {
    const strict = answerReader(["A", "a", "Ａ"]);
    expect(strict("a。", example).label).toBe("a");
    expect(strict("Ａ", example).label).toBe("Ａ");
  });

  it("is read whatever it is, and gives only labels", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.constantFrom(...LABELS, "是", "</think>", "{"), (a, b) => {
        const { label, problem } = read(`${a}${b}${a}`, example);
        expect(label === null ? problem : LABELS).toBeTruthy();
        if (label !== null) expect(LABELS).toContain(label);
      }),
    );
    expect(problemOf("收购合作".repeat(20_000))).toBe("several labels");
  });
});
