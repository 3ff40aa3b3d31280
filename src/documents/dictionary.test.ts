import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { readDictionary } from "./dictionary.ts";
import { folded } from "./folding.ts";
import type { Mention, OverlapPolicy } from "./mention.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-dictionary-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function write(content: string, ending = ".csv"): string {
  const file = join(folder, `${files++}${ending}`);
  writeFileSync(file, content);
  return file;
}

async function find(table: string, text: string, overlap: OverlapPolicy = "longest"): Promise<Mention[]> {
  const dictionary = await readDictionary([write(table)]);
  return dictionary.finder(overlap).find({ id: "a", text, fields: {} }, []);
}

const texts = (mentions: readonly Mention[], text: string) => mentions.map(({ start, end }) => text.slice(start, end));

describe("a dictionary", () => {
  it("joins aliases under the canonical id and keeps the type", async () => {
    const table = "name,type,id,aliases\n中国石油化工股份有限公司,公司,600028,中石化|中国石化\n北京,地点,,\n";
    const text = "中石化在北京，中国石化也在。";
    expect(await find(table, text)).toEqual([
      { start: 0, end: 3, id: "600028", name: "中国石油化工股份有限公司", type: "公司" },
      { start: 4, end: 6, id: "北京", name: "北京", type: "地点" },
      { start: 7, end: 11, id: "600028", name: "中国石油化工股份有限公司", type: "公司" },
    ]);
  });

  it("finds the longest name from the left, or all of them", async () => {
    const table = "name\n北京\n北京大学\n大学\n京大\n";
    const text = "𠮷在北京大学读大学";
    expect(texts(await find(table, text), text)).toEqual(["北京大学", "大学"]);
    expect(texts(await find(table, text, "all"), text)).toEqual(["北京大学", "北京", "京大", "大学", "大学"]);
  });

  it("folds full-width forms and traditional characters with exact offsets", async () => {
    const text = "😀ＩＢＭ與華為、ｶﾒﾗ";
    const found = await find("name,id\nIBM,i\n华为,h\nカメラ,k\n", text);
    expect(texts(found, text)).toEqual(["ＩＢＭ", "華為", "ｶﾒﾗ"]);
    expect(found.map(({ id }) => id)).toEqual(["i", "h", "k"]);
    expect(folded("後臺裡㐽")).toHaveLength(4);
  });

  it("cuts no Latin word and no number in two", async () => {
    const text = "AI在MAIL里，AI2与2AI，5G和15G";
    const found = await find("name\nAI\n5G\n", text);
    expect(found.map(({ start }) => start)).toEqual([0, text.indexOf("5G")]);
  });

  it("equals a plain search for any names and any text", async () => {
    const character = fc.constantFrom("甲", "乙", "丙", "丁", "𠮷");
    const word = fc.array(character, { minLength: 1, maxLength: 40 }).map((parts) => parts.join(""));
    const short = fc.array(character, { minLength: 1, maxLength: 5 }).map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(short, word), { minLength: 1, maxLength: 12 }),
        fc.array(fc.oneof(short, word), { maxLength: 12 }).map((parts) => parts.join("")),
        async (names, text) => {
          const table = `name\n${names.join("\n")}\n`;
          const plain: string[] = [];
          for (let start = 0; start < text.length; start++) {
            const fits = [...new Set(names)].filter((name) => text.startsWith(name, start));
            plain.push(...fits.sort((a, b) => b.length - a.length).map((name) => `${start} ${name}`));
          }
          const found = await find(table, text, "all");
          expect(found.map(({ start, end }) => `${start} ${text.slice(start, end)}`)).toEqual(plain);
          const longest: string[] = [];
          let end = 0;
          for (const one of plain) {
            const [start, name] = one.split(" ");
            if (Number(start) < end) continue;
            longest.push(one);
            end = Number(start) + name.length;
          }
          const leftmost = await find(table, text);
          expect(leftmost.map((one) => `${one.start} ${text.slice(one.start, one.end)}`)).toEqual(longest);
        },
      ),
      { numRuns: 100, seed: 1 },
    );
  });

  it("reads quoted cells, JSONL, TSV, lists and a byte-order mark", async () => {
    const csv = write('\ufeffid,name,type\n1,"甲,""乙""\n丙",公司\n2,丁,\n');
    const jsonl = write(`${JSON.stringify({ name: "戊", aliases: ["己", "庚"], id: 3 })}\n`, ".jsonl");
    const dictionary = await readDictionary([
      csv,
      jsonl,
      write("name\ttype\n辛\t人\n", ".tsv"),
      write("壬\n\n癸\n", ".txt"),
    ]);
    // A name with a line break is refused, its row is counted once and the next line has its own number.
    expect(dictionary.counts).toEqual({ rows: 6, badRows: 1, names: 7, entities: 5, ambiguous: 0 });
    const found = dictionary.finder("longest").find({ id: "", text: "丁己辛癸", fields: {} }, []);
    expect(found.map(({ id, type }) => [id, type])).toEqual([
      ["2", null],
      ["3", null],
      ["辛", "人"],
      ["癸", null],
    ]);
  });

  it("counts and lists bad rows and ambiguous names", async () => {
    const long = "长".repeat(201);
    const file = write(`name,id\n,1\n${long},2\n甲,3,4\n甲,5\n甲,6\n"乙,7\n`);
    const { counts, problems } = await readDictionary([file]);
    expect(counts).toMatchObject({ rows: 6, badRows: 4, names: 1, ambiguous: 1 });
    expect(problems.map(({ line, problem }) => `${line}: ${problem}`)).toEqual([
      "2: got an empty name, expected text",
      "3: got a name of 201 characters, expected at most 200",
      "4: got 3 cells, expected 2 as in the header",
      '6: "甲" is a name of 5 and of 6; mentions get 5',
      "7: got a quotation mark that is never closed",
    ]);
  });

  it("refuses files that are no tables of names", async () => {
    await expect(readDictionary([write("title\n甲\n")])).rejects.toThrow('has the columns ["title"], expected name');
    await expect(readDictionary([write("")])).rejects.toThrow("is empty, expected a header with name");
    await expect(readDictionary([write("甲", ".xlsx")])).rejects.toThrow(
      'has the ending ".xlsx", expected a table of names',
    );
    await expect(readDictionary([join(folder, "none.csv")])).rejects.toThrow("cannot be read");
    const file = join(folder, "binary.csv");
    writeFileSync(file, Buffer.from([0x6e, 0x61, 0x6d, 0x65, 0x0a, 0xff, 0xff, 0xff, 0x0a]));
    await expect(readDictionary([file])).rejects.toThrow(/binary\.csv: .*UTF-8/);
  });

  it("reads GB18030 with a notice, and a row that is never closed in time", async () => {
    const file = join(folder, "gb.csv");
    // name, 中国银行, 北京大学的
    const names = [
      0xd6, 0xd0, 0xb9, 0xfa, 0xd2, 0xf8, 0xd0, 0xd0, 0x0a, 0xb1, 0xb1, 0xbe, 0xa9, 0xb4, 0xf3, 0xd1, 0xa7,
    ];
    writeFileSync(file, Buffer.from([0x6e, 0x61, 0x6d, 0x65, 0x0a, ...names, 0x0a]));
    const notices: string[] = [];
    const dictionary = await readDictionary([file], (notice) => notices.push(notice));
    expect(notices).toEqual([`${file}: is read as GB18030.`]);
    expect(dictionary.finder("longest").find({ id: "", text: "在中国银行", fields: {} }, [])).toHaveLength(1);
    const started = performance.now();
    const open = await readDictionary([write(`name\n"${"a\n".repeat(1_000_000)}`)]);
    expect(open.counts.rows).toBeGreaterThan(0);
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});
