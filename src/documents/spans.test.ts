import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { candidateSpans, MAX_SPAN_UNITS } from "./spans.ts";

const texts = (sentence: string) => candidateSpans(sentence).map(({ text }) => text);

describe("the parts of a sentence that may be names", () => {
  it("are whole units within a clause", () => {
    expect(texts("甲收乙。")).toEqual(["甲", "甲收", "甲收乙", "收", "收乙", "乙"]);
    expect(texts("甲，乙")).toEqual(["甲", "乙"]);
    expect(texts("购IBM公司")).toEqual([
      "购",
      "购IBM",
      "购IBM公",
      "购IBM公司",
      "IBM",
      "IBM公",
      "IBM公司",
      "公",
      "公司",
      "司",
    ]);
  });

  it("keep Latin words and numbers whole, and hold blanks and points inside", () => {
    const found = texts("约翰·史密斯在Coca Cola任职");
    expect(found).toContain("约翰·史密斯");
    expect(found).toContain("Coca Cola");
    expect(found).not.toContain("Coca C");
    expect(found).not.toContain("约翰·");
    expect(texts("3M与A.O.Smith")).toEqual(expect.arrayContaining(["3M", "A.O.Smith"]));
  });

  it("end with a bracket only where it closes one of their own", () => {
    const found = texts("联想（香港）与《红楼梦》");
    expect(found).toEqual(expect.arrayContaining(["联想（香港）", "《红楼梦》", "香港", "红楼梦"]));
    for (const one of ["香港）", "（香港", "《红楼", "红楼梦》"]) expect(found).not.toContain(one);
  });

  it("know every place of a text", () => {
    expect(candidateSpans("张三和张三").find(({ text }) => text === "张三")?.starts).toEqual([0, 3]);
    expect(candidateSpans("𠮷野家在𠮷").find(({ text }) => text === "𠮷")?.starts).toEqual([0, 5]);
  });

  it("are at their places, distinct and bounded in any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (sentence) => {
        const spans = candidateSpans(sentence);
        expect(new Set(spans.map(({ text }) => text)).size).toBe(spans.length);
        for (const { text, starts } of spans) {
          expect(text.length).toBeGreaterThan(0);
          for (const start of starts) expect(sentence.startsWith(text, start)).toBe(true);
        }
      }),
    );
    expect(Math.max(...texts("字".repeat(200)).map((text) => text.length))).toBe(MAX_SPAN_UNITS);
  });
});
