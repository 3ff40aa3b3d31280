import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readGold } from "./gold.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-gold-"));
afterAll(() => rmSync(folder, { recursive: true }));

let folders = 0;
function folderWith(files: Record<string, string>): string {
  const directory = join(folder, String(folders++));
  mkdirSync(directory);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  return directory;
}

const row = { sentence: "甲收购乙", head: "甲", tail: "乙", relations: ["收购"] };
const line = (value: unknown) => `${JSON.stringify(value)}\n`;
const nre = {
  "relation2id.txt": "unknown 0\n收购 1\n",
  "valid.txt": "甲\t乙\t收购\t甲收购乙\r\n甲\t乙\tunknown\t甲收购乙\n",
};

describe("gold of cre score", () => {
  it("JSONL without a label file: rows and no labels", async () => {
    const directory = folderWith({ "gold.jsonl": line(row) + line({ ...row, relations: ["并购"] }) });
    const gold = await readGold(join(directory, "gold.jsonl"), "test");
    expect(gold).toEqual({ examples: [row, { ...row, relations: ["并购"] }], labels: undefined });
  });

  it("JSONL with labels.json next to it: only its labels", async () => {
    const labels = JSON.stringify({ labels: ["none", "收购"], noRelation: "none" });
    const directory = folderWith({
      "gold.jsonl": line(row),
      "bad.jsonl": line({ ...row, relations: ["并购"] }),
      "labels.json": labels,
    });
    expect((await readGold(join(directory, "gold.jsonl"), "test")).labels).toMatchObject({ noRelation: "none" });
    await expect(readGold(join(directory, "bad.jsonl"), "test")).rejects.toThrow(
      'got the relation "并购", expected one of the 2',
    );
  });

  it("a split file of Chinese_NRE, and a split of a folder: rows of one input still apart", async () => {
    const directory = folderWith(nre);
    const expected = [
      { ...row, relations: ["收购"] },
      { ...row, relations: ["unknown"] },
    ];
    const ofFile = await readGold(join(directory, "valid.txt"), "test");
    expect(ofFile.examples).toEqual(expected);
    expect(ofFile.labels?.labels).toEqual(["unknown", "收购"]);
    expect((await readGold(directory, "valid")).examples).toEqual(expected);
    await expect(readGold(directory, "test")).rejects.toThrow("has no test split");
  });

  it("names every bad line, an empty file, a missing file and another ending", async () => {
    const directory = folderWith({
      "bad.jsonl": `${line(row)}{"sentence"\n${line({ ...row, relations: undefined })}`,
      "empty.jsonl": "",
      "gold.csv": "",
      "bytes.jsonl": "",
    });
    writeFileSync(join(directory, "bytes.jsonl"), Uint8Array.from([0xff, 0x0a]));
    const read = (name: string) => readGold(join(directory, name), "test");
    await expect(read("bad.jsonl")).rejects.toThrow(
      /2 of 3 rows cannot be used:[\s\S]*line 2: [\s\S]*line 3: got no "relations"/,
    );
    await expect(read("bytes.jsonl")).rejects.toThrow("line 1: the line is not valid UTF-8");
    await expect(read("empty.jsonl")).rejects.toThrow("is empty, expected at least one row");
    await expect(read("absent.jsonl")).rejects.toThrow("cannot be read");
    await expect(read("gold.csv")).rejects.toThrow("expected a data folder, a .jsonl file or a .txt file as gold");
  });
});
