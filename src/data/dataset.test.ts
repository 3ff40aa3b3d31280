import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UserErrors } from "../base/errors.ts";
import { noSplits, openDataset } from "./dataset.ts";
import { copyWithoutRows } from "./without-rows.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "cre-data-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

let folders = 0;
async function folderWith(files: Record<string, string | Uint8Array>): Promise<string> {
  const directory = join(root, `set${folders++}`);
  await mkdir(directory);
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
  return directory;
}

const RELATIONS = "unknown 0\r\n收购 1\r\n被收购 2";
const LABELS = JSON.stringify({ labels: ["收购", "无"], noRelation: "无" });

describe("a chinese-nre folder", () => {
  it("skips blank lines, takes CRLF and outer spaces, keeps further TABs in the sentence", async () => {
    const train = "\n 甲 \t乙\t 收购 \t甲收购乙\t。 \r\n\r\n  \r\n乙\t甲\t被收购\t 甲收购乙";
    const dataset = await openDataset(await folderWith({ "relation2id.txt": RELATIONS, "train.txt": train }));
    expect(dataset.format).toBe("chinese-nre");
    expect(dataset.splitNames).toEqual(["train"]);
    const { examples, counts } = await dataset.split("train");
    expect(examples).toEqual([
      { sentence: "甲收购乙\t。 ", head: "甲", tail: "乙", relations: ["收购"] },
      { sentence: " 甲收购乙", head: "乙", tail: "甲", relations: ["被收购"] },
    ]);
    expect(counts).toEqual({ rows: 2, badRows: 0, merged: 0, exactDuplicates: 0, examples: 2 });
  });

  it("merges rows with the same input in file order and keeps repeats", async () => {
    const rows = [
      "甲\t乙\t收购\t甲乙",
      "乙\t甲\t收购\t甲乙",
      "甲\t乙\tunknown\t甲乙",
      "甲\t乙\t收购\t甲乙",
      "甲\t乙\t收购\t甲乙。",
    ];
    const dataset = await openDataset(await folderWith({ "relation2id.txt": RELATIONS, "test.txt": rows.join("\n") }));
    const { examples, counts } = await dataset.split("test");
    expect(examples.map((example) => example.relations)).toEqual([["收购", "unknown", "收购"], ["收购"], ["收购"]]);
    expect(counts).toEqual({ rows: 5, badRows: 0, merged: 2, exactDuplicates: 1, examples: 3 });
  });

  it("stops at bad rows and says where, what came and what was expected", async () => {
    const rows = [
      "甲\t乙\t收购\t甲收购乙",
      "甲 乙 收购",
      "丙\t乙\t收购\t甲收购乙",
      "甲\t乙\t买\t甲收购乙",
      "\t乙\t收购\t甲收购乙",
      "甲\t乙\t收购",
    ];
    const directory = await folderWith({ "relation2id.txt": RELATIONS, "train.txt": rows.join("\n") });
    const file = join(directory, "train.txt");
    const dataset = await openDataset(directory);
    const error = await dataset.split("train").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserErrors);
    expect((error as UserErrors).message.split("\n")).toEqual([
      `${file}: 5 of 6 rows cannot be used:`,
      `  - ${file}, line 2: got 1 column in "甲 乙 收购", expected head, tail, relation and sentence with TABs between them.`,
      `  - ${file}, line 3: got the head "丙", expected a part of the sentence "甲收购乙".`,
      `  - ${file}, line 4: got the relation "买", expected one of relation2id.txt.`,
      `  - ${file}, line 5: got an empty head, expected text.`,
      `  - ${file}, line 6: got 3 columns in "甲\\t乙\\t收购", expected head, tail, relation and sentence with TABs between them.`,
    ]);
    expect((error as UserErrors).hint).toContain("--skip-bad");
    const { examples, badRows, counts } = await dataset.split("train", { onBadRow: "skip" });
    expect(examples).toHaveLength(1);
    expect(badRows.map((row) => row.line)).toEqual([2, 3, 4, 5, 6]);
    expect(counts).toEqual({ rows: 6, badRows: 5, merged: 0, exactDuplicates: 0, examples: 1 });
  });

  it("shows the first 20 bad rows, and stops even when skipping if no row is good", async () => {
    const dataset = await openDataset(
      await folderWith({
        "relation2id.txt": RELATIONS,
        "train.txt": "甲乙\n".repeat(1500),
        "valid.txt": "x\n甲\t乙\tunknown\t甲乙",
      }),
    );
    const error = (await dataset.split("train", { onBadRow: "skip" }).catch((e: unknown) => e)) as UserErrors;
    expect(error.problems).toHaveLength(21);
    expect(error.problems[20]).toBe("… and 1480 more");
    expect(error.hint).toBe("Is this the right format?");
    expect((await dataset.split("valid", { onBadRow: "skip" })).counts.badRows).toBe(1);
  });

  it("reports rows that are too long or not UTF-8 with their line", async () => {
    const rows = Buffer.concat([
      Buffer.from(`甲\t乙\tunknown\t甲${"长".repeat(400_000)}乙\n甲\t乙\tunknown\t甲乙\n`),
      Buffer.from([0xff, 0xfe, 10]),
    ]);
    const dataset = await openDataset(await folderWith({ "relation2id.txt": RELATIONS, "train.txt": rows }));
    const { badRows } = await dataset.split("train", { onBadRow: "skip" });
    expect(badRows.map(({ line, problem }) => [line, problem])).toEqual([
      [1, "the line has 1200022 bytes, expected at most 1000000"],
      [3, "the line is not valid UTF-8"],
    ]);
    const { counts } = await dataset.split("train", { onBadRow: "skip", maxRowBytes: 2_000_000 });
    expect(counts.badRows).toBe(1);
  });
});

describe("a JSONL folder", () => {
  const equal = [
    { id: 1, sentence: "甲收购乙", head: "甲", tail: "乙", relations: ["收购"], headSpan: [0, 1] },
    { id: 2, sentence: "甲收购乙", head: "乙", tail: "甲", relations: ["无"] },
    { id: 3, sentence: "甲收购乙", head: "甲", tail: "乙", relations: ["无"], headSpan: { start: 0, end: 1 } },
    { id: 4, sentence: "甲收购乙", head: "甲", tail: "乙", relations: ["收购"], headSpan: { start: 0, end: 1 } },
    { id: 5, sentence: "甲收购乙", head: "甲", tail: "乙", relations: ["收购"] },
  ];
  const equalRows = () =>
    folderWith({ "labels.json": LABELS, "train.jsonl": equal.map((row) => JSON.stringify(row)).join("\r\n") });

  it("merges rows with the same texts and places in file order and keeps repeats", async () => {
    const dataset = await openDataset(await equalRows());
    expect(dataset.format).toBe("jsonl");
    expect(dataset.labels.noRelation).toBe("无");
    const { examples, counts } = await dataset.split("train");
    expect(examples.map(({ id, relations }) => [id, relations])).toEqual([
      [1, ["收购", "无", "收购"]],
      [2, ["无"]],
      [5, ["收购"]],
    ]);
    expect(counts).toEqual({ rows: 5, badRows: 0, merged: 2, exactDuplicates: 1, examples: 3 });
  });

  it("keeps them apart on request", async () => {
    const { examples, counts } = await (await openDataset(await equalRows())).split("train", { equalRows: "keep" });
    expect(examples.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
    expect(counts).toEqual({ rows: 5, badRows: 0, merged: 0, exactDuplicates: 1, examples: 5 });
  });

  it.each([
    ["dev.jsonl", "valid", "dev.jsonl is not read; rename it to valid.jsonl."],
    ["val.json", "valid", "val.json is not read; write its rows to valid.jsonl, one JSON object a line."],
    ["train.json", "train", "train.json is not read; write its rows to train.jsonl, one JSON object a line."],
    ["Train.JSONL", "train", "Train.JSONL is not read; rename it to train.jsonl."],
    ["finre_test.csv", "test", "finre_test.csv is not read; write its rows to test.jsonl, one JSON object a line."],
  ] as const)("names %s when there is no %s split", async (name, split, hint) => {
    const dataset = await openDataset(await folderWith({ "labels.json": LABELS, [name]: "" }));
    expect(dataset.nearSplit(split)).toBe(hint);
    await expect(dataset.split(split)).rejects.toMatchObject({ hint });
    expect(noSplits(dataset)).toMatchObject({
      message: expect.stringContaining("has no split, expected one of"),
      hint,
    });
    const row = JSON.stringify({ sentence: "甲乙", head: "甲", tail: "乙", relations: ["无"] });
    const present = split === "test" ? "train" : "test";
    const half = await folderWith({ "labels.json": LABELS, [name]: "", [`${present}.jsonl`]: row });
    expect((await openDataset(half)).nearSplit(split)).toBe(hint);
    expect((await openDataset(half)).nearSplit(present)).toBe(null);
  });

  it("gives a notice for a label that may mean no relation and is not declared", async () => {
    const noticesOf = async (labels: unknown) =>
      (await openDataset(await folderWith({ "labels.json": JSON.stringify(labels), "train.jsonl": "" }))).notices;
    for (const name of ["无关系", "NA", "N/A", "no_relation", "None", "Other", "其他", "无", "unknown", "ＮＡ"]) {
      expect(await noticesOf({ labels: ["收购", name] })).toEqual([
        expect.stringContaining(`labels.json: the label "${name}" counts as a relation; write "noRelation": "${name}"`),
      ]);
    }
    expect(await noticesOf({ labels: ["收购", "NA"], noRelation: null })).toEqual([]);
    expect(await noticesOf({ labels: ["其他", "NA"], noRelation: "NA" })).toEqual([]);
    expect(await noticesOf({ labels: ["收购", "合作"] })).toEqual([]);
    const nre = await folderWith({ "relation2id.txt": "NA 0\n收购 1", "train.txt": "" });
    expect((await openDataset(nre)).notices[0]).toMatch(
      /relation2id.txt: the label "NA" .* only "unknown" means no relation/,
    );
  });

  it("stops at a row without relations", async () => {
    const row = JSON.stringify({ sentence: "甲乙", head: "甲", tail: "乙" });
    const dataset = await openDataset(await folderWith({ "labels.json": LABELS, "train.jsonl": row }));
    await expect(dataset.split("train")).rejects.toThrow(/line 1: got no "relations", expected a list of labels\./);
  });
});

describe("openDataset", () => {
  it("names what is missing and what is there", async () => {
    const nre = await folderWith({ "relation2id.txt": RELATIONS, "train.txt": " \n\r\n", README: "" });
    const dataset = await openDataset(nre);
    await expect(dataset.split("test")).rejects.toThrow(
      `${nre}: has no test split, expected test.txt; the files there are README, relation2id.txt, train.txt.`,
    );
    await expect(dataset.split("train")).rejects.toThrow(
      `${join(nre, "train.txt")}: is empty, expected at least one row.`,
    );
    const empty = await folderWith({});
    await expect(openDataset(empty)).rejects.toThrow(
      `${empty}: is no folder of examples; the folder is empty, expected`,
    );
    await expect(openDataset(join(root, "absent"))).rejects.toThrow(/absent: cannot be read as a folder \(ENOENT/);
    const noLabels = await folderWith({ "train.jsonl": "{}" });
    await expect(openDataset(noLabels)).rejects.toThrow(
      `${join(noLabels, "labels.json")}: is missing; the files there are train.jsonl.`,
    );
    await expect(openDataset(noLabels, { format: "chinese-nre" })).rejects.toThrow(/relation2id\.txt: is missing/);
    const blank = await folderWith({ "labels.json": " \n" });
    await expect(openDataset(blank)).rejects.toThrow("labels.json: is empty, expected the list of labels.");
    const many = await folderWith(Object.fromEntries(Array.from({ length: 23 }, (_, i) => [`f${i}`, ""])));
    await expect(openDataset(many)).rejects.toThrow("and 3 more, expected train.txt");
    const files = Buffer.from([0xb8, 0xf1]);
    const notUtf8 = await folderWith({ "relation2id.txt": files });
    await expect(openDataset(notUtf8)).rejects.toThrow("relation2id.txt, line 1: is not valid UTF-8.");
  });

  it("asks which format is meant when there are two, and takes the caller's labels", async () => {
    const row = JSON.stringify({ sentence: "甲乙", head: "甲", tail: "乙", relations: ["别"] });
    const both = await folderWith({ "relation2id.txt": RELATIONS, "train.jsonl": row });
    await expect(openDataset(both)).rejects.toThrow(
      `${both}: has relation2id.txt and JSONL files, expected one format.`,
    );
    const labels = { labels: ["别"], noRelation: null, inverses: new Map<string, string>() };
    const dataset = await openDataset(both, { format: "jsonl", labels });
    expect((await dataset.split("train")).examples[0].relations).toEqual(["别"]);
  });
});

const shared = join(import.meta.dirname, "../../../shared/data");
if (!existsSync(shared)) console.warn(`skipped: the published data are not at ${shared}`);

/** Counts of the published files (docs/method.md): rows, examples, `unknown` only, more than one relation. */
const PUBLISHED = [
  ["finre", "train", 13_486, 12_294, 3_329, 1_150, 6],
  ["finre", "valid", 1_489, 1_353, 354, 134, 0],
  ["finre", "test", 3_727, 3_359, 917, 360, 2],
  ["sanwen", "train", 17_227, 17_092, 4_569, 56, 79],
  ["sanwen", "valid", 1_793, 1_786, 504, 6, 1],
  ["sanwen", "test", 2_220, 2_205, 646, 14, 1],
] as const;

describe.skipIf(!existsSync(shared))("the published data", () => {
  it.each(PUBLISHED)("%s %s has the known counts", async (set, name, rows, merged, unknownOnly, multi, exact) => {
    const dataset = await openDataset(join(shared, set));
    const { examples, counts, badRows } = await dataset.split(name);
    const distinct = examples.map((example) => new Set(example.relations));
    expect(counts).toEqual({ rows, badRows: 0, merged: rows - merged, exactDuplicates: exact, examples: merged });
    expect(badRows).toEqual([]);
    expect(distinct.filter((labels) => labels.size === 1 && labels.has("unknown"))).toHaveLength(unknownOnly);
    expect(distinct.filter((labels) => labels.size > 1)).toHaveLength(multi);
  });

  it("FinRE has 44 labels, all with an inverse; SanWen 10, none", async () => {
    const finre = await openDataset(join(shared, "finre"));
    expect([finre.labels.labels.length, finre.labels.inverses.size]).toEqual([44, 44]);
    expect(finre.labels.labels.slice(-2)).toEqual(["被入股", "被拟收购"]);
    const sanwen = await openDataset(join(shared, "sanwen"));
    expect([sanwen.labels.labels.length, sanwen.labels.inverses.size]).toEqual([10, 0]);
  });
});

describe("a folder of pairs that another program wrote", () => {
  const row = (relation: string) => ({
    text: "甲收购乙",
    h: { name: "甲", pos: [0, 1] },
    t: { name: "乙", pos: [3, 4] },
    relation,
  });
  const lines = (...rows: unknown[]) => rows.map((one) => JSON.stringify(one)).join("\n");

  it("has the labels of its rows, and says so", async () => {
    const files = { "train.json": lines(row("收购"), row("合作")), "test.json": lines(row("NA")) };
    const directory = await folderWith(files);
    const dataset = await openDataset(directory, { format: "opennre" });
    expect(dataset.labels).toMatchObject({ labels: ["收购", "合作", "NA"], noRelation: "NA" });
    expect(dataset.notices).toEqual([
      `${directory}: has no labels.json; its rows have 3 labels, "NA" means no relation, and no inverse labels are known.`,
    ]);
    const { examples, counts } = await dataset.split("train");
    expect(counts).toMatchObject({ rows: 2, merged: 1, examples: 1 });
    expect(examples[0]).toMatchObject({ head: "甲", relations: ["收购", "合作"], headSpan: { start: 0, end: 1 } });
  });

  it("keeps to labels.json when there is one, and normalises", async () => {
    const labels = JSON.stringify({ labels: ["收购", "无"], noRelation: "无" });
    const full = [{ sentence: "Ａ收购乙", head: "Ａ", tail: "乙", relations: ["收购"] }];
    const folder = await folderWith({ "labels.json": labels, "train.json": JSON.stringify(full) });
    const dataset = await openDataset(folder, { format: "json", normalize: "nfkc" });
    expect(dataset.notices).toEqual([]);
    expect((await dataset.split("train")).examples[0]).toMatchObject({ sentence: "A收购乙", head: "A" });
    const other = await folderWith({ "labels.json": labels, "train.jsonl": lines(row("收够"), row("收购"), { x: 1 }) });
    const split = openDataset(other, { format: "opennre" }).then((one) => one.split("train"));
    await expect(split).rejects.toThrow(
      'line 1: got the relation "收够", expected one of the 2 labels (did you mean "收购"?).',
    );
    await expect(split).rejects.toThrow('line 3: got an object with "x", expected OpenNRE JSONL');
  });

  it("cannot be copied without rows", async () => {
    const folder = await folderWith({ "train.json": lines(row("收购")) });
    const dataset = await openDataset(folder, { format: "opennre" });
    const copy = copyWithoutRows(dataset, "train", [], join(root, "copy-of-pairs"));
    await expect(copy).rejects.toThrow(`${folder}: is opennre, expected jsonl or chinese-nre to copy it without rows.`);
  });
});
