import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { readChineseNreSplit } from "./chinese-nre.ts";
import { type ConvertTarget, convertExamples } from "./convert.ts";
import type { Example } from "./example.ts";
import { readJsonl } from "./jsonl.ts";
import { createLabelSet } from "./label-set.ts";

const EXAMPLES: Example[] = [
  { sentence: "甲收购\t乙", head: "甲", tail: "乙", relations: ["收购", "无"], id: 3, headSpan: { start: 0, end: 1 } },
  { sentence: "丙和丁", head: "丙", tail: "丁", relations: ["无"] },
];
const LABELS = createLabelSet({ labels: ["收购", "无"], noRelation: "无" }, "labels");

async function linesOf(examples: Example[], target: ConvertTarget): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of convertExamples(examples, target)) lines.push(line);
  return lines;
}

describe("convertExamples", () => {
  it("writes Alpaca rows with the renderer's texts", async () => {
    const render = ({ head, tail, relations = [] }: Example) => ({
      output: relations.join(","),
      input: `${head}?${tail}`,
      instruction: "做",
    });
    expect(await linesOf(EXAMPLES, { format: "alpaca", render })).toEqual([
      '{"instruction":"做","input":"甲?乙","output":"收购,无"}',
      '{"instruction":"做","input":"丙?丁","output":"无"}',
    ]);
  });

  it("writes JSONL that reads back to the same examples", async () => {
    const lines = await linesOf(EXAMPLES, { format: "jsonl" });
    const back: (Example | null)[] = [];
    for await (const { example } of readJsonl(Readable.from([lines.join("\n")]))) back.push(example);
    expect(back).toEqual(EXAMPLES);
    expect(lines[1]).toBe('{"sentence":"丙和丁","head":"丙","tail":"丁","relations":["无"]}');
  });

  it("writes chinese-nre rows that merge back to the same examples", async () => {
    const lines = await linesOf(EXAMPLES, { format: "chinese-nre" });
    expect(lines).toEqual(["甲\t乙\t收购\t甲收购\t乙", "甲\t乙\t无\t甲收购\t乙", "丙\t丁\t无\t丙和丁"]);
    const directory = await mkdtemp(join(tmpdir(), "cre-convert-"));
    await writeFile(join(directory, "train.txt"), lines.join("\n"));
    const { examples } = await readChineseNreSplit(join(directory, "train.txt"), LABELS);
    await rm(directory, { recursive: true });
    expect(examples).toEqual(EXAMPLES.map(({ id: _, headSpan: __, ...rest }) => rest));
  });

  it.each([
    [{ sentence: "甲乙", head: "甲", tail: "乙" }, "example 1: has no relations, expected at least one"],
    [
      { sentence: " 甲乙", head: " 甲", tail: "乙", relations: ["无"] },
      'example 1: the head " 甲" has a TAB, a line break or outer',
    ],
    [{ sentence: "甲\t乙", head: "甲", tail: "\t乙", relations: ["无"] }, 'example 1: the tail "\\t乙" has a TAB'],
    [
      { sentence: "甲\n乙", head: "甲", tail: "乙", relations: ["无"] },
      'example 1: the sentence "甲\\n乙" has a line break',
    ],
    [{ sentence: "甲乙", head: "甲", tail: "乙", relations: ["a\tb"] }, 'example 1: the relation "a\\tb" has a TAB'],
  ])("refuses what chinese-nre cannot hold: %#", async (example, message) => {
    await expect(linesOf([example], { format: "chinese-nre" })).rejects.toThrow(message);
  });
});
