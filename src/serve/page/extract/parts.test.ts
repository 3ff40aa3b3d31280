import { describe, expect, it } from "vitest";
import { codePoints } from "./page-triple.ts";
import { partsOf, sentencesOf } from "./parts.ts";

describe("parts of a text", () => {
  const text = `${"𠮷野收购了远山。 ".repeat(30)}\n\n${"近水公司与东风公司合作。".repeat(40)}`;

  it("have every sentence once, with places in both units", () => {
    const sentences = sentencesOf(text, 300);
    expect(sentences).toHaveLength(70);
    for (const { text: own, start, startPoints } of sentences) {
      expect(text.slice(start, start + own.length)).toBe(own);
      expect(startPoints).toBe(codePoints(text.slice(0, start)));
    }
    const parts = partsOf(text, 300, 100);
    expect(parts.reduce((sum, part) => sum + part.sentences, 0)).toBe(70);
    for (const part of parts) {
      expect(part.text.length).toBeLessThanOrEqual(100);
      expect(text.slice(part.start, part.start + part.text.length)).toBe(part.text);
      expect(part.startPoints).toBe(codePoints(text.slice(0, part.start)));
    }
  });

  it("may be one, none, or one sentence that is longer than a part", () => {
    expect(partsOf(" \n ", 300)).toEqual([]);
    expect(partsOf("远山收购近水。", 300)).toMatchObject([{ start: 0, sentences: 1 }]);
    expect(partsOf(`${"远".repeat(250)}。近水。`, 300, 100).map(({ sentences }) => sentences)).toEqual([1, 1]);
  });
});
