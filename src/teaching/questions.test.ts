import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { labelSetFromJson } from "../data/label-set.ts";
import { chosenQuestions, readDocumentPairs, readRows } from "./questions.ts";
import { readReviewed } from "./review.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-questions-"));
afterAll(() => rmSync(folder, { recursive: true }));
const labels = labelSetFromJson({ labels: ["无", "收购"], noRelation: "无" }, "labels");
const row = { sentence: "甲收购乙", head: "甲", tail: "乙" };

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}
const lines = (...rows: object[]) => rows.map((one) => `${JSON.stringify(one)}\n`).join("");

describe("the questions", () => {
  it("are the rows of a file, each input once, without their own relations", async () => {
    const rows = file(
      "a.jsonl",
      lines({ ...row, id: 7, relations: ["别的"] }, row, { ...row, head: "乙", tail: "甲" }),
    );
    const { questions, counts } = await readRows(rows, undefined, labels, "stop");
    expect(questions[0]).toEqual({ example: { ...row, id: 7 }, mask: null });
    expect(counts).toEqual({ rows: 3, bad: 0, repeated: 1, labelled: 1, leftOut: 0 });
  });

  it("stop at bad rows, or leave them out and list them", async () => {
    const rows = file("bad.jsonl", `${lines(row)}{"sentence": 1}\n`);
    await expect(readRows(rows, undefined, labels, "stop")).rejects.toThrow(
      `${rows}: 1 of 2 rows cannot be used:\n  - ${rows}, line 2: got a number as "sentence"`,
    );
    const { counts, problems } = await readRows(rows, undefined, labels, "skip");
    expect([counts.bad, problems.length]).toEqual([1, 1]);
    const csv = file("rows.csv", "a,b\n");
    await expect(readRows(csv, undefined, labels, "skip")).rejects.toMatchObject({
      hint: "Is this the right --format? Documents need --entities.",
    });
    await expect(readRows(join(folder, "none"), undefined, labels, "stop")).rejects.toThrow("cannot be read");
  });

  it("are the training rows of a data folder of any format", async () => {
    const nre = join(folder, "nre");
    mkdirSync(nre);
    writeFileSync(join(nre, "relation2id.txt"), "unknown 0\n收购 1\n");
    writeFileSync(join(nre, "train.txt"), "甲\t乙\t收购\t甲收购乙\n");
    expect((await readRows(nre, undefined, labels, "stop")).questions).toEqual([{ example: row, mask: null }]);
    const own = join(folder, "own");
    mkdirSync(own);
    writeFileSync(join(own, "train.jsonl"), lines({ ...row, relations: ["没有的"] }));
    expect((await readRows(own, undefined, labels, "stop")).questions).toHaveLength(1);
  });

  it("are all pairs of the names that another program's file marks", async () => {
    const spert = {
      tokens: [..."甲收购乙和丙"],
      entities: [0, 3, 5].map((start) => ({ type: "公司", start, end: start + 1 })),
      relations: [{ type: "收购", head: 0, tail: 1 }],
    };
    const { questions } = await readRows(file("spert.json", JSON.stringify([spert])), "spert", labels, "stop");
    expect(questions.map(({ example: { head, tail } }) => head + tail)[0]).toBe("甲乙");
    expect(new Set(questions.map(({ example: { head, tail } }) => head + tail)).size).toBe(5);
  });

  it("are the pairs of documents, with the labels that their types allow", async () => {
    const typed = labelSetFromJson(
      { labels: ["无", "收购", "任职"], noRelation: "无", types: { 收购: [["公司", "公司"]], 任职: [["人", "公司"]] } },
      "labels",
    );
    const finder = {
      find: () => [
        { start: 0, end: 1, id: "1", name: "甲", type: "公司" },
        { start: 3, end: 4, id: "2", name: "乙", type: "公司" },
        { start: 5, end: 6, id: "3", name: "丙", type: "人" },
      ],
    };
    async function* documents() {
      yield { id: "a", text: "甲收购乙和丙", fields: {} };
      yield { bad: { id: "b", reason: "is empty" } };
    }
    const settings = { window: 1, maxPairs: 10, maxCharacters: 100 };
    const { questions, pairs, counts } = await readDocumentPairs(documents(), finder, typed, settings);
    expect(
      questions.map(({ example, mask, document }) => [example.head, example.tail, mask?.join(""), document]),
    ).toEqual([
      // The nearest first; of 乙 and 丙 only the order in which 丙 may work for 乙.
      ["丙", "乙", "101", "a"],
      ["甲", "乙", "110", "a"],
      ["乙", "甲", "110", "a"],
      ["丙", "甲", "101", "a"],
    ]);
    expect(pairs).toMatchObject({ documents: 1, badDocuments: 1 });
    expect(counts.bad).toBe(1);
  });

  it("may be some of them, by the seed", async () => {
    const many = Array.from({ length: 50 }, (_, i) => ({ ...row, sentence: `${i}甲收购乙` }));
    const read = await readRows(file("many.jsonl", lines(...many)), undefined, labels, "stop");
    const some = chosenQuestions(read, 5, 1);
    expect(some.counts.leftOut).toBe(45);
    expect(some.questions).toEqual(chosenQuestions(read, 5, 1).questions);
    expect(some.questions).not.toEqual(chosenQuestions(read, 5, 2).questions);
    expect(some.questions).not.toEqual(read.questions.slice(0, 5));
    expect(chosenQuestions(read, 50, 1)).toBe(read);
  });
});

describe("reviewed rows", () => {
  it("belong to rows of the same names; places count where both have them", async () => {
    const span = (start: number) => ({ start, end: start + 1 });
    const sentence = "甲收购乙，甲放弃乙";
    const rows = [
      { sentence, head: "甲", tail: "乙", headSpan: span(0), tailSpan: span(3), relations: ["收购"] },
      { sentence, head: "甲", tail: "乙", headSpan: span(5), tailSpan: span(8), relations: ["无"] },
      { ...row, relations: ["收购"] },
    ];
    const reviewed = await readReviewed([file("reviewed.jsonl", lines(...rows))], labels);
    expect(reviewed.count).toBe(3);
    expect(reviewed.of({ sentence, head: "甲", tail: "乙", headSpan: span(5), tailSpan: span(8) })).toEqual(["无"]);
    expect(reviewed.of({ ...row, headSpan: span(0) })).toEqual(["收购"]);
    expect(reviewed.of({ ...row, tail: "购" })).toBeNull();
    await expect(readReviewed([file("empty.jsonl", "")], labels)).rejects.toThrow(
      "is empty, expected rows that a person",
    );
  });
});
