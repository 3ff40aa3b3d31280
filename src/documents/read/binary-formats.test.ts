import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { docxFile, gbkBytes, parquetFile, pdfFile, pdfPages, zipFile } from "../../../test/document-files.ts";
import { readOne } from "../../../test/read-one.ts";
import { readDocuments } from "./read-documents.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "cre-binary-"));
});
afterAll(() => rm(directory, { recursive: true }));

describe("Parquet", () => {
  const rows = [1, 2, 3, 4, 5].map((id) => ({
    id,
    big: 2n ** 60n + BigInt(id),
    small: BigInt(id),
    text: `第${id}行😀`,
  }));

  it("reads every row group", async () => {
    const { documents } = await readOne("a.parquet", parquetFile(rows));
    expect(documents).toEqual(rows.map(({ id, big, text }) => [`a.parquet#${id}`, text, { id, big, small: id }]));
  });

  it("names the fault", async () => {
    const bytes = parquetFile(rows);
    const limits = { rowGroupRows: 1 };
    expect((await readOne("a.parquet", bytes, { limits })).bad).toEqual([
      "a.parquet: has 2 rows in row group 1, expected at most 1 (limit rowGroupRows)",
    ]);
    expect((await readOne("b.parquet", bytes, { textField: "body" })).bad).toEqual([
      'b.parquet: has the fields "id", "big", "small", "text", expected "body" with the text (name it with --text-field)',
    ]);
    expect((await readOne("c.parquet", bytes.subarray(0, 50))).bad).toEqual([
      expect.stringContaining("c.parquet: is no Parquet file that can be read: its metadata is broken ("),
    ]);
  });
});

describe("DOCX", () => {
  it("gives paragraphs and cells", async () => {
    const { documents } = await readOne("a.docx", docxFile(["甲公司 & 乙公司。😀", ["左", "右"], "末段"]));
    expect(documents).toEqual([["a.docx", "甲公司 & 乙公司。😀\n\n左\n\n右\n\n末段"]]);
  });

  it("costs one line when it is broken", async () => {
    expect((await readOne("a.docx", "文字")).bad).toEqual(["a.docx: is no zip archive, expected a DOCX file"]);
    expect((await readOne("b.docx", zipFile({ "a.txt": "x" }))).bad).toEqual([
      expect.stringContaining("b.docx: cannot be parsed ("),
    ]);
    expect((await readOne("c.docx", docxFile(["甲"]).subarray(0, 300))).bad).toEqual([
      "c.docx: has a broken archive: its directory is missing",
    ]);
  });

  it("refuses a bomb, whatever size its directory declares", async () => {
    const bomb = zipFile({ "word/document.xml": Buffer.alloc(5_000_000, " ") }, 10);
    expect((await readOne("bomb.docx", bomb, { limits: { wholeFileBytes: 1_000_000 } })).bad).toEqual([
      "bomb.docx: has more than 1000000 bytes in its archive, expected at most 1000000 (limit wholeFileBytes)",
    ]);
  });
});

describe("PDF", () => {
  it("joins the lines of a paragraph, also over a page, and leaves page numbers out", async () => {
    const line = (text: string) => text.repeat(5);
    const file = pdfFile(
      pdfPages([
        ["标题", line("第一段的文字"), line("第一段的文字"), "结束。", line("第二段还没完"), "- 1 -"],
        [line("第二段换页了"), "完😀。", "2"],
      ]),
    );
    const { documents, bad, counts } = await readOne("a.pdf", file);
    expect(bad).toEqual([]);
    expect(documents).toEqual([
      [
        "a.pdf",
        `标题\n\n${line("第一段的文字")}${line("第一段的文字")}结束。\n\n${line("第二段还没完")}${line("第二段换页了")}完😀。`,
      ],
    ]);
    expect(counts.dropped).toEqual({ "page numbers": 2 });
  });

  it("leaves running heads out", async () => {
    const page = (number: number) => [
      { text: "某某公司年度报告", x: 60, y: 800 },
      ...pdfPages([[`第${"一二三四"[number]}段正文。`, `短行${"甲乙丙丁"[number]}`]])[0],
      { text: `file.html ${number + 1}/4`, x: 60, y: 30 },
    ];
    const { documents, counts } = await readOne("heads.pdf", pdfFile([0, 1, 2, 3].map(page)));
    const text = [..."一二三四"].map((one, i) => `第${one}段正文。\n\n短行${"甲乙丙丁"[i]}`).join("\n\n");
    expect(documents).toEqual([["heads.pdf", text]]);
    expect(counts.dropped).toEqual({ "running heads": 8 });
  });

  it("writes radicals and ligatures as characters", async () => {
    const file = pdfFile(pdfPages([["\u2f08\u2ec5\u2ee5\u2e87\ufb01\u2ef3\u2e9b"]]));
    expect((await readOne("radicals.pdf", file)).documents).toEqual([["radicals.pdf", "人见鱼𠘨fi龟旡"]]);
  });

  it("reads old fonts that name an encoding", async () => {
    const unicode = (text: string) => Buffer.from(text, "utf16le").swap16().toString("hex");
    const gbk = (text: string) => gbkBytes(text).toString("hex");
    for (const [encoding, codesOf] of [
      ["UniGB-UCS2-H", unicode],
      ["GBK-EUC-H", gbk],
    ] as const) {
      const file = pdfFile(pdfPages([["甲公司收购乙公司。"]]), { toUnicode: false, encoding, codesOf });
      const { documents, bad } = await readOne("old.pdf", file);
      expect([encoding, documents, bad]).toEqual([encoding, [["old.pdf", "甲公司收购乙公司。"]], []]);
    }
  });

  it("says why there is no text", async () => {
    expect((await readOne("scan.pdf", pdfFile([[], []]))).bad).toEqual([
      "scan.pdf: has no text layer on its 2 pages: pictures of text need OCR first",
    ]);
    const old = pdfFile(pdfPages([["甲"]]), { toUnicode: false, encoding: "KSC-EUC-H" });
    expect((await readOne("old.pdf", old)).bad).toEqual([
      expect.stringContaining("old.pdf: has fonts with the character map KSC-EUC-H"),
    ]);
    expect((await readOne("no.pdf", "%PDF-1.4 nothing")).bad).toEqual([
      expect.stringContaining("no.pdf: cannot be parsed ("),
    ]);
  });

  it("is stopped when it takes too long or too much memory, and the next file is read", async () => {
    const slow = pdfFile(Array.from({ length: 300 }, () => pdfPages([["一行文字"]])[0]));
    const file = join(directory, "next");
    expect((await readOne("slow.pdf", slow, { limits: { parseMs: 1 } })).bad).toEqual([
      "slow.pdf: was not read after 1 ms (limit parseMs)",
    ]);
    expect((await readOne("large.pdf", slow, { limits: { parseBytes: -(2 ** 40) } })).bad).toEqual([
      expect.stringContaining("(limit parseBytes)"),
    ]);
    await writeFile(`${file}.pdf`, pdfFile(pdfPages([["甲"]])));
    await writeFile(`${file}.docx`, docxFile(["乙"]));
    const texts: string[] = [];
    for await (const item of readDocuments([`${file}.pdf`, `${file}.docx`, `${file}.pdf`])) {
      if (!("bad" in item)) texts.push(item.text);
    }
    expect(texts).toEqual(["甲", "乙"]);
  });
});

describe("standard input", () => {
  it("is read in the named format", async () => {
    const documents: unknown[] = [];
    const stdin = Readable.from([Buffer.from('{"text":"甲"}\n')]);
    for await (const item of readDocuments(["-"], { format: "jsonl", stdin })) documents.push(item);
    expect(documents).toEqual([{ id: "-#1", text: "甲", fields: {} }]);
  });

  it("needs a format", async () => {
    await expect(readDocuments(["-"]).next()).rejects.toThrow("Standard input has no name that says its format");
  });
});
