import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { gbkBytes, parquetFile } from "../../../test/document-files.ts";
import { readOne } from "../../../test/read-one.ts";

const utf16 = (text: string, isBigEndian = false) => {
  const bytes = Buffer.from(`\ufeff${text}`, "utf16le");
  return isBigEndian ? bytes.swap16() : bytes;
};

describe("plain text", () => {
  const text = "甲公司\r\n收购乙公司。😀𠮷\n";

  it("keeps every character, in each encoding", async () => {
    for (const bytes of [text, `\ufeff${text}`, utf16(text), utf16(text, true)]) {
      expect((await readOne("a.txt", bytes)).documents).toEqual([["a.txt", text]]);
    }
  });

  it("reads GB18030 and tells so", async () => {
    const { documents, notices, counts } = await readOne("gbk.txt", gbkBytes("甲公司收购乙公司，2019年。"));
    expect(documents).toEqual([["gbk.txt", "甲公司收购乙公司，2019年。"]]);
    expect(notices).toEqual(["gbk.txt: is not UTF-8 and was read as GB18030."]);
    expect(counts.gb18030).toBe(1);
    // 😀 in the four bytes of GB18030.
    const emoji = Buffer.concat([gbkBytes("甲公司收购"), Buffer.from([0x94, 0x39, 0xfc, 0x36])]);
    expect((await readOne("emoji.txt", emoji)).documents).toEqual([["emoji.txt", "甲公司收购😀"]]);
  });

  it("tells Chinese from Korean and from traditional Chinese in Big5 by frequent characters", async () => {
    // Sentences on Seoul in EUC-KR and on universities of Taiwan in Big5.
    const korean =
      "c7d1b1b9c0c720bcf6b5b5b4c220bcadbfefc0ccb8e720c0ceb1b8b4c220bee020c3b5b8b820b8edc0ccb4d92e20b0e6c1a6bfcd20b9aec8adc0c720c1dfbdc9c1f6b7cebcad20b8b9c0ba20b1e2bef7b0fa20b4ebc7d0c0cc20c0d6b4d92e20c7d1b1b9c0bac7e0c0ba20c5ebc8adc1a4c3a5c0bb20b4e3b4e7c7d1b4d92e";
    const big5 =
      "bb4fc657a46abec7bb50a4a4a5a1ace3a873b07ca658a740a141bec7b34ebdd7a4e5b56faaeda9f3b4c1a55aa143a5bba67eabd7b977bae2a5d1a5dfaa6bb07cbc66ac64b371b94ca141b867c0d9b3a1aaeda5dcb14eb1c0b0cab2a3b77ea4c9afc5ad70b565a143";
    for (const bytes of [korean, big5]) {
      expect((await readOne("other.txt", Buffer.from(bytes, "hex"))).bad).toHaveLength(1);
    }
    const traditional = gbkBytes("臺灣大學與中央研究院合作，這是一個測試，學術論文發表於期刊。");
    expect((await readOne("gbk.txt", traditional)).bad).toEqual([]);
    expect((await readOne("gbk.txt", Buffer.concat([traditional, traditional]))).bad).toEqual([]);
  });

  it.each<[string, Uint8Array, string]>([
    ["Latin-1", Buffer.from("caf\u00e9 cr\u00e8me", "latin1"), "is neither valid UTF-8 nor Chinese text in GB18030"],
    // Big5 of 中文測試資料.
    ["Big5", Buffer.from("a4a4a4e5b4fab8d5b8eaaec6", "hex"), "is neither valid UTF-8 nor Chinese text in GB18030"],
    ["NUL", Buffer.from("a\0b"), "has a NUL character at offset 1, expected text"],
    ["a PDF", Buffer.from("%PDF-1.4"), "looks like a PDF, expected text"],
    ["a zip", Buffer.from("PK\u0003\u0004"), "looks like a zip archive (DOCX, XLSX …), expected text"],
    ["half UTF-16", Buffer.from([0xff, 0xfe, 0x00, 0xd8]), "begins with the mark of UTF-16LE and is not valid in it"],
  ])("refuses %s", async (_, bytes, reason) => {
    const { documents, bad } = await readOne("bad.txt", bytes);
    expect(documents).toEqual([]);
    expect(bad).toEqual([expect.stringContaining(`bad.txt: ${reason}`)]);
  });

  it("counts an empty file", async () => {
    const { documents, bad, counts } = await readOne("empty.txt", " \n");
    expect([documents, bad, counts.empty]).toEqual([[], [], 1]);
  });
});

describe("gzip", () => {
  it("is read in every format, up to a limit", async () => {
    expect((await readOne("a.txt.gz", gzipSync("甲。"))).documents).toEqual([["a.txt.gz", "甲。"]]);
    expect((await readOne("a.jsonl.gz", gzipSync('{"text":"甲"}\n'))).documents).toEqual([["a.jsonl.gz#1", "甲"]]);
    expect((await readOne("a.parquet.gz", gzipSync(parquetFile([{ text: "甲" }])))).documents).toEqual([
      ["a.parquet.gz#1", "甲"],
    ]);
    const bomb = gzipSync(Buffer.alloc(10_000_000, "a"));
    const limits = { wholeFileBytes: 100_000, decompressedBytes: 1_000_000 };
    expect((await readOne("bomb.txt.gz", bomb, { limits })).bad).toEqual([
      "bomb.txt.gz: has more than 100000 bytes, expected at most 100000 (limit wholeFileBytes)",
    ]);
    expect((await readOne("bomb.jsonl.gz", bomb, { limits })).bad).toEqual([
      "bomb.jsonl.gz: has more than 1000000 bytes, expected at most 1000000 (limit decompressedBytes)",
    ]);
    expect((await readOne("cut.txt.gz", gzipSync("甲".repeat(1000)).subarray(0, 20))).bad).toEqual([
      "cut.txt.gz: unexpected end of file",
    ]);
  });
});

describe("HTML", () => {
  it("gives the visible text", async () => {
    const page = `<!doctype html><html><head><title>标题</title><style>p{}</style></head><body>
      <h1>头条&amp;新闻</h1><script>var a = "<p>脚本</p>";</script><p>甲公司<b>收购</b>
      乙公司。&#x1F600;</p><noscript>无</noscript><ul><li>一<li>二</ul><table><tr><td>左</td><td>右</td></tr></table>
      A B
      C<br>D<!-- x --><svg><text>图</text></svg><template><p>模板</p></template><pre>  x
 y</pre></body></html>`;
    const { documents } = await readOne("a.html", page);
    expect(documents).toEqual([
      ["a.html", "头条&新闻\n\n甲公司收购乙公司。😀\n\n一\n二\n\n左\t右\n\nA B C\nD\n\n  x\n y"],
    ]);
  });

  it("honours the encoding that the page names, and tells so", async () => {
    const page = gbkBytes('<meta charset="gb2312"><p>涨</p>');
    const { documents, notices, counts } = await readOne("gbk.html", page);
    expect([documents, counts.gb18030]).toEqual([[["gbk.html", "涨"]], 1]);
    expect(notices).toEqual(["gbk.html: was read as gb18030, which its <meta> names."]);
    const big5 = Buffer.concat([Buffer.from("<meta charset=big5>"), Buffer.from("a4a4a4e5", "hex")]);
    expect((await readOne("big5.html", big5)).documents).toEqual([["big5.html", "中文"]]);
    const wrong = Buffer.concat([Buffer.from("<meta charset=gbk>"), Buffer.from([0xff, 0xff])]);
    expect((await readOne("wrong.html", wrong)).bad).toEqual([
      "wrong.html: names the encoding gb18030 in its <meta> and is not valid in it",
    ]);
  });

  it("reads a page of any depth in linear time", async () => {
    const start = performance.now();
    const { documents } = await readOne("deep.html", `${"<div><b>".repeat(200_000)}底${"<p>".repeat(100_000)}`);
    expect(documents).toEqual([["deep.html", "底"]]);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

describe("Markdown", () => {
  it("gives the text of the rendered page without code blocks", async () => {
    const source = `---
title: x
---
# 标题 #

第一行
第二行 **重点** \`code\` [链接](http://a.b) ![图](c.png)
and
words &lt; \\* snake_case_name

副标题
---
- 一
- [x] 二
  续行
1. 三

| 名 | 值 |
|---|:-:|
| 甲 | *1* |

\`\`\`js
let x;
\`\`\`
> 引用
[ref]: http://x`;
    const { documents, counts } = await readOne("a.md", source);
    expect(documents).toEqual([
      [
        "a.md",
        "标题\n\n第一行第二行 重点 code 链接 and words < * snake_case_name\n\n副标题\n\n一\n\n二续行\n\n1. 三\n\n名\t值\n\n甲\t1\n\n引用",
      ],
    ]);
    expect(counts.dropped).toEqual({ "code blocks": 1 });
  });
});

describe("CSV and TSV", () => {
  it("takes the text column, keeps the others, counts lines", async () => {
    const table = '﻿id,正文,来源\n1,"甲,乙\n丙",网\n\n2,"说""好""",报\n3,丁\n4, ,空\n';
    const { documents, bad, counts } = await readOne("a.csv", table);
    expect(documents).toEqual([
      ["a.csv#2", "甲,乙\n丙", { id: "1", 来源: "网" }],
      ["a.csv#5", '说"好"', { id: "2", 来源: "报" }],
    ]);
    expect(bad).toEqual(["a.csv#6: has 2 fields, expected 3 as in the first line"]);
    expect(counts.empty).toBe(1);
    expect((await readOne("a.tsv", "标题\tbody\n甲\t乙\r\n", { textField: "body" })).documents).toEqual([
      ["a.tsv#2", "乙", { 标题: "甲" }],
    ]);
    expect((await readOne("gbk.csv", gbkBytes("id,text\n1,涨价了\n"))).documents).toEqual([
      ["gbk.csv#2", "涨价了", { id: "1" }],
    ]);
    expect((await readOne("utf16.csv", utf16("id,text\n1,涨\n"))).documents).toEqual([
      ["utf16.csv#2", "涨", { id: "1" }],
    ]);
  });

  it.each<[string, string, string]>([
    [
      "no text column",
      "名,body\n1,2\n",
      'has the fields "名", "body", expected one of text, content, sentence, 正文, 内容',
    ],
    ["a column twice", "text,text\n1,2\n", 'has two columns with the name "text", expected one'],
    ["nothing", "", "is empty, expected a line with the names of the columns"],
    [
      "a row beyond the limit",
      `text\n${"a".repeat(500)}\n`,
      "line 2 has 500 bytes, expected at most 400 (limit rowBytes)",
    ],
    ["a quotation without end", `text\n好\n"${"a\n".repeat(300)}`, "the row on line 3 cannot be read (Max Record Size"],
  ])("names the fault: %s", async (_, table, reason) => {
    const { bad } = await readOne("bad.csv", table, { limits: { rowBytes: 400 } });
    expect(bad).toEqual([expect.stringContaining(`bad.csv: ${reason}`)]);
  });
});

describe("JSON and JSONL", () => {
  it("reads rows, nested texts and large numbers", async () => {
    const rows = '{"text":"甲","id":12345678901234567890,"n":1.5}\n\n"乙"\n{"content":"丙"}\n{"text":null}\n';
    expect((await readOne("a.jsonl", rows)).documents).toEqual([
      ["a.jsonl#1", "甲", { id: 12345678901234567890n, n: 1.5 }],
      ["a.jsonl#3", "乙"],
      ["a.jsonl#4", "丙"],
    ]);
    const list = '[{"a":{"b":"甲","c":1},"d":2},{"a":{}}]';
    const { documents, bad } = await readOne("a.json", list, { textField: "a.b" });
    expect(documents).toEqual([["a.json#1", "甲", { a: { c: 1 }, d: 2 }]]);
    expect(bad).toEqual(['a.json#2: has the fields "a", expected "a.b" with the text (name it with --text-field)']);
    expect((await readOne("one.json", '{"text":"甲"}')).documents).toEqual([["one.json", "甲"]]);
  });

  it("costs one bad row each", async () => {
    const deep = `{"text":"a","x":${"[".repeat(200)}${"]".repeat(200)}}`;
    const rows = ["{", '{"text":1}', '{"text":"a","text":"b"}', '{"text":"\\ud800"}', "3", deep, '{"text":"好"}'];
    const { documents, bad } = await readOne("bad.jsonl", rows.join("\n"));
    expect(documents).toEqual([["bad.jsonl#7", "好"]]);
    expect(bad).toEqual([
      expect.stringContaining("bad.jsonl#1: is not JSON ("),
      'bad.jsonl#2: has 1 as "text", expected a text',
      'bad.jsonl#3: has the key "text" twice in one object, expected it once',
      'bad.jsonl#4: has half a surrogate pair in "text", expected whole characters',
      "bad.jsonl#5: has 3, expected an object with a text",
      "bad.jsonl#6: is nested deeper than 100 levels (limit jsonDepth)",
    ]);
    const mixed = Buffer.concat([Buffer.from('{"text":"好"}\n'), gbkBytes('{"text":"涨价"}'), Buffer.from('\n"a\0"')]);
    expect((await readOne("mixed.jsonl", mixed)).bad).toEqual([
      expect.stringContaining("mixed.jsonl#2: is neither valid UTF-8"),
      "mixed.jsonl#3: has a NUL character, expected text",
    ]);
    expect((await readOne("long.jsonl", '"甲乙丙"', { limits: { textCharacters: 2 } })).bad).toEqual([
      'long.jsonl#1: has 3 characters in "text", expected at most 2 (limit textCharacters)',
    ]);
  });
});
