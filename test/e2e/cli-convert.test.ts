import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { pdfFile, pdfPages } from "../document-files.ts";
import { ROOT, temporaryFolder } from "./support.ts";

const folder = temporaryFolder("convert");
afterAll(folder.remove);
const file = (name: string) => join(folder.path, name);

function cre(...words: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "dist", "cli.js"), ...words], {
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

const SPERT = {
  tokens: [..."甲公司收购乙和丙"],
  entities: [
    { type: "公司", start: 0, end: 3 },
    { type: "公司", start: 5, end: 6 },
    { type: "公司", start: 7, end: 8 },
  ],
  relations: [{ type: "收购", head: 0, tail: 1 }],
};

it("converts labelled data into a data folder, once", () => {
  writeFileSync(file("conll04_train.json"), JSON.stringify([SPERT]));
  const words = ["data", "convert", file("conll04_train.json"), "--from", "spert", "--output", file("out")];
  const first = cre(...words, "--negatives", "1", "--no-relation", "无");
  expect(first.stderr).toContain("train: 1 rows, 1 labelled pairs, 4 of 4 pairs without a label.");
  expect(first.stderr).toContain('has 2 labels; "无" means no relation. Inverse labels are not guessed');
  expect(first.status).toBe(0);
  expect(JSON.parse(readFileSync(file("out/labels.json"), "utf8"))).toMatchObject({
    labels: ["收购", "无"],
    noRelation: "无",
  });
  const mentions = readFileSync(file("out/train.mentions.jsonl"), "utf8").split("\n");
  expect(mentions.map((line) => line && JSON.parse(line).mentions.length)).toEqual([SPERT.entities.length, ""]);
  expect(cre("data", "stats", file("out")).status).toBe(0);
  const again = cre(...words);
  expect([again.status, again.stderr]).toEqual([1, expect.stringContaining("is not empty (it has labels.json)")]);
});

it("says what is missing or wrong", () => {
  writeFileSync(file("a.json"), JSON.stringify([SPERT]));
  const wrong = cre("data", "convert", file("a.json"), "--from", "duie", "--output", file("never"));
  expect(wrong.status).toBe(1);
  expect(wrong.stderr).toContain('a.json, line 1: got an object with "tokens", "entities", "relations", expected DuIE');
  expect(wrong.stderr).toContain("The rows look like SpERT JSON: --from spert");
  const cases: [string[], string][] = [
    [["--from", "spert"], "--output: missing, expected the data folder to write."],
    [
      ["--from", "spert", "--output", file("x"), "--format", "jsonl"],
      "--from writes a data folder, expected no --format.",
    ],
    [["--from", "spert", "--output", file("x"), "--negatives", "2"], "expected a number from 0 to 1."],
    [["--from", "conll2003"], "Allowed choices are spert, duie, doccano"],
    [[], "--split and --format: missing, expected the split and the format to write."],
  ];
  for (const [words, message] of cases) {
    const { status, stderr } = cre("data", "convert", file("a.json"), ...words);
    expect([status, stderr]).toEqual([1, expect.stringContaining(message)]);
  }
  const { stdout } = cre("data", "convert", "--help");
  expect(stdout).toContain("--negatives <share>");
});

it("parses PDF in the built program's thread", async () => {
  writeFileSync(file("a.pdf"), pdfFile(pdfPages([["甲公司收购乙公司。"]])));
  const { readDocuments } = await import(join(ROOT, "dist", "index.js"));
  const items: unknown[] = [];
  for await (const item of readDocuments([file("a.pdf")])) items.push(item);
  expect(items).toEqual([{ id: "a.pdf", text: "甲公司收购乙公司。", fields: {} }]);
  // A reading that is given up does not keep the process alive.
  const program = `import { readDocuments } from "${join(ROOT, "dist", "index.js")}";
    await readDocuments(["${file("a.pdf")}"]).next();`;
  const { status, signal } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { timeout: 50_000 });
  expect([status, signal]).toEqual([0, null]);
});
