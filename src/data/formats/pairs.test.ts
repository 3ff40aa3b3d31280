import { describe, expect, it } from "vitest";
import { convert, lines, triplesOf } from "../../../test/converted-data.ts";
import { alpacaRow, promptStyle } from "../../prompts/relation-prompt.ts";
import type { Example } from "../example.ts";
import { LABELLED_FORMAT_NAMES, LABELLED_FORMATS, recogniseRow } from "./registry.ts";

const TEXT = "😀甲公司收购乙。丙和丁合作。";

describe("rows of instruction data", () => {
  const style = promptStyle("paper");
  const examples: Example[] = [
    { sentence: "甲公司收购(乙)和甲公司。", head: "甲公司", tail: "乙", relations: ["收购", "合作"] },
    { sentence: "东方航空（航空）涨", head: "东方航空", tail: "航空", relations: ["unknown"] },
  ];

  it("turn back into the rows that were rendered", async () => {
    const alpaca = examples.map((example) => alpacaRow(style, example));
    const back = await convert("alpaca", { "train.json": JSON.stringify(alpaca) });
    expect(back.examples.train).toEqual(examples);
    expect(back.labels).toMatchObject({ labels: ["收购", "合作", "unknown"], noRelation: "unknown" });
    const chats = alpaca.map(({ instruction, input, output }) => ({
      conversations: [
        { from: "human", value: `${instruction}\n${input}` },
        { from: "gpt", value: output },
      ],
    }));
    const messages = alpaca.map(({ instruction, input, output }) => ({
      messages: [
        { role: "system", content: "x" },
        { role: "user", content: `${instruction}\n${input}` },
        { role: "assistant", content: output },
      ],
    }));
    expect((await convert("sharegpt", { "train.jsonl": lines(...chats) })).examples.train).toEqual(examples);
    expect((await convert("sharegpt", { "train.jsonl": lines(...messages) })).examples.train).toEqual(examples);
  });

  it.each([
    [
      { instruction: "x", input: "甲和乙", output: "y" },
      'got the input "甲和乙", expected one that ends with ([甲],?,[乙])',
    ],
    [
      { instruction: "x", input: "[甲][乙] ([甲],?,[乙])", output: "收购" },
      'got the output "收购", expected "([甲],LABEL,[乙])"',
    ],
    [{ instruction: "x", input: "[甲][乙] ([甲],?,[乙])", output: "" }, "got an empty output"],
    [
      { instruction: "x", input: "[甲] ([甲],?,[乙])", output: "([甲],收购,[乙])" },
      'got the tail "乙", expected a part',
    ],
  ])("name the fault %#", async (bad, problem) => {
    await expect(convert("alpaca", { "train.json": JSON.stringify([bad]) })).rejects.toThrow(problem);
  });
});

describe("OpenNRE", () => {
  it("reads places in characters and in tokens", async () => {
    const rows = [
      { text: TEXT, h: { name: "甲公司", pos: [1, 4] }, t: { name: "乙", pos: [7, 8] }, relation: "收购" },
      { token: ["甲", "和", "乙"], h: { name: "甲", pos: [0, 1] }, t: { name: "乙", pos: [2, 3] }, relation: "NA" },
    ];
    const { examples, labels } = await convert("opennre", { "train.txt.jsonl": lines(...rows) });
    expect(triplesOf(examples.train)).toEqual(["甲公司 收购 乙", "甲 NA 乙"]);
    expect(examples.train[0].headSpan).toEqual({ start: 2, end: 5 });
    expect(labels.noRelation).toBe("NA");
  });

  it.each([
    [
      { text: TEXT, h: { name: "甲", pos: [5, 6] }, t: { name: "乙", pos: [7, 8] }, relation: "x" },
      "whose name is not at its place",
    ],
    [
      { text: TEXT, h: { name: "甲" }, t: { name: "乙", pos: [7, 8] }, relation: "x" },
      'as "h", expected {"name", "pos"',
    ],
    [{ text: TEXT, h: {}, t: {}, relation: 1 }, 'got 1 as "relation", expected a label'],
  ])("names the fault %#", async (bad, problem) => {
    await expect(convert("opennre", { "train.jsonl": lines(bad) })).rejects.toThrow(problem);
  });
});

describe("a JSON list of rows", () => {
  it("is read with the checks of JSONL", async () => {
    const rows = [{ sentence: "甲和乙", head: "甲", tail: "乙", relations: ["友"], id: "x" }];
    const { examples } = await convert("json", { "train.json": JSON.stringify(rows, null, 2) });
    expect(examples.train).toEqual(rows);
    const bad = `[\n{"sentence":"甲和乙","head":"甲",\n"tail":"丙","relations":["友"]}\n]`;
    await expect(convert("json", { "train.json": bad })).rejects.toThrow(/train\.json, line 2: got the tail "丙"/);
  });
});

describe("a wrong guess", () => {
  it("names what was seen and what it looks like", async () => {
    const files = { "train.json": lines({ text: "甲", spo_list: [] }) };
    const error: Error & { hint?: string } = await convert("spert", files).catch((thrown) => thrown);
    expect(error.message).toContain('line 1: got an object with "text", "spo_list", expected SpERT JSON: {"tokens"');
    expect(error.hint).toBe("The rows look like DuIE: --from duie");
  });

  it("names the files of a folder", async () => {
    const nothing = convert("spert", { "a.csv": "x" });
    await expect(nothing).rejects.toThrow(
      "has a.csv, expected SpERT JSON in files that end with .json, .jsonl, .ndjson.",
    );
    const twice = convert("spert", { "train.json": "[]", "a_train.json": "[]" });
    await expect(twice).rejects.toThrow("are both train by their names, expected one.");
    await expect(convert("spert", {}, { input: "no.json" })).rejects.toThrow("no.json: cannot be read (");
    await expect(convert("spert", { "train.json": "[]" })).rejects.toThrow("has no rows, expected SpERT JSON.");
    await expect(convert("duie", { "train.json": lines({ text: "甲", spo_list: [] }) })).rejects.toThrow(
      "The data has no relations, expected at least one label.",
    );
  });

  it.each<[string, string]>([
    ["[{}", "the list does not end, expected a whole JSON list."],
    ["[{} {}]", "expected JSON ("],
    ["[1,,2]", "got nothing between two commas, expected a row"],
    ['[{"a":1,"a":2}]', 'got the key "a" twice in one object, expected it once'],
    ["{", "expected JSON ("],
    ["3", "got 3, expected SpERT JSON"],
  ])("of %j is no crash", async (text, problem) => {
    await expect(convert("spert", { "train.json": text })).rejects.toThrow(problem);
  });

  it("is recognised by the keys of each format", () => {
    expect(recogniseRow({ tokens: [], entities: [] })).toBe("spert");
    expect(recogniseRow({ text: "", spo_list: [] })).toBe("duie");
    expect(recogniseRow({ text: "", entities: [] })).toBe("doccano");
    expect(recogniseRow({ data: {}, annotations: [] })).toBe("label-studio");
    expect(recogniseRow({ instruction: "", output: "" })).toBe("alpaca");
    expect(recogniseRow({ messages: [] })).toBe("sharegpt");
    expect(recogniseRow({ h: {}, t: {}, token: [] })).toBe("opennre");
    expect(recogniseRow({ sentence: "", head: "", tail: "" })).toBe("json");
    expect(recogniseRow({ x: 1 })).toBeNull();
    expect(LABELLED_FORMAT_NAMES.map((name) => LABELLED_FORMATS[name].title)).toHaveLength(10);
  });
});
