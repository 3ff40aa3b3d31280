import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { temporaryFolder } from "../../test/e2e/support.ts";
import { openDataset } from "./dataset.ts";
import { copyWithoutRows } from "./without-rows.ts";

const temporary = temporaryFolder("without-rows");
afterAll(() => temporary.remove());
let folders = 0;

function folder(files: Record<string, string | Buffer>): string {
  const directory = join(temporary.path, `data-${folders++}`);
  mkdirSync(directory);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  return directory;
}
const output = () => join(temporary.path, `copy-${folders++}`);
const read = (directory: string, name: string) => readFileSync(join(directory, name), "utf8");

const LABELS = JSON.stringify({ labels: ["unknown", "收购"], noRelation: "unknown" });
const LINES = [
  '{"id": 12345678901234567890, "sentence": "甲收购乙", "head": "甲", "tail": "乙", "relations": ["收购"], "source": "报纸"}',
  '{"sentence":"丙和丁","head":"丙","tail":"丁","relations":["unknown"]}',
  "",
  '{"sentence":"坏行","head":"没有","tail":"丁","relations":["unknown"]}',
  '{"sentence":"丙和丁","head":"丙","tail":"丁","relations":["收购"]}',
];

describe("a copy of a data folder without rows", () => {
  it("keeps every other line as it is, and the other files", async () => {
    const files = { "train.jsonl": `${LINES.join("\n")}\n`, "test.jsonl": `${LINES[0]}\n`, "labels.json": LABELS };
    const directory = folder({ ...files, LICENSE: "MIT\n", "README.md": "notes", "other.jsonl": "x" });
    const dataset = await openDataset(directory);
    const { examples } = await dataset.split("train", { onBadRow: "skip" });
    expect(examples).toHaveLength(2);
    const copy = output();
    // The second example is two lines with equal input.
    expect(await copyWithoutRows(dataset, "train", [examples[1]], copy)).toEqual({
      lines: 4,
      leftOut: 2,
      unreadable: 0,
    });
    expect(read(copy, "train.jsonl")).toBe(`${LINES[0]}\n\n${LINES[3]}\n`);
    expect(readdirSync(copy).sort()).toEqual(["LICENSE", "labels.json", "test.jsonl", "train.jsonl"]);
    expect(read(copy, "test.jsonl")).toBe(files["test.jsonl"]);
    const again = await (await openDataset(copy)).split("train", { onBadRow: "skip" });
    expect(again.examples).toEqual([examples[0]]);
  });

  it("does so in the format of Chinese_NRE", async () => {
    const lines = ["甲\t乙\tunknown\t甲和乙", "丙\t丁\tunknown\t丙和丁", "甲\t乙\t收购\t甲和乙"];
    const directory = folder({ "train.txt": `${lines.join("\r\n")}\r\n`, "relation2id.txt": "unknown 0\n收购 1\n" });
    const dataset = await openDataset(directory);
    const { examples } = await dataset.split("train");
    const copy = output();
    expect(await copyWithoutRows(dataset, "train", [examples[0]], copy)).toEqual({
      lines: 3,
      leftOut: 2,
      unreadable: 0,
    });
    expect(read(copy, "train.txt")).toBe(`${lines[1]}\n`);
    expect((await (await openDataset(copy)).split("train")).examples).toEqual([examples[1]]);
  });

  it("counts lines that cannot be copied, and finds normalised rows", async () => {
    const bad = Buffer.concat([
      Buffer.from(`${LINES[1]}\n`),
      Buffer.from([0xff, 10]),
      Buffer.from(LINES[0].replace("甲收购乙", "甲收购乙Ａ")),
    ]);
    const directory = folder({ "train.jsonl": bad, "labels.json": LABELS });
    const dataset = await openDataset(directory, { normalize: "nfkc" });
    const { examples } = await dataset.split("train", { onBadRow: "skip" });
    expect(examples[1].sentence).toBe("甲收购乙A");
    const copy = output();
    const counts = await copyWithoutRows(dataset, "train", [examples[1]], copy, "nfkc");
    expect(counts).toEqual({ lines: 3, leftOut: 1, unreadable: 1 });
    expect(read(copy, "train.jsonl")).toBe(`${LINES[1]}\n`);
  });

  it("refuses the folder itself, a folder with files, and to leave nothing", async () => {
    const directory = folder({ "train.jsonl": `${LINES[0]}\n`, "labels.json": LABELS });
    const dataset = await openDataset(directory);
    const { examples } = await dataset.split("train");
    await expect(copyWithoutRows(dataset, "train", examples, directory)).rejects.toThrow("is the data folder itself");
    const other = folder({ "a.txt": "" });
    await expect(copyWithoutRows(dataset, "train", [], other)).rejects.toThrow("is not empty (it has a.txt)");
    const never = output();
    await expect(copyWithoutRows(dataset, "train", examples, never)).rejects.toThrow("no row would be left");
    expect(existsSync(never)).toBe(false);
  });
});
