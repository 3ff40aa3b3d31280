import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { convertExamples } from "../data/convert.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import { createLabelSet } from "../data/label-set.ts";
import { alpacaRow, promptStyle, promptStyles } from "./relation-prompt.ts";

const { paper, marked } = promptStyles;
const LABELS = createLabelSet({ labels: ["unknown", "拥有", "被拥有", "per:city of birth", "a]b[c"] }, "x");

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

describe("styles asked and twice", () => {
  const row = example("甲公司收购乙公司。", "甲公司", "乙公司");

  it("put the question first, or give the sentence twice, and answer as marked does", () => {
    const sentence = "[甲公司]收购{乙公司}。";
    expect(marked.renderQuery(row)).toBe(`${sentence}\n[甲公司]{乙公司}`);
    expect(promptStyle("asked").renderQuery(row)).toBe(`[甲公司]{乙公司}\n${sentence}\n[甲公司]{乙公司}`);
    expect(promptStyle("twice").renderQuery(row)).toBe(`${sentence}\n${sentence}\n[甲公司]{乙公司}`);
    for (const name of ["asked", "twice"]) {
      const style = promptStyle(name);
      expect(style.renderAnswer(row, ["拥有", "被拥有"])).toBe("拥有,被拥有");
      expect(style.parseAnswer("拥有,不知", row, LABELS)).toMatchObject({
        relations: ["拥有"],
        unknownLabels: ["不知"],
      });
    }
  });
});

describe("style between", () => {
  const between = promptStyle("between");
  const query = (sentence: string, head: string, tail: string, spans = {}) =>
    between.renderQuery({ sentence, head, tail, ...spans });

  it("keeps the words between the entities in the order of the sentence", () => {
    expect(query("昨日甲公司宣布收购乙公司股权", "甲公司", "乙公司")).toBe("[]宣布收购{}");
    expect(query("昨日甲公司宣布收购乙公司股权", "乙公司", "甲公司")).toBe("{}宣布收购[]");
  });

  it("takes the nearest two mentions, or the ones the spans say", () => {
    expect(query("甲来了，后来甲见乙", "甲", "乙")).toBe("[]见{}");
    expect(query("甲来了，后来甲见乙", "甲", "乙", { headSpan: { start: 0, end: 1 } })).toBe("[]来了，后来甲见{}");
  });

  it("has nothing between entities that touch, overlap or are the same", () => {
    expect(query("他的助手", "他", "他的助手")).toBe("[]{}");
    expect(query("甲乙", "乙", "甲")).toBe("{}[]");
    expect(query("甲", "甲", "甲")).toBe("[]{}");
  });

  it("answers with the bare labels", () => {
    const example = { sentence: "甲见乙", head: "甲", tail: "乙" };
    expect(between.renderAnswer(example, ["合作", "收购"])).toBe("合作,收购");
    expect(between.answerFor(example, "合作")).toBe("合作");
  });
});

describe("promptStyle and alpacaRow", () => {
  it("name what they cannot do", () => {
    expect(promptStyle("paper")).toBe(paper);
    expect(() => promptStyle("papper")).toThrow(
      'prompt style: got "papper", expected paper, marked, asked, twice, pairs, between; did you mean "paper"?',
    );
    expect(() => promptStyle("toString")).toThrow(
      'prompt style: got "toString", expected paper, marked, asked, twice, pairs, between.',
    );
    expect(() => alpacaRow(paper, { ...example("甲乙", "甲", "乙"), id: 7 })).toThrow(
      "the example 7 has no relations, expected at least one.",
    );
  });
});

const shared = join(import.meta.dirname, "../../../shared/data");
if (!existsSync(shared)) console.warn(`skipped: the published data are not at ${shared}`);

/**
 * sha256 of the rows as JSON lines (keys instruction, input, output; no spaces; not escaped), from an independent program in Python 3
 * (str.replace twice, dict in file order, json.dumps) over the published files.
 */
const GOLDEN = [
  ["finre", "train", 12_294, "22ea4803176584acc3a149c10ef020c587de2766207778bc93b3c82ba09c305e"],
  ["finre", "valid", 1_353, "feb263973c0dfe50a706061b8210aa9591eb06ea9a2d4da01df61a3faa814bbf"],
  ["finre", "test", 3_359, "42607684e67ea0bfe5a28162703e8cab566050cf5a8a36887158a427e2d79cf0"],
  ["sanwen", "train", 17_092, "2c1a3c93d3ca422542f74368febe7bd40d24270696e53f9c125aff613eac2818"],
  ["sanwen", "valid", 1_786, "1e7fe07d2c17ade1daa82c2a6b73e28063979146c2ee860212da27a3832c2d07"],
  ["sanwen", "test", 2_205, "d353e1c44e4d646d3b8372e328d2e34caf02beb9b8a5698b1e042ccd54343e15"],
] as const;

describe.skipIf(!existsSync(shared))("the published data as instruction data", () => {
  it.each(GOLDEN)(
    "%s %s gives the rows of the paper's rule, and every answer reads back",
    async (set, name, count, sha256) => {
      const dataset = await openDataset(join(shared, set));
      const { examples } = await dataset.split(name);
      const target = { format: "alpaca", render: (row: Example) => alpacaRow(paper, row) } as const;
      const hash = createHash("sha256");
      let lines = 0;
      for await (const line of convertExamples(examples, target)) {
        hash.update(`${line}\n`);
        lines++;
      }
      expect([lines, hash.digest("hex")]).toEqual([count, sha256]);
      for (const row of examples) {
        const { relations, ...others } = paper.parseAnswer(
          paper.renderAnswer(row, row.relations ?? []),
          row,
          dataset.labels,
        );
        if (relations.join() !== row.relations?.join() || others.unparsed !== null)
          expect({ ...others, relations }).toEqual(row);
      }
    },
  );
});
