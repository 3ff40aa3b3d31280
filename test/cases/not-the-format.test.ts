import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cre, jsonl, temporaryFolder, toyRows } from "../e2e/support.ts";
import { expectMistake, HANG_MS, mistake } from "./outcome.ts";
import { dataFolder, type ToyRuns, toyRuns } from "./toy-runs.ts";

// Case B03: a file of which not one row can be used is a mistake, and what was expected is said once.

const temporary = temporaryFolder("format");
const file = (name: string) => join(temporary.path, name);
let toys: ToyRuns;

beforeAll(async () => {
  toys = await toyRuns();
}, 120_000);
afterAll(() => temporary.remove());

const ROWS = toyRows(3, 1);
/** "甲公司收购了乙公司。" with its entities, in GB18030. */
const GBK_LINE = Buffer.concat([
  Buffer.from('{"sentence": "'),
  Buffer.from("bcd7b9abcbbecad5b9bac1cbd2d2b9abcbbea1a3", "hex"),
  Buffer.from('", "head": "'),
  Buffer.from("bcd7b9abcbbe", "hex"),
  Buffer.from('", "tail": "'),
  Buffer.from("d2d2b9abcbbe", "hex"),
  Buffer.from('", "relations": ["'),
  Buffer.from("cad5b9ba", "hex"),
  Buffer.from('"]}\n'),
]);
const csv = ROWS.map(({ sentence, head, tail }) => `${sentence},${head},${tail}`).join("\n");

/** Files that people give where JSONL is expected, and what the message must say of each. */
const FILES: { name: string; content: string | Buffer; says: RegExp }[] = [
  { name: "array.json", content: JSON.stringify(ROWS, null, 2), says: /array|one (JSON )?object (a|per) line/i },
  { name: "array-in-one-line.json", content: JSON.stringify(ROWS), says: /array|one (JSON )?object (a|per) line/i },
  { name: "pretty.json", content: JSON.stringify(ROWS[0], null, 2), says: /one (JSON )?object (a|per) line/i },
  { name: "table.csv", content: `sentence,head,tail\n${csv}\n`, says: /CSV|JSONL|format/i },
  { name: "table.tsv", content: `sentence\thead\ttail\n${csv.replaceAll(",", "\t")}\n`, says: /TSV|JSONL|format/i },
  { name: "gbk.jsonl", content: GBK_LINE, says: /iconv -f GB18030/ },
  { name: "rows.jsonl.gz", content: gzipSync(jsonl(ROWS)), says: /gzip|gunzip|compressed/i },
  { name: "utf16.jsonl", content: Buffer.from(`\ufeff${jsonl(ROWS)}`, "utf16le"), says: /UTF-16|iconv/i },
  { name: "rows.zip", content: Buffer.from("504b0304140000000800", "hex"), says: /zip|JSONL|format/i },
  { name: "other-keys.jsonl", content: jsonl([{ text: "甲收购乙。", h: "甲", t: "乙" }]), says: /"sentence"/ },
];

describe.each(FILES)("$name instead of JSONL", ({ name, content, says }) => {
  const path = file(name);
  beforeAll(() => writeFileSync(path, content));

  /** One message, which may list the first bad lines. */
  const expectOnce = (stderr: string, lines = 25) => {
    expect(stderr.match(/^error: /gm), stderr).toHaveLength(1);
    expect(stderr.trimEnd().split("\n").length, stderr).toBeLessThanOrEqual(lines);
  };

  it("is refused by extract, to standard output and to a file, from a file and from a pipe", async () => {
    expectOnce((await mistake(["extract", toys.run, path], [says])).stderr);
    const output = file(`${name}.out`);
    expectOnce((await mistake(["extract", toys.run, path, "--output", output], [says])).stderr);
    await mistake(["extract", toys.run, "-"], [says], { input: Buffer.from(content) });
  });

  it("is refused by score, as predictions and as gold", async () => {
    expectOnce((await mistake(["score", path], [path])).stderr);
    const predictions = file(`${name}.predictions`);
    writeFileSync(predictions, jsonl(ROWS.map((row) => ({ ...row, predictions: [] }))));
    expectOnce((await mistake(["score", predictions, "--gold", path], [path])).stderr);
  });

  it("is refused as a split, also when bad rows are skipped", async () => {
    const folder = dataFolder(file(`${name}.data`), { test: content as Buffer, train: content as Buffer });
    for (const command of [
      ["data", "stats", folder],
      ["data", "stats", folder, "--skip-bad"],
      ["data", "convert", folder, "--split", "test", "--format", "jsonl", "--skip-bad"],
      ["train", toys.recipe, "--data", folder, "--run", file("never"), "--skip-bad"],
    ]) {
      expectOnce((await mistake(command, [/(train|test)\.jsonl/])).stderr);
    }
  });
});

describe("rows of which some are bad", () => {
  it("end extract with 0, and with 1 when there is not one good row", async () => {
    const bad = { sentence: "没有", head: "甲", tail: "乙" };
    writeFileSync(file("some.jsonl"), jsonl([bad, ...ROWS]));
    expect((await cre(["extract", toys.run, file("some.jsonl")])).code).toBe(0);
    writeFileSync(file("none.jsonl"), jsonl([bad, bad, bad]));
    const output = file("none-out.jsonl");
    await mistake(["extract", toys.run, file("none.jsonl"), "--output", output], [file("none.jsonl")]);
    await mistake(["extract", toys.run, "-"], [/standard input/], { input: jsonl([bad, bad]) });
  });
});

describe("case B10: a folder without a split", () => {
  const folders: Record<string, [string, string]> = {
    "train.json": ["train.json", "train.jsonl"],
    "train.jsonl.gz": ["train.jsonl.gz", "train.jsonl"],
    "Train.JSONL": ["Train.JSONL", "train.jsonl"],
    "training.jsonl": ["training.jsonl", "train.jsonl"],
    "dev.jsonl": ["dev.jsonl", "valid.jsonl"],
    "validation.jsonl": ["validation.jsonl", "valid.jsonl"],
    "val.jsonl": ["val.jsonl", "valid.jsonl"],
  };

  it.each(Object.entries(folders))("%s alone is named beside the name that is read", async (name, texts) => {
    const folder = dataFolder(file(`only-${name}`), { [name]: jsonl(ROWS) });
    for (const command of [
      ["data", "stats", folder],
      ["data", "stats", folder, "--json"],
      ["data", "convert", folder, "--split", "train", "--format", "jsonl"],
      ["train", toys.recipe, "--data", folder, "--run", file("never")],
    ]) {
      const outcome = await mistake(command, texts);
      expect(outcome.stdout).toBe("");
    }
  });

  it("is an error of every command that reads a folder", async () => {
    mkdirSync(file("empty"));
    const folder = dataFolder(file("labels-only"), {});
    for (const directory of [folder, file("empty")]) {
      await mistake(["data", "stats", directory], [directory]);
      await mistake(["evaluate", toys.run, "--data", directory], [directory]);
      await mistake(["train", toys.recipe, "--data", directory, "--run", file("never")], [directory]);
    }
    writeFileSync(file("predictions.jsonl"), jsonl([{ id: 1, relations: ["收购"] }]));
    await mistake(["score", file("predictions.jsonl"), "--gold", folder], [folder]);
  });
});

describe("case B26: names that are nearly those of a split, and a folder that is not empty", () => {
  it.each(["dev.jsonl", "val.jsonl", "validation.jsonl", "valid.json", "dev.json"])(
    "the note on the missing validation split names %s",
    async (name) => {
      const folder = dataFolder(file(`with-${name}`), { train: toyRows(4, 1), [name]: jsonl(toyRows(4, 2)) });
      const run = file(`run-${name}`);
      const { code, stderr } = await cre(
        ["train", toys.recipe, "--data", folder, "--run", run, "--set", "train.epochs=1"],
        { timeoutMs: HANG_MS },
      );
      expect(code, stderr).toBe(0);
      expect(stderr).toContain("no validation split");
      expect(stderr).toContain(name);
      expect(stderr).toContain("valid.jsonl");
    },
  );

  it("says of a folder with other files that it is not empty, not that it holds a run", async () => {
    mkdirSync(file("notes"));
    writeFileSync(join(file("notes"), "notes.txt"), "note");
    const outcome = await cre(["train", toys.recipe, "--run", file("notes")], { timeoutMs: HANG_MS });
    expectMistake(outcome, [file("notes"), "not empty"]);
    expect(outcome.stderr).not.toMatch(/already holds a run|--resume/);
    await mistake(["train", "--resume", "--run", file("notes")], ["is not a run folder"]);
  });
});
