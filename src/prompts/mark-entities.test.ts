import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Example, mentionsOf } from "../data/example.ts";
import { textBetween } from "./mark-entities.ts";

/** The definition: the first pair of mentions with the fewest characters between them, of every head with every tail. */
function nearestOfAllPairs({ sentence, head, tail, headSpan, tailSpan }: Example): string {
  const pairs = mentionsOf(sentence, head, headSpan).flatMap((one) =>
    mentionsOf(sentence, tail, tailSpan).map((other) => {
      const isHeadFirst = one.start <= other.start;
      const [first, second] = isHeadFirst ? [one, other] : [other, one];
      return { from: first.end, to: Math.max(first.end, second.start), isHeadFirst };
    }),
  );
  const nearest = pairs.reduce((best, pair) => (pair.to - pair.from < best.to - best.from ? pair : best));
  const text = sentence.slice(nearest.from, nearest.to);
  return nearest.isHeadFirst ? `[]${text}{}` : `{}${text}[]`;
}

const word = fc.string({ unit: fc.constantFrom("甲", "乙", "丙"), minLength: 1, maxLength: 3 });
const span = (sentence: string, entity: string) =>
  fc.option(fc.constantFrom(...mentionsOf(sentence, entity)), { nil: undefined });
const example = fc
  .record({ parts: fc.array(word, { maxLength: 12 }), head: word, tail: word, at: fc.nat(), other: fc.nat() })
  .chain(({ parts, head, tail, at, other }) => {
    const words = [...parts];
    words.splice(at % (words.length + 1), 0, head);
    words.splice(other % (words.length + 1), 0, tail);
    const sentence = words.join("");
    // Mentions that the words make together may hide the one that was put in: such sentences have mentions of both all the same.
    return fc.record({
      sentence: fc.constant(sentence),
      head: fc.constant(head),
      tail: fc.constant(tail),
      headSpan: span(sentence, head),
      tailSpan: span(sentence, tail),
    });
  });

describe("textBetween", () => {
  it("is the nearest of all pairs of mentions, the first of equal ones", () => {
    fc.assert(
      fc.property(example, (one) => {
        expect(textBetween(one)).toBe(nearestOfAllPairs(one));
      }),
      { numRuns: 3000 },
    );
  });

  it("costs no more than the length of the sentence", () => {
    const sentence = `${"甲乙".repeat(100_000)}`;
    const started = performance.now();
    expect(textBetween({ sentence, head: "甲", tail: "乙" })).toBe("[]{}");
    expect(textBetween({ sentence: `${"甲".repeat(100_000)}丙${"乙".repeat(100_000)}`, head: "甲", tail: "乙" })).toBe(
      "[]丙{}",
    );
    // All pairs are 10^10.
    expect(performance.now() - started).toBeLessThan(2000);
  });
});
