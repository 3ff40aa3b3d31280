import { Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type JsonlLine, type JsonlOptions, readJsonl } from "./jsonl.ts";
import { createLabelSet } from "./label-set.ts";

async function read(text: string | Buffer, options: JsonlOptions = {}): Promise<JsonlLine[]> {
  const lines: JsonlLine[] = [];
  for await (const line of readJsonl(Readable.from([Buffer.from(text)]), options)) lines.push(line);
  return lines;
}

const GOOD = { sentence: "甲收购乙", head: "甲", tail: "乙" };
const LABELS = createLabelSet({ labels: ["收购", "被收购", "无"], noRelation: "无" }, "labels");

describe("readJsonl", () => {
  it("yields examples with the object they came from, skipping blank lines and a byte-order mark", async () => {
    const object = {
      ...GOOD,
      id: "a1",
      headSpan: [0, 1],
      tailSpan: { start: 3, end: 4 },
      relations: ["收购"],
      source: { page: 3 },
    };
    const lines = await read(`\ufeff${JSON.stringify(object)}\r\n\n  \n${JSON.stringify(GOOD)}`);
    expect(lines).toMatchObject([
      {
        line: 1,
        problem: null,
        object,
        example: {
          ...GOOD,
          id: "a1",
          relations: ["收购"],
          headSpan: { start: 0, end: 1 },
          tailSpan: { start: 3, end: 4 },
        },
      },
      { line: 4, problem: null, object: GOOD, example: GOOD },
    ]);
  });

  it("takes null for what is not given", async () => {
    const [line] = await read(JSON.stringify({ ...GOOD, headSpan: null, tailSpan: null, relations: null, id: null }));
    expect(line.example).toEqual(GOOD);
  });

  it("keeps the fields as they were written", async () => {
    const text =
      '{"id": 7311234567890123457, "x": [ 1.0, {"y": 9007199254740993} ], "t": "\\u4e2d\\n", "sentence":"甲乙","head":"甲","tail":"乙"}';
    const [line] = await read(text);
    expect(line.example?.id).toBe(7311234567890123457n);
    const members = line.problem === null ? Object.fromEntries(line.members) : {};
    expect(members).toMatchObject({ id: "7311234567890123457", x: '[1.0,{"y":9007199254740993}]', t: '"中\\n"' });
  });

  const deep = `{"sentence":"甲乙","head":"甲","tail":"乙","x":${"[".repeat(200)}${"]".repeat(200)}}`;
  it.each([
    ["{", 'got "{", expected a JSON object (', {}],
    ["[1]", 'got "[1]", expected a JSON object {"sentence", "head", "tail"}', {}],
    ['{"a":{"b":1,"b":2}}', 'got the key "b" twice in one object, expected it once', {}],
    [JSON.stringify(GOOD).replace("{", '{"id":1e400,'), 'got the number 1e400 as "id", which a double cannot hold', {}],
    ["null", 'got "null", expected a JSON object {"sentence", "head", "tail"}', {}],
    [deep, "got an object nested deeper than 100 levels", {}],
    ['{"sentense":"甲"}', 'got no "sentence", expected a text (there is "sentense")', {}],
    ['{"sentence":5}', 'got a number as "sentence", expected a text', {}],
    ['{"sentence":["甲"]}', 'got a list as "sentence", expected a text', {}],
    ['{"sentence":"甲","head":null}', 'got null as "head", expected a text', {}],
    ['{"sentence":"甲","head":{}}', 'got an object as "head", expected a text', {}],
    [JSON.stringify({ ...GOOD, tail: "丙" }), 'got the tail "丙", expected a part of the sentence "甲收购乙"', {}],
    [
      JSON.stringify({ ...GOOD, headSpan: [0, 1.5] }),
      'got "[0,1.5]" as "headSpan", expected {"start": 0, "end": 2} or [0, 2]',
      {},
    ],
    [JSON.stringify({ ...GOOD, tailSpan: 3 }), 'got "3" as "tailSpan", expected {"start": 0, "end": 2} or [0, 2]', {}],
    [JSON.stringify({ ...GOOD, tailSpan: [2, 4] }), 'got the tail span [2, 4), which is "购乙", expected "乙"', {}],
    [JSON.stringify({ ...GOOD, id: [1] }), 'got a list as "id", expected a text or a number', {}],
    [JSON.stringify({ ...GOOD, relations: "收购" }), 'got "\\"收购\\"" as "relations", expected a list of labels', {}],
    [JSON.stringify({ ...GOOD, relations: Array(1001).fill("x") }), "got 1001 relations, expected at most 1000", {}],
    [
      JSON.stringify({ ...GOOD, relations: ["收购", "被收够"] }),
      'got the relation "被收够", expected one of the 3 labels (did you mean "被收购"?)',
      { labels: LABELS },
    ],
    [JSON.stringify(GOOD), 'got no "relations", expected a list of labels', { requireRelations: true }],
    [
      JSON.stringify({ ...GOOD, relations: [] }),
      'got an empty list of "relations", expected at least one label (the one for no relation, if none holds)',
      { requireRelations: true },
    ],
    [`{"sentence":"${"长".repeat(400)}"}`, "the line has 1215 bytes, expected at most 1000", { maxRowBytes: 1000 }],
  ])("names the problem of bad line %#", async (text, problem, options) => {
    const [line] = await read(text, options);
    expect(line.example).toBeNull();
    expect(line.problem).toContain(problem);
  });

  it("continues after a bad line and keeps the object where there is one", async () => {
    const lines = await read(
      Buffer.concat([Buffer.from([0xff, 10]), Buffer.from(`{"id":7}\n${JSON.stringify(GOOD)}\n`)]),
    );
    expect(lines.map((line) => [line.line, line.problem === null, line.object])).toEqual([
      [1, false, null],
      [2, false, { id: 7 }],
      [3, true, GOOD],
    ]);
    expect(lines[0].problem).toBe("the line is not valid UTF-8");
  });

  it("refuses a row of more than 1 MB by default", async () => {
    const [line] = await read(JSON.stringify({ ...GOOD, note: "x".repeat(1_000_000) }));
    expect(line.problem).toMatch(/^the line has \d+ bytes, expected at most 1000000$/);
  });

  it("reads any example that JSON can write", async () => {
    const entity = fc.string({ unit: "grapheme", minLength: 1 }).filter((text) => text.trim() !== "");
    await fc.assert(
      fc.asyncProperty(entity, entity, fc.string({ unit: "grapheme" }), async (head, tail, filler) => {
        const sentence = `${filler}${head}${filler}${tail}`;
        const start = filler.length;
        const example = { sentence, head, tail, headSpan: { start, end: start + head.length } };
        const [line] = await read(JSON.stringify(example));
        expect(line.problem).toBeNull();
        expect(line.example).toEqual(example);
      }),
    );
  });

  it("says when a file cannot be read", async () => {
    const lines = readJsonl("/no/such/file.jsonl");
    await expect(lines.next()).rejects.toThrow("/no/such/file.jsonl: cannot be read");
  });
});
