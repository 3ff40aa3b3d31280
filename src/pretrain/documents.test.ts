import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { readDocuments } from "./documents.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-documents-"));
afterAll(() => rmSync(directory, { recursive: true }));

async function documentsOf(name: string, content: string | Buffer, format: "text" | "jsonl" = "text") {
  const path = join(directory, name);
  writeFileSync(path, content);
  const documents: string[] = [];
  for await (const document of readDocuments({ path, format })) documents.push(document);
  return documents;
}
const problemOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "nothing was thrown",
    (error: Error) => (error instanceof UserError ? error.message : `not a UserError: ${error}`),
  );

describe("readDocuments", () => {
  it("separates text at blank lines, whatever the line ends, compressed or not", async () => {
    const text = "\n第一行\r\n第二行\r\n\r\n  \n下一篇\n\n\n";
    expect(await documentsOf("a.txt", text)).toEqual(["第一行\n第二行", "下一篇"]);
    expect(await documentsOf("a.txt.gz", gzipSync(text))).toEqual(["第一行\n第二行", "下一篇"]);
    expect(await documentsOf("b.txt", "没有行尾")).toEqual(["没有行尾"]);
  });

  it("takes the text of each line of JSON", async () => {
    const lines = '{"text": "一\\n二", "id": 3}\n\n{"text": ""}\n{"text": "三"}\n';
    expect(await documentsOf("a.jsonl", lines, "jsonl")).toEqual(["一\n二", "三"]);
    expect(await documentsOf("a.jsonl.gz", gzipSync(lines), "jsonl")).toEqual(["一\n二", "三"]);
  });

  it("takes the distinct training sentences of a data set that repeat none of the other splits", async () => {
    const path = join(directory, "set");
    mkdirSync(path);
    writeFileSync(join(path, "relation2id.txt"), "unknown\t0\n合作\t1\n");
    const sentences = ["甲与乙合作。", "甲与乙合作。", "甲在丙旁。", "昨日甲不见丁。"];
    const rows = sentences.map((sentence, i) => `甲\t${i < 2 ? "乙" : sentence[2]}\tunknown\t${sentence}`);
    writeFileSync(join(path, "train.txt"), `${rows.join("\n")}\n`);
    writeFileSync(join(path, "valid.txt"), "甲\t丁\tunknown\t甲不见丁。\n");
    writeFileSync(join(path, "test.txt"), "甲\t戊\tunknown\t甲不见戊。\n");
    const documents: string[] = [];
    for await (const one of readDocuments({ path, format: "relations" })) documents.push(one);
    expect(documents).toEqual(["甲与乙合作。", "甲在丙旁。"]);
  });

  it("names file and line of what it cannot read", async () => {
    expect(await problemOf(documentsOf("bad.txt", Buffer.from([0xe4, 0xb8, 10, 0xff])))).toContain("bad.txt, line 1:");
    expect(await problemOf(documentsOf("bad.jsonl", '{"text": "一"}\n{\n', "jsonl"))).toContain(
      "bad.jsonl, line 2: is not JSON",
    );
    expect(await problemOf(documentsOf("number.jsonl", '{"text": 3}\n', "jsonl"))).toContain(
      'number.jsonl, line 1: "text" is 3, expected a string',
    );
    expect(await problemOf(documentsOf("two.jsonl", '{"text": "一", "text": "二"}\n', "jsonl"))).toContain(
      'two.jsonl, line 1: has the key "text" twice in one object, expected it once',
    );
    const cut = gzipSync("一二三\n".repeat(1000)).subarray(0, 30);
    expect(await problemOf(documentsOf("cut.txt.gz", cut))).toContain("cut.txt.gz");
    expect(await problemOf(documentsOf("plain.txt.gz", "不是压缩的"))).toContain("plain.txt.gz");
    const missing = join(directory, "none.txt");
    const reading = readDocuments({ path: missing, format: "text" }).next();
    expect(await problemOf(reading)).toContain("none.txt");
  });
});
