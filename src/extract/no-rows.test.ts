import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { keepingHead, noUsableRows } from "./no-rows.ts";

const hintOf = (head: Uint8Array) => noUsableRows("in", 2, [{ line: 1, problem: "is bad" }], head).hint;

describe("the error for an input without a usable row", () => {
  it("says once what was expected, with the first problems", () => {
    const problems = [1, 2, 3, 4].map((line) => ({ line, problem: "is bad" }));
    expect(noUsableRows("in.jsonl", 9, problems, Buffer.alloc(0)).message).toBe(
      'in.jsonl: not one of its 9 rows can be used, expected JSONL: one object a line, {"sentence", "head", "tail"}.\n' +
        "  - line 1: is bad.\n  - line 2: is bad.\n  - line 3: is bad.\n  - … and 6 more",
    );
  });

  it.each<[string, Uint8Array, RegExp]>([
    ["gzip", gzipSync("{}"), /gunzip/],
    ["a ZIP archive", Buffer.from("504b0304140000000800", "hex"), /ZIP/],
    ["UTF-16", Buffer.from("\ufeff{}", "utf16le"), /iconv -f UTF-16/],
    ["GB18030", Buffer.from("7b22bcd7227d", "hex"), /iconv -f GB18030/],
    ["a JSON array", Buffer.from('\n [{"sentence": "甲"}]'), /JSON array, expected one object a line/],
    [
      "an object on several lines",
      Buffer.from('{\n  "sentence": "甲"\n}'),
      /several lines, expected one object a line/,
    ],
    ["CSV", Buffer.from("sentence,head,tail\n甲,乙,丙"), /CSV/],
    ["TSV", Buffer.from("sentence\thead\ttail\n"), /TSV/],
    ["JSONL with other keys", Buffer.from('{"text": "甲"}\n'), /right format/],
    ["a character that the head cuts off", Buffer.from("甲").subarray(0, 2), /right format/],
  ])("recognises %s", (_, head, hint) => {
    expect(hintOf(head)).toMatch(hint);
  });
});

describe("keepingHead", () => {
  it("passes every byte on and keeps the first", async () => {
    const parts = [Buffer.from("ab"), Buffer.alloc(5000, "c"), Buffer.from("d")];
    const { stream, head } = keepingHead(Readable.from(parts));
    const got: Buffer[] = [];
    for await (const chunk of stream) got.push(chunk);
    expect(Buffer.concat(got).equals(Buffer.concat(parts))).toBe(true);
    expect(Buffer.from(head()).equals(Buffer.concat(parts).subarray(0, 4096))).toBe(true);
  });
});
