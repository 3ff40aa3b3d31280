import { describe, expect, it } from "vitest";
import { exampleProblem } from "./example.ts";
import { normalizedExample } from "./normalize.ts";

describe("a text that seems to be in the sentence", () => {
  it.each([
    [
      "甲\u200b公司收购乙。",
      "甲公司",
      'of the sentence "甲\\u200b公司收购乙。" (it is there but for invisible characters: U+200B)',
    ],
    ["甲公司收购乙。", "\ufeff甲公司", 'the head "\\ufeff甲公司"'],
    ["甲公司收购乙。", "\ufeff甲公司", "invisible characters: U+FEFF"],
    ["甲\u00ad公司收购乙。", "甲公司", "invisible characters: U+00AD"],
    ["甲\u{e0101}公司收购乙。", "甲公司", "invisible characters: U+E0101"],
    [
      "Cafe\u0301收购乙。",
      "Caf\u00e9",
      'of the sentence "Cafe\\u0301收购乙。" (the same text after Unicode normalisation: ',
    ],
    [
      "甲\u00a0公司收购乙。",
      "甲 公司",
      'of the sentence "甲\\u00a0公司收购乙。" (the same text after normalisation NFKC',
    ],
    [
      "ＡＢＣ集团收购乙。",
      "ABC集团",
      "full-width, half-width or other compatibility characters; data.normalize: nfkc reads them alike",
    ],
    ["ＡＢ\u200bＣ集团收购乙。", "ABC集团", "after normalisation NFKC and without invisible characters: U+200B"],
    ["Abc集团收购乙。", "ABC集团", "the same text but for upper and lower case"],
    ["甲 公司收购乙。", "甲公司", "the same text but for white space"],
    ["華為收购乙。", "华为", "the same text but for traditional and simplified characters"],
  ])("%j does not have %j: the difference is shown", (sentence, head, text) => {
    expect(exampleProblem({ sentence, head, tail: "乙" })).toContain(text);
  });

  it("is another text otherwise, and a span shows the difference too", () => {
    expect(exampleProblem({ sentence: "甲收购乙", head: "丙", tail: "乙" })).toBe(
      'got the head "丙", expected a part of the sentence "甲收购乙"',
    );
    const head = { sentence: "甲\u200b司收购乙", head: "甲司", headSpan: { start: 0, end: 3 }, tail: "乙" };
    expect(exampleProblem(head)).toContain('which is "甲\\u200b司", expected "甲司" (it is there but for invisible');
  });
});

describe("normalizedExample", () => {
  const row = {
    sentence: "e\u0301ＡＢ收购乙",
    head: "ＡＢ",
    tail: "乙",
    headSpan: { start: 2, end: 4 },
    tailSpan: { start: 6, end: 7 },
  };

  it("moves spans with the text", () => {
    const moved = { headSpan: { start: 1, end: 3 }, tailSpan: { start: 5, end: 6 } };
    expect(normalizedExample(row, "nfc")).toEqual({ ...row, ...moved, sentence: "éＡＢ收购乙" });
    expect(normalizedExample(row, "nfkc")).toEqual({ ...row, ...moved, sentence: "éAB收购乙", head: "AB" });
    expect(normalizedExample(row, "none")).toBe(row);
    expect(normalizedExample(row)).toBe(row);
  });

  it("refuses a span that cuts through a character, or that is wrong", () => {
    const cut = { sentence: "e\u0301乙", head: "e", headSpan: { start: 0, end: 1 }, tail: "乙" };
    expect(normalizedExample(cut, "nfc")).toBe(
      "got the head span [0, 1), which cuts through a character of the sentence in NFC",
    );
    expect(normalizedExample({ ...row, headSpan: { start: 3, end: 4 } }, "nfc")).toBe(
      'got the head span [3, 4), which is "Ｂ", expected "ＡＢ"',
    );
  });
});
