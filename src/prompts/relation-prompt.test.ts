import { existsSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AlpacaRow, convertExamples } from "../data/convert.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import { createLabelSet } from "../data/label-set.ts";
import { alpacaRow, promptStyle, promptStyles } from "./relation-prompt.ts";

const { paper, marked } = promptStyles;
const LABELS = createLabelSet(
  { labels: ["unknown", "拥有", "被拥有", "per:city of birth", "a],b[c".replace(",", "")] },
  "x",
);

function example(sentence: string, head: string, tail: string): Example {
  return { sentence, head, tail };
}

describe("style paper", () => {
  it("is the prompt of the paper byte for byte", () => {
    const finre = example("<N>日,“借壳”华盛达的刚泰控股在上交所举行了更名及上市仪式。", "华盛达", "刚泰控股");
    expect(paper.renderQuery(finre)).toBe(
      "请根据给定句子和实体抽取其关系\n<N>日,“借壳”[华盛达]的[刚泰控股]在上交所举行了更名及上市仪式。 ([华盛达],?,[刚泰控股])",
    );
    expect(paper.answerFor(finre, "拥有")).toBe("([华盛达],拥有,[刚泰控股])");
    expect(alpacaRow(paper, { ...finre, relations: ["拥有"] })).toEqual({
      instruction: "请根据给定句子和实体抽取其关系",
      input: "<N>日,“借壳”[华盛达]的[刚泰控股]在上交所举行了更名及上市仪式。 ([华盛达],?,[刚泰控股])",
      output: "([华盛达],拥有,[刚泰控股])",
    });
  });

  it.each([
    ["every occurrence", example("甲和乙,甲。", "甲", "乙"), "[甲]和[乙],[甲]。 ([甲],?,[乙])"],
    [
      "a head with the tail inside",
      example("他的助手来了", "他的助手", "助手"),
      "[他的[助手]]来了 ([他的助手],?,[助手])",
    ],
    [
      "a tail with the head inside: not found again",
      example("他的助手来了", "他", "他的助手"),
      "[他]的助手来了 ([他],?,[他的助手])",
    ],
    ["head = tail", example("他和他", "他", "他"), "[[他]]和[[他]] ([他],?,[他])"],
    ["no overlap", example("哈哈哈乙", "哈哈", "乙"), "[哈哈]哈[乙] ([哈哈],?,[乙])"],
    ["replacement patterns", example("$&甲$1", "$&", "甲"), "[$&][甲]$1 ([$&],?,[甲])"],
    [
      "spans change nothing",
      { ...example("甲乙甲", "甲", "乙"), headSpan: { start: 2, end: 3 } },
      "[甲][乙][甲] ([甲],?,[乙])",
    ],
  ])("wraps %s", (_name, row, input) => {
    expect(paper.renderInput(row)).toBe(input);
  });

  it("joins relations by commas, repeats kept", () => {
    const row = example("甲乙", "甲", "乙");
    expect(paper.renderAnswer(row, ["x", "y", "x"])).toBe("([甲],x,[乙]),([甲],y,[乙]),([甲],x,[乙])");
  });
});

describe("reading answers of style paper", () => {
  const asked = example("甲拥有乙", "甲", "乙");
  const parse = (text: string) => paper.parseAnswer(text, asked, LABELS);
  const nothing = { relations: [], unknownLabels: [], unparsed: null, otherEntities: 0 };

  it.each([
    ["([甲],拥有,[乙])", { relations: ["拥有"] }],
    [" ([甲],拥有,[乙]) , ([甲], unknown ,[乙])\n", { relations: ["拥有", "unknown"] }],
    ["([甲],拥有,[乙])，([甲],拥有,[乙])", { relations: ["拥有", "拥有"] }],
    ["([甲],喜欢,[乙])", { unknownLabels: ["喜欢"] }],
    ["([乙],拥有,[甲])", { relations: ["拥有"], otherEntities: 1 }],
    ["([丙,丁],拥有,[[戊]己])", { relations: ["拥有"], otherEntities: 1 }],
    ["([a],b],拥有,[c])", { relations: ["拥有"], otherEntities: 1 }],
    ["", { unparsed: "" }],
    [" \n", { unparsed: "" }],
    ["拥有", { unparsed: "拥有" }],
    ["([甲],拥有,[乙", { unparsed: "([甲],拥有,[乙" }],
    ["([甲],拥有,[乙]),", { relations: ["拥有"], unparsed: "," }],
    [",([甲],拥有,[乙])", { relations: ["拥有"], unparsed: "," }],
    ["答案是([甲],拥有,[乙])。还有([甲],被拥有,[乙])", { relations: ["拥有", "被拥有"], unparsed: "答案是 。还有" }],
    ["([甲],拥有([甲],被拥有,[乙])", { relations: ["被拥有"], unparsed: "([甲],拥有" }],
    ["([甲],,[乙])", { unknownLabels: [""] }],
  ])("reads %j", (text, expected) => {
    expect(parse(text)).toEqual({ ...nothing, ...expected });
  });

  it("reads entities with commas and brackets when they are the ones asked about", () => {
    const odd = example("a],b,[c和])([", "a],b,[c", "])([");
    const answer = paper.renderAnswer(odd, ["拥有", "被拥有"]);
    expect(paper.parseAnswer(answer, odd, LABELS)).toEqual({ ...nothing, relations: ["拥有", "被拥有"] });
  });

  it("takes bounded time on hostile text", () => {
    const startMs = performance.now();
    for (const text of ["([", "([],", "],", "([a],r,["]) parse(text.repeat(20_000));
    expect(performance.now() - startMs).toBeLessThan(3000);
  });
});

describe("style marked", () => {
  it.each([
    ["every mention", example("甲和乙,甲。", "甲", "乙"), "[甲]和{乙},[甲]。\n[甲]{乙}"],
    ["the tail inside the head", example("他的助手来了", "他的助手", "助手"), "[他的{助手}]来了\n[他的助手]{助手}"],
    ["the head inside the tail", example("他的助手来了", "他", "他的助手"), "{[他]的助手}来了\n[他]{他的助手}"],
    ["the head at the end of the tail", example("他的助手", "助手", "他的助手"), "{他的[助手]}\n[助手]{他的助手}"],
    ["head = tail", example("他和他", "他", "他"), "[{他}]和[{他}]\n[他]{他}"],
    ["crossing mentions", example("甲乙丙", "甲乙", "乙丙"), "[甲{乙]丙}\n[甲乙]{乙丙}"],
    ["mentions side by side", example("甲乙甲", "甲", "乙"), "[甲]{乙}[甲]\n[甲]{乙}"],
  ])("marks %s", (_name, row, query) => {
    expect(marked.renderQuery(row)).toBe(query);
    expect(marked.instruction).toBe("");
  });

  it("marks just the spans when they are given", () => {
    const spans = { headSpan: { start: 2, end: 3 }, tailSpan: { start: 1, end: 2 } };
    expect(marked.renderQuery({ ...example("甲乙甲乙", "甲", "乙"), ...spans })).toBe("甲{乙}[甲]乙\n[甲]{乙}");
  });

  it.each([
    ["拥有", { relations: ["拥有"] }],
    [" 拥有 ,unknown", { relations: ["拥有", "unknown"] }],
    ["拥有,喜欢", { relations: ["拥有"], unknownLabels: ["喜欢"] }],
    ["拥有,", { relations: ["拥有"], unparsed: "拥有," }],
    ["", { unparsed: "" }],
  ])("reads %j", (text, expected) => {
    const nothing = { relations: [], unknownLabels: [], unparsed: null, otherEntities: 0 };
    expect(marked.parseAnswer(text, example("甲乙", "甲", "乙"), LABELS)).toEqual({ ...nothing, ...expected });
  });
});

const label = fc
  .string({ unit: fc.constantFrom(..."收购被 [](){}?:a-"), minLength: 1, maxLength: 6 })
  .filter((text) => text === text.trim());
const entity = fc
  .string({ unit: fc.constantFrom(..."甲乙[](),，{}?$&\\𠮷 "), minLength: 1, maxLength: 6 })
  .filter((text) => text.trim() !== "");

for (const style of Object.values(promptStyles)) {
  describe(`every style: ${style.name}`, () => {
    it("reads back what it renders, for any labels and any entities", () => {
      fc.assert(
        fc.property(
          fc.uniqueArray(label, { minLength: 1, maxLength: 5 }),
          entity,
          entity,
          fc.nat(),
          (names, head, tail, seed) => {
            const labels = createLabelSet({ labels: names }, "x");
            const row = example(`甲${head}、${tail}。`, head, tail);
            const relations = Array.from({ length: 1 + (seed % 4) }, (_, i) => names[(seed >> i) % names.length]);
            const nothingElse = { unknownLabels: [], unparsed: null, otherEntities: 0 };
            expect(style.parseAnswer(style.renderAnswer(row, relations), row, labels)).toEqual({
              relations,
              ...nothingElse,
            });
            expect(style.answerFor(row, names[0])).toBe(style.renderAnswer(row, [names[0]]));
          },
        ),
        { numRuns: 300 },
      );
    });

    it("reads any text without throwing and sorts every name", () => {
      fc.assert(
        fc.property(fc.string({ unit: fc.constantFrom(..."([]),，拥有甲乙 \n"), maxLength: 40 }), (text) => {
          const row = example("甲乙", "甲", "乙");
          const { relations, unknownLabels, unparsed } = style.parseAnswer(text, row, LABELS);
          expect(relations.every((name) => LABELS.labels.includes(name))).toBe(true);
          expect(unknownLabels.some((name) => LABELS.labels.includes(name))).toBe(false);
          expect(relations.length + unknownLabels.length > 0 || unparsed !== null).toBe(true);
        }),
        { numRuns: 300 },
      );
    });
  });
}

describe("promptStyle and alpacaRow", () => {
  it("name what they cannot do", () => {
    expect(promptStyle("paper")).toBe(paper);
    expect(() => promptStyle("papper")).toThrow(
      'prompt style: got "papper", expected paper or marked; did you mean "paper"?',
    );
    expect(() => promptStyle("toString")).toThrow('prompt style: got "toString", expected paper or marked.');
    expect(() => alpacaRow(paper, { ...example("甲乙", "甲", "乙"), id: 7 })).toThrow(
      "the example 7 has no relations, expected at least one.",
    );
  });
});

const finre = join(import.meta.dirname, "../../../shared/data/finre");
if (!existsSync(finre)) console.warn(`skipped: the published data are not at ${finre}`);

describe.skipIf(!existsSync(finre))("FinRE as instruction data", () => {
  it("gives the 3,359 rows of the paper's rule for the test split", async () => {
    const { examples } = await (await openDataset(finre)).split("test");
    const rows: AlpacaRow[] = [];
    const target = { format: "alpaca", render: (row: Example) => alpacaRow(paper, row) } as const;
    for await (const line of convertExamples(examples, target)) rows.push(JSON.parse(line));
    expect(rows).toHaveLength(3359);
    expect(new Set(rows.map((row) => row.input)).size).toBe(3359);
    const triples = rows.map((row) => row.output.split("),(").length);
    expect(triples.reduce((sum, count) => sum + count, 0)).toBe(3727);
    const row = rows.find(({ input }) => input.includes("“借壳”[华盛达]"));
    expect(row).toEqual({
      instruction: "请根据给定句子和实体抽取其关系",
      input: "<N>日,“借壳”[华盛达]的[刚泰控股]在上交所举行了更名及上市仪式。 ([华盛达],?,[刚泰控股])",
      output: "([华盛达],拥有,[刚泰控股])",
    });
  });
});
