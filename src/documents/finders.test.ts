import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { columnFinder } from "./column-names.ts";
import { openEntities, parseEntitySource } from "./entities.ts";
import type { Mention } from "./mention.ts";
import { readPatterns } from "./patterns.ts";
import { splitSentences } from "./sentences.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-finders-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, content: string): string {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}
const shown = (text: string, mentions: readonly Mention[]) =>
  mentions.map(({ start, end, id, type }) => `${text.slice(start, end)} ${id} ${type}`);

describe("regular expressions", () => {
  it("find mentions in each sentence, by a group where there is one", async () => {
    const csv = "pattern,type,id,name\n\\d{6},代码,,\n《([^》]+)》,作品,,\n中石[化油],公司,600028,中国石化\n^甲,人,,\n";
    const finder = await readPatterns(write("patterns.csv", csv));
    const text = "甲😀在600519，读《乙甲》。甲到中石油。";
    const found = finder.find({ id: "", text, fields: {} }, splitSentences(text));
    expect(shown(text, found)).toEqual([
      "600519 600519 代码",
      "乙甲 乙甲 作品",
      "甲 甲 人",
      "中石油 600028 公司",
      "甲 甲 人",
    ]);
    expect(found[3].name).toBe("中国石化");
  });

  it("need time in proportion to the text for any pattern", async () => {
    const finder = await readPatterns(write("slow.csv", "pattern\n(a+)+b\n(a|aa)+c\n"));
    const text = "a".repeat(20_000);
    const started = performance.now();
    expect(finder.find({ id: "", text, fields: {} }, [{ text, start: 0, end: text.length }])).toEqual([]);
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it("are refused with every fault", async () => {
    const file = write("bad.csv", "pattern\n(a\na*\n(?=a)\n(a)\\1\n");
    await expect(readPatterns(file)).rejects.toThrow(
      /4 regular expressions cannot be used:\n.*line 2: .*missing closing.*\n.*line 3: .*matches an empty text\n.*line 4: .*\n.*line 5: .*invalid escape/,
    );
  });
});

describe("columns", () => {
  it("give names as text, lists and objects", () => {
    const finder = columnFinder("公司", "公司");
    const find = (text: string, value: unknown) =>
      shown(text, finder.find({ id: "", text, fields: { 公司: value } }, []));
    expect(find("華為与IBM", "华为|IBM|小米")).toEqual(["華為 华为 公司", "IBM IBM 公司"]);
    expect(find("甲甲", ["甲"])).toEqual(["甲 甲 公司", "甲 甲 公司"]);
    expect(find("乙", [{ name: "乙", id: 7, type: "人" }, 5, null])).toEqual(["乙 7 人"]);
    expect(find("乙", undefined)).toEqual([]);
    expect(finder.counts).toEqual({ without: 1, absent: 1, unusable: 2 });
  });
});

describe("sources of entities", () => {
  it("are named by a file, a pattern file or a column", () => {
    expect(parseEntitySource("a.csv")).toEqual({ kind: "dictionary", file: "a.csv" });
    expect(parseEntitySource("pattern:p.csv")).toEqual({ kind: "patterns", file: "p.csv" });
    expect(parseEntitySource("column:公司")).toEqual({ kind: "column", column: "公司", type: null });
    expect(parseEntitySource("column:org=公司")).toEqual({ kind: "column", column: "org", type: "公司" });
    expect(() => parseEntitySource("column:")).toThrow('expected a name after "column:"');
    expect(parseEntitySource("model")).toEqual({ kind: "model" });
    expect(() => parseEntitySource("")).toThrow("expected a file of names, pattern:FILE, column:NAME or model");
  });

  it("are combined: the longest from the left, then the earlier source", async () => {
    const dictionary = write("names.csv", "name,id\n北京大学,d\n大学生,s\n");
    const patterns = write("p.csv", "pattern,id\n北京|北京大学,\n生,p\n");
    const sources = [dictionary, `pattern:${patterns}`, "column:x"].map(parseEntitySource);
    const text = "北京大学生";
    const document = { id: "", text, fields: { x: "北京大学" } };
    const longest = await openEntities(sources, "longest");
    expect(shown(text, longest.finder.find(document, splitSentences(text)))).toEqual(["北京大学 d null", "生 p null"]);
    const all = await openEntities(sources, "all");
    const found = shown(text, all.finder.find(document, splitSentences(text)));
    expect(found).toEqual([
      "北京大学 d null",
      "北京大学 北京大学 null",
      "北京 北京 null",
      "大学生 s null",
      "生 p null",
    ]);
    await expect(openEntities([], "all")).rejects.toThrow("No source of entities is given");
  });
});
