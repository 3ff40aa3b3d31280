import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Example, exampleProblem, mentionsOf } from "./example.ts";
import { drawJoined } from "./joined.ts";

const row = (sentence: string, head: string, tail: string, relation: string): Example => ({
  sentence,
  head,
  tail,
  relations: [relation],
});

const ROWS = [
  row("甲公司宣布收购乙公司。", "甲公司", "乙公司", "收购"),
  row("丙先生出任丁银行行长。", "丙先生", "丁银行", "任职"),
  row("戊河流过己城", "戊河", "己城", "位于"),
  row("谁创办了庚社？辛女士！", "辛女士", "庚社", "创办"),
];

const options = { share: 1, noRelation: "unknown", seed: 1, mostCharacters: 100 };

describe("drawJoined", () => {
  it("gives each row its own pair in a longer sentence, and a pair across two sentences without a relation", () => {
    const drawn = drawJoined(ROWS, options);
    expect(drawn).toHaveLength(8);
    expect(drawn.filter(({ relations }) => relations?.[0] === "unknown")).toHaveLength(4);
    for (const { sentence, head, tail, relations } of drawn) {
      const [of, other] = [head, tail].map((entity) => ROWS.findIndex((one) => one.sentence.includes(entity)));
      expect(of === other).toBe(relations?.[0] !== "unknown");
      if (of === other) expect(relations).toEqual(ROWS[of].relations);
      expect(sentence.length).toBeGreaterThan(ROWS[of].sentence.length);
    }
  });

  it("joins with the first sentence's mark, or with a comma or semicolon in its place", () => {
    const found = new Set(
      Array.from({ length: 50 }, (_, seed) => drawJoined(ROWS.slice(0, 2), { ...options, seed }))
        .flat()
        .map(({ sentence }) => sentence),
    );
    expect([...found].sort()).toEqual([
      "丙先生出任丁银行行长。甲公司宣布收购乙公司。",
      "丙先生出任丁银行行长，甲公司宣布收购乙公司。",
      "丙先生出任丁银行行长；甲公司宣布收购乙公司。",
      "甲公司宣布收购乙公司。丙先生出任丁银行行长。",
      "甲公司宣布收购乙公司，丙先生出任丁银行行长。",
      "甲公司宣布收购乙公司；丙先生出任丁银行行长。",
    ]);
  });

  it("joins no sentences that share an entity, and none into one that is too long", () => {
    const sharing = [ROWS[0], row("乙公司状告戊公司。", "乙公司", "戊公司", "诉讼")];
    expect(drawJoined(sharing, options)).toEqual([]);
    expect(drawJoined(ROWS.slice(0, 2), { ...options, mostCharacters: 20 })).toEqual([]);
    expect(drawJoined(ROWS.slice(0, 1), options)).toEqual([]);
    expect(drawJoined(ROWS, { ...options, share: 0 })).toEqual([]);
  });

  it("makes no entity where two sentences meet, and takes no character of one", () => {
    const meeting = [row("他去了上海", "他", "上", "位于"), row("海上有船", "船", "海上", "位于")];
    for (const { sentence, head } of drawJoined(meeting, options)) expect(sentence.split(head)).toHaveLength(2);
    const named = row("她读完了《你好。》。", "她", "《你好。》。", "创作");
    const ends = Array.from({ length: 20 }, (_, seed) => drawJoined([named, ROWS[0]], { ...options, seed })).flat();
    expect(ends.length).toBeGreaterThan(0);
    for (const one of ends) expect(one.sentence).toContain("《你好。》。");
  });

  it("makes valid rows with exact spans of any rows, the same for the same seed", () => {
    const name = fc.string({ unit: fc.constantFrom(..."甲乙丙丁戊己庚𠀀𠀁"), minLength: 1, maxLength: 3 });
    const text = fc.string({ unit: fc.constantFrom(..."天地。，！a1甲𠀀"), maxLength: 8 });
    const rows = fc.array(
      fc.tuple(name, name, text, text, text, fc.boolean()).map(([head, tail, before, between, after, hasSpans]) => {
        const sentence = before + head + between + tail + after;
        const headSpan = { start: before.length, end: before.length + head.length };
        const start = headSpan.end + between.length;
        const spans = hasSpans ? { headSpan, tailSpan: { start, end: start + tail.length } } : {};
        return { sentence, head, tail, ...spans, relations: ["r"] };
      }),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(rows, fc.integer(), (examples, seed) => {
        const drawn = drawJoined(examples, { ...options, seed });
        expect(drawJoined(examples, { ...options, seed })).toEqual(drawn);
        expect(drawn.length).toBeLessThanOrEqual(2 * examples.length);
        for (const one of drawn) {
          expect(exampleProblem(one)).toBe(null);
          expect(mentionsOf(one.sentence, one.head, one.headSpan).length).toBeGreaterThan(0);
        }
      }),
    );
  });
});
