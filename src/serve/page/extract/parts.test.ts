import { describe, expect, it } from "vitest";
import { codePoints } from "./page-triple.ts";
import { joined, type Parts, partsOf, sentencesOf } from "./parts.ts";

/** All parts, each answered in this time. */
function taken(parts: Parts, ms: number) {
  const all = [];
  for (let part = parts.next(); part !== null; part = parts.next()) {
    all.push(part);
    parts.answered(part, ms);
  }
  return all;
}

describe("parts of a text", () => {
  const text = `${"𠮷野收购了远山。 ".repeat(300)}\n\n${"近水公司与东风公司合作。".repeat(400)}`;

  it("have every sentence once, with places in both units", () => {
    const sentences = sentencesOf(text, 300);
    expect(sentences).toHaveLength(700);
    for (const { text: own, start, startPoints } of sentences.slice(290, 310)) {
      expect(text.slice(start, start + own.length)).toBe(own);
      expect(startPoints).toBe(codePoints(text.slice(0, start)));
    }
    const parts = taken(partsOf(text, 300), 3_000);
    expect(parts.flat().map(({ start }) => start)).toEqual(sentences.map(({ start }) => start));
    for (const part of parts) {
      const { text: own, start } = joined(text, part);
      expect(own.length).toBeLessThanOrEqual(400);
      expect(text.slice(start, start + own.length)).toBe(own);
    }
  });

  it("grow where the answers come fast, and shrink to a sentence where they are slow", () => {
    const fast = taken(partsOf(text, 300), 10);
    const lengths = fast.map((part) => joined(text, part).text.length);
    expect(lengths[0]).toBeLessThanOrEqual(400);
    expect(Math.max(...lengths)).toBeGreaterThan(2_000);
    const slow = taken(partsOf(text, 300), 1e6);
    expect(slow.at(-1)).toHaveLength(1);
    expect(slow.flat()).toHaveLength(700);
  });

  it("may be none, or one sentence that is longer than a part", () => {
    expect(partsOf(" \n ", 300).next()).toBeNull();
    expect(taken(partsOf(`${"远".repeat(600)}。近水。`, 1000), 1)).toHaveLength(2);
  });
});
