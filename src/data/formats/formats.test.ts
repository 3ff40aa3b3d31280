import { describe, expect, it } from "vitest";
import { convert, lines, triplesOf } from "../../../test/converted-data.ts";
import { splitSentences } from "../../documents/sentences.ts";
import type { ConversionOptions } from "./convert-labelled.ts";

const SPERT = {
  tokens: ["甲", "公", "司", "收", "购", "乙", "和", "丙"],
  entities: [
    { type: "公司", start: 0, end: 3 },
    { type: "公司", start: 5, end: 6 },
    { type: "公司", start: 7, end: 8 },
  ],
  relations: [
    { type: "收购", head: 0, tail: 1 },
    { type: "合作", head: 0, tail: 1 },
  ],
  orig_id: 7,
};

describe("SpERT", () => {
  it("becomes pairs with places, and pairs without a label become negatives", async () => {
    const files = { "x_train.json": JSON.stringify([SPERT], null, 1), "x_dev.json": JSON.stringify([SPERT]) };
    const { examples, labels, splits } = await convert("spert", files, { negatives: 1 });
    expect(examples.train[0]).toEqual({
      id: 7,
      sentence: "甲公司收购乙和丙",
      head: "甲公司",
      tail: "乙",
      headSpan: { start: 0, end: 3 },
      tailSpan: { start: 5, end: 6 },
      relations: ["收购", "合作"],
    });
    // Neither (甲公司, 乙) nor its mirror.
    expect(triplesOf(examples.train)).toEqual([
      "甲公司 收购,合作 乙",
      "甲公司 unknown 丙",
      "乙 unknown 丙",
      "丙 unknown 甲公司",
      "丙 unknown 乙",
    ]);
    expect(labels).toEqual({ labels: ["收购", "合作", "unknown"], noRelation: "unknown", inverses: {}, symmetric: [] });
    expect(splits.map(({ split, counts }) => [split, counts])).toEqual(
      ["train", "valid"].map((split) => [
        split,
        { rows: 1, problems: 0, labelled: 1, unlabelled: 4, negatives: 4, dropped: {} },
      ]),
    );
  });

  it("puts spaces between words and none between characters", async () => {
    const words = { ...SPERT, tokens: ["Apple", "Inc", "在", "New", "York", "和", "2019", "年"] };
    const { examples } = await convert("spert", { "train.json": JSON.stringify([words]) });
    expect(examples.train[0].sentence).toBe("Apple Inc在New York和2019年");
    const digits = { ...SPERT, tokens: ["2", "0", "1", "9", "a", "b", "c", "d"] };
    expect((await convert("spert", { "train.json": JSON.stringify([digits]) })).examples.train[0].sentence).toBe(
      "2019abcd",
    );
  });

  it("chooses a share of the negatives by their content alone", async () => {
    const rows = Array.from({ length: 100 }, (_, i) => ({
      ...SPERT,
      tokens: [...SPERT.tokens, String(i % 10), String(i)],
    }));
    const some = await convert("spert", { "train.json": JSON.stringify(rows) }, { negatives: 0.25 });
    const { unlabelled, negatives } = some.splits[0].counts;
    expect(unlabelled).toBe(400);
    expect(negatives).toBeGreaterThan(70);
    expect(negatives).toBeLessThan(130);
    const turned = await convert("spert", { "train.json": JSON.stringify(rows.reverse()) }, { negatives: 0.25 });
    expect(new Set(turned.examples.train.map((one) => JSON.stringify(one)))).toEqual(
      new Set(some.examples.train.map((one) => JSON.stringify(one))),
    );
    const other = await convert("spert", { "train.json": JSON.stringify(rows) }, { negatives: 0.25, seed: 2 });
    expect(triplesOf(other.examples.train)).not.toEqual(triplesOf(some.examples.train));
  });

  it.each<[string, object, string]>([
    ["tokens", { ...SPERT, tokens: "甲" }, 'got "甲" as "tokens", expected a list of texts'],
    ["a place", { ...SPERT, entities: [{ type: "x", start: 3, end: 9 }] }, "with 0 ≤ start < end ≤ 8"],
    ["an index", { ...SPERT, relations: [{ type: "x", head: 0, tail: 3 }] }, "with indices below 3"],
    ["itself", { ...SPERT, relations: [{ type: "x", head: 0, tail: 0 }] }, 'got a relation of "甲公司" with itself'],
  ])("names the fault: %s", async (_, row, problem) => {
    const files = { "train.json": `[${JSON.stringify(SPERT)},\n\n${JSON.stringify(row)}]` };
    await expect(convert("spert", files)).rejects.toThrow(/train\.json, line 3: got/);
    await expect(convert("spert", files)).rejects.toThrow(problem);
    const { badRows, splits } = await convert("spert", files, { onBadRow: "skip" });
    expect(badRows).toEqual([{ file: expect.any(String), line: 3, problem: expect.stringContaining(problem) }]);
    expect(splits[0].counts).toMatchObject({ rows: 2, problems: 1 });
  });
});

describe("DuIE", () => {
  const row = {
    text: "《甲书》是乙写的，丙出版。",
    spo_list: [
      { subject: "甲书", predicate: "作者", object: { "@value": "乙", inWork: "丙" } },
      { subject: "甲书", predicate: "出版社", object: "丙" },
      { subject: "甲书", predicate: "作者", object: "丁" },
    ],
  };

  it("becomes pairs without places; a name that is not there costs its triple", async () => {
    const options: ConversionOptions = { onBadRow: "skip", negatives: 1, noRelation: "无" };
    const { examples, badRows, splits, labels } = await convert("duie", { "duie_dev.json": lines(row, row) }, options);
    expect(triplesOf(examples.valid)).toEqual([
      "甲书 作者,作者 乙",
      "甲书 出版社,出版社 丙",
      "乙 无,无 丙",
      "丙 无,无 乙",
    ]);
    expect(badRows.map(({ line, problem }) => [line, problem])).toEqual(
      [1, 2].map((line) => [line, expect.stringContaining('got the tail "丁", expected a part of the sentence')]),
    );
    expect(splits[0].counts.dropped).toEqual({ "further slots of an object": 2 });
    expect(labels.labels).toEqual(["作者", "出版社", "无"]);
  });
});

const TEXT = "😀甲公司收购乙。丙和丁合作。";

describe("doccano", () => {
  const row = {
    id: 5,
    text: TEXT,
    entities: [
      { id: 11, label: "公司", start_offset: 1, end_offset: 4 },
      { id: 12, label: "公司", start_offset: 6, end_offset: 7 },
      { id: 13, label: "公司", start_offset: 8, end_offset: 9 },
      { id: 14, label: "公司", start_offset: 10, end_offset: 11 },
    ],
    relations: [
      { id: 1, from_id: 11, to_id: 12, type: "收购" },
      { id: 2, from_id: 13, to_id: 14, type: "合作" },
      { id: 3, from_id: 11, to_id: 14, type: "远" },
    ],
  };

  it("counts code points, and is cut into sentences", async () => {
    const options = { sentencesOf: (text: string) => splitSentences(text), negatives: 1 };
    const { examples, splits, labels } = await convert("doccano", { "all.jsonl": lines(row) }, options);
    expect(triplesOf(examples.train)).toEqual(["甲公司 收购 乙", "丙 合作 丁"]);
    expect(examples.train[0]).toMatchObject({ sentence: "😀甲公司收购乙。", headSpan: { start: 2, end: 5 }, id: 5 });
    expect(splits[0].counts).toMatchObject({ unlabelled: 0, dropped: { "relations over the end of a sentence": 1 } });
    expect(labels.labels).toEqual(["收购", "合作", "unknown"]);
    const whole = await convert("doccano", { "all.jsonl": lines(row) }, { negatives: 1 });
    expect(triplesOf(whole.examples.train).slice(0, 3)).toEqual(["甲公司 收购 乙", "丙 合作 丁", "甲公司 远 丁"]);
    expect(whole.splits[0].counts.unlabelled).toBe(6);
  });

  it("does not cut a mention", async () => {
    const long = { ...row, entities: [{ id: 1, label: "x", start_offset: 1, end_offset: 9 }, row.entities[3]] };
    const relations = [{ from_id: 1, to_id: 14, type: "远" }];
    const { examples } = await convert(
      "doccano",
      { "a.jsonl": lines({ ...long, relations }) },
      {
        sentencesOf: (text) => splitSentences(text),
      },
    );
    expect(examples.train[0]).toMatchObject({ sentence: TEXT, head: "甲公司收购乙。丙", tail: "丁" });
  });

  it.each([
    [{ ...row, entities: [{ id: 1, label: "x", start_offset: 3, end_offset: 99 }] }, "inside of the 14 characters"],
    [{ ...row, relations: [{ from_id: 11, to_id: 99, type: "x" }] }, "with ids of entities"],
    [{ ...row, entities: [row.entities[0], row.entities[0]] }, "got two entities with the id 11, expected one"],
  ])("names the fault %#", async (bad, problem) => {
    await expect(convert("doccano", { "a.jsonl": lines(bad) })).rejects.toThrow(problem);
  });
});

describe("Label Studio", () => {
  const region = (id: string, start: number, end: number, text: string) => ({
    id,
    type: "labels",
    value: { start, end, text, labels: ["公司"] },
  });
  const task = {
    id: 3,
    data: { text: TEXT },
    annotations: [
      { was_cancelled: true, result: [] },
      {
        result: [
          region("a", 1, 4, "甲公司"),
          region("b", 7, 8, "乙"),
          { type: "choices", value: { choices: ["好"] } },
          { type: "relation", from_id: "a", to_id: "b", direction: "right", labels: ["收购"] },
          { type: "relation", from_id: "a", to_id: "b", direction: "left", labels: ["被收购"] },
        ],
      },
      { result: [] },
    ],
  };

  it("checks each place by its text, in code points or UTF-16 units", async () => {
    const { examples, splits } = await convert("label-studio", { "export.json": JSON.stringify([task]) });
    expect(triplesOf(examples.train)).toEqual(["甲公司 收购 乙", "乙 被收购 甲公司"]);
    expect(examples.train[0]).toMatchObject({ headSpan: { start: 2, end: 5 }, tailSpan: { start: 7, end: 8 } });
    expect(splits[0].counts.dropped).toEqual({
      "further annotations of a text": 1,
      "results that are no regions of text": 1,
    });
  });

  it.each([
    [{ ...task, data: {} }, 'got {} as "data", expected {"text": …}'],
    [{ ...task, annotations: [{ result: [region("a", 1, 4, "别的")] }] }, "whose text is not at its place"],
    [
      { ...task, annotations: [{ result: [{ type: "relation", from_id: "a", to_id: "b" }] }] },
      'expected "from_id" and "to_id" of regions',
    ],
  ])("names the fault %#", async (bad, problem) => {
    await expect(convert("label-studio", { "a.json": JSON.stringify([bad]) })).rejects.toThrow(problem);
  });
});

describe("brat", () => {
  const notes = [
    "T1\t公司 1 4\t甲公司",
    "T2\t公司 6 7\t乙",
    "R1\t收购 Arg1:T1 Arg2:T2\t",
    "#1\tAnnotatorNotes T1\t注",
    "A1\tNeg T1",
    "E1\tBuy:T1",
  ].join("\n");

  it("reads pairs of files, also below folders of splits", async () => {
    const files = { "train/a.txt": TEXT, "train/a.ann": notes, "dev/b.txt": TEXT, "dev/b.ann": notes };
    const { examples, splits } = await convert("brat", files);
    expect(triplesOf(examples.train)).toEqual(["甲公司 收购 乙"]);
    expect(triplesOf(examples.valid)).toEqual(["甲公司 收购 乙"]);
    expect(splits[0].counts.dropped).toEqual({ notes: 1, attributes: 1, events: 1 });
  });

  it.each([
    ["T1\t公司 1 4\t别的", "line 1: got"],
    ["T1\t公司 1 2;3 4\t甲", "expected a type and one place"],
    ["R1\t收购 Arg1:T1 Arg2:T9", 'line 1: got "T1 T9", expected names that the file has'],
    ["R1\t收购", "expected a label and two names"],
  ])("names the fault: %j", async (bad, problem) => {
    await expect(convert("brat", { "a.txt": TEXT, "a.ann": bad })).rejects.toThrow(problem);
  });

  it("names a text that is missing", async () => {
    await expect(convert("brat", { "a.ann": notes })).rejects.toThrow(/a\.txt: cannot be read/);
  });
});

describe("CoNLL", () => {
  const rows = [
    "#doc 12",
    "0\t甲\tB-公司\t['N']\t[0]",
    "1\t公司\tI-公司\t['收购', '合作']\t[3, 3]",
    "2\t买\tO\t['N']\t[2]",
    "3\t乙\tB-公司\t['N']\t[3]",
    "4\t丙\tB-公司\t['N']\t[4]",
  ];

  it("reads tags and columns", async () => {
    const { examples, splits } = await convert(
      "conll",
      { "train.txt": `${rows.join("\n")}\n#doc 13\n\n` },
      { negatives: 1 },
    );
    expect(triplesOf(examples.train)[0]).toBe("甲公司 收购,合作 乙");
    expect(examples.train[0]).toMatchObject({ id: "12", sentence: "甲公司买乙丙", headSpan: { start: 0, end: 3 } });
    expect(splits[0].counts).toMatchObject({ rows: 1, labelled: 1, unlabelled: 4, negatives: 4 });
  });

  it.each([
    ["0\t甲\tB-公司", "line 1: got 3 columns"],
    ["1\t甲\tB-公司\t['N']\t[0]", 'line 1: got the number "1", expected 0'],
    ["0\t甲\tX\t['N']\t[0]", 'got the tag "X"'],
    ["0\t甲\tO\t['N', 'x']\t[0]", "expected two lists of equal length"],
    ["0\t甲\tB-公司\t['收购']\t[7]", 'got "收购" from token 0 to 7, expected the last tokens of two names'],
  ])("names the fault: %j", async (bad, problem) => {
    await expect(convert("conll", { "train.txt": bad })).rejects.toThrow(problem);
  });
});
