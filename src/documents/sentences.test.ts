import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { emptySentenceCounts, splitSentences } from "./sentences.ts";

const textsOf = (text: string, maxCharacters?: number) =>
  splitSentences(text, { maxCharacters }).map((sentence) => sentence.text);

describe("splitSentences", () => {
  it.each<[string, string[]]>([
    ["甲收购乙。丙呢？好！丁；戊", ["甲收购乙。", "丙呢？", "好！", "丁；", "戊"]],
    ["他走了……我没走。", ["他走了……", "我没走。"]],
    ["有苹果、梨……等水果。完", ["有苹果、梨……等水果。", "完"]],
    ["真的吗？！！好。。。完", ["真的吗？！！", "好。。。", "完"]],
    ["（见附件。）下一句。", ["（见附件。）下一句。"]],
    ["他读《你好！再见。》很久。走了。", ["他读《你好！再见。》很久。", "走了。"]],
    ["“走吧。我们走。”天黑了。", ["“走吧。我们走。”", "天黑了。"]],
    ["“走吧。”老王对他说。天黑了。", ["“走吧。”老王对他说。", "天黑了。"]],
    ["甲道：“走吧。”乙道：“好。”丙笑了。", ["甲道：“走吧。”", "乙道：“好。”", "丙笑了。"]],
    ["“真的？”，他想。", ["“真的？”，他想。"]],
    [
      `“${"很长的话。".repeat(10)}”完。`,
      [...Array(9).fill("很长的话。"), "很长的话。”", "完。"].map((t, i) => (i === 0 ? `“${t}` : t)),
    ],
    ['他说"走。"然后走了。', ['他说"走。"', "然后走了。"]],
    ["涨了3.5%，1,000元。见 www.a.com/?b=1 。", ["涨了3.5%，1,000元。", "见 www.a.com/?b=1 。"]],
    [
      "He left. Mr. Wang of U.S. Steel Co. stayed. 你好.我是",
      ["He left.", "Mr. Wang of U.S. Steel Co. stayed.", "你好.", "我是"],
    ],
    ["1. 第一条。\n2. 第二条", ["1. 第一条。", "2. 第二条"]],
    ["标题\n正文第一句。正文", ["标题", "正文第一句。", "正文"]],
    ["甲公司，\n乙公司。", ["甲公司，\n乙公司。"]],
    ["没有标点\n\n另一段", ["没有标点", "另一段"]],
    ["Yahoo!Japan 好!真的?是 Go!", ["Yahoo!Japan 好!", "真的?", "是 Go!"]],
    ["  \u3000甲。\r\n \u3000乙 \n", ["甲。", "乙"]],
    ["", []],
    [" \n\u3000", []],
    ["。", ["。"]],
  ])("cuts %j", (text, expected) => {
    expect(textsOf(text)).toEqual(expected);
  });

  it("joins wrapped lines, and no others", () => {
    const line = "这一行有二十三个汉字它在段落的中间被折断了再来";
    const wrapped = `${line}\n${line}\n短行。`;
    expect(textsOf(wrapped)).toEqual([wrapped]);
    expect(textsOf(wrapped.replaceAll("\n", "\r\n"))).toEqual([wrapped.replaceAll("\n", "\r\n")]);
    // Indented lines are paragraphs, and a single long line has no equal.
    expect(textsOf(`${line}\n\u3000\u3000${line}\n短行。`)).toHaveLength(3);
    expect(textsOf(`${line}\n短行\n短行。`)).toHaveLength(3);
    expect(textsOf(`${line}\n- ${line.slice(1)}\n短行。`)).toHaveLength(3);
  });

  it("cuts a long sentence at the ends of clauses and counts it", () => {
    const counts = emptySentenceCounts();
    const cut = (text: string, maxCharacters: number) =>
      splitSentences(text, { maxCharacters, counts }).map((sentence) => sentence.text);
    expect(cut("一二三四，五六七八，九十。", 8)).toEqual(["一二三四，", "五六七八，九十。"]);
    expect(cut("一二三四、五六七八、九十。", 8)).toEqual(["一二三四、", "五六七八、九十。"]);
    expect(cut("一二三四五六七八九十。", 8)).toEqual(["一二三四五六七八", "九十。"]);
    expect(cut("短。", 8)).toEqual(["短。"]);
    expect(counts).toEqual({ sentences: 7, longSentences: 3, windows: 6 });
  });

  it("does not cut a character of two units", () => {
    expect(textsOf("😀".repeat(5), 5)).toEqual(["😀😀", "😀😀", "😀"]);
    expect(textsOf("😀😀", 2)).toEqual(["😀", "😀"]);
  });

  it.each([1, 0, 2.5, Number.NaN])("refuses the limit %d", (maxCharacters) => {
    expect(() => splitSentences("甲", { maxCharacters })).toThrow(
      `maxCharacters is ${maxCharacters}, expected a whole`,
    );
  });

  it("covers any text: exact slices, gaps of white space, whole characters, at most the limit", () => {
    const part = fc.oneof(
      fc.constantFrom(
        ..."甲乙。！？；…，、：“”‘’《》（）()[]\"'.!?1a A\n\r\t\u3000-",
        "\r\n",
        "\n\n",
        "……",
        "😀",
        "𠮷",
        "3.5",
        "U.S.",
        "说",
        "等",
      ),
      fc.constant("这一行有二十三个汉字它在段落的中间被折断了再来\n"),
      fc.string({ unit: "binary", maxLength: 3 }),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 80 }), fc.integer({ min: 2, max: 60 }), (parts, maxCharacters) => {
        const text = parts.join("");
        let at = 0;
        for (const sentence of splitSentences(text, { maxCharacters })) {
          expect(text.slice(sentence.start, sentence.end)).toBe(sentence.text);
          expect(text.slice(at, sentence.start)).toMatch(/^\s*$/);
          expect(sentence.text).not.toBe("");
          expect(sentence.text).toBe(sentence.text.trim());
          expect(sentence.text.length).toBeLessThanOrEqual(maxCharacters);
          for (const edge of [sentence.start, sentence.end]) {
            expect(/[\ud800-\udbff]/.test(text.charAt(edge - 1)) && /[\udc00-\udfff]/.test(text.charAt(edge))).toBe(
              false,
            );
          }
          at = sentence.end;
        }
        expect(text.slice(at)).toMatch(/^\s*$/);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ["openers", "“《（".repeat(100_000)],
    ["line breaks", "甲\n".repeat(300_000)],
    ["spaces", " ".repeat(500_000)],
    ["long lines", `${"甲".repeat(100_000)}\n`.repeat(10)],
    ["dots", "a. ".repeat(200_000)],
    ["quotes", '"。'.repeat(200_000)],
    ["spaces behind a line break", `甲\n乙${" ".repeat(300)}\n`.repeat(2_000)],
    ["one sentence", "甲，".repeat(300_000)],
  ])("reads many %s in linear time", (_, text) => {
    const start = performance.now();
    splitSentences(text);
    expect(performance.now() - start).toBeLessThan(3000);
  });
});
