import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { emptyReadCounts } from "./format.ts";
import { globPattern } from "./inputs.ts";
import { type ReadOptions, readDocuments } from "./read-documents.ts";

let top: string;

async function write(name: string, content: string) {
  await mkdir(dirname(join(top, name)), { recursive: true });
  await writeFile(join(top, name), content);
}

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), "cre-folder-"));
  await write("in/b.txt", "乙");
  await write("in/a/z.TXT", "甲");
  await write("in/a/rows.jsonl", '{"text":"一"}\n{"x":1}\n{"text":"三"}\n');
  await write("in/.hidden.txt", "隐藏");
  await write("in/picture.PNG", "png");
  await write("in/LICENSE", "no ending");
  await write("in/c/broken.json", "{");
  await write("in/c/d/e.md", "# 戊");
  await write("outside.txt", "外面");
  await symlink(join(top, "outside.txt"), join(top, "in/out.txt"));
  await symlink(join(top, "in/b.txt"), join(top, "in/link.txt"));
  await symlink(join(top, "in"), join(top, "in/a/circle"));
  await symlink(join(top, "nowhere"), join(top, "in/dead.txt"));
});
afterAll(() => rm(top, { recursive: true }));

async function read(inputs: string[], options: ReadOptions = {}) {
  const counts = emptyReadCounts();
  const items: string[] = [];
  for await (const item of readDocuments(inputs, { counts, ...options })) {
    items.push("bad" in item ? `${item.bad.id}: ${item.bad.reason}` : `${item.id}=${item.text}`);
  }
  return { items, counts };
}

describe("readDocuments", () => {
  it("reads a folder in order and counts what it leaves out", async () => {
    const { items, counts } = await read([join(top, "in")]);
    expect(items).toEqual([
      "a/rows.jsonl#1=一",
      expect.stringContaining('a/rows.jsonl#2: has the fields "x", expected one of text'),
      "a/rows.jsonl#3=三",
      "a/z.TXT=甲",
      "b.txt=乙",
      expect.stringContaining("c/broken.json: is not JSON ("),
      "c/d/e.md=戊",
      "link.txt=乙",
    ]);
    expect(counts).toEqual({
      ...emptyReadCounts(),
      files: 6,
      documents: 6,
      bad: 2,
      skipped: { hidden: 1, ".png": 1, "no ending": 1, link: 3 },
    });
  });

  it("has unique names for several inputs, and reads no file twice", async () => {
    const a = join(top, "in/a");
    const { items, counts } = await read([`${a}/*.TXT`, a, join(top, "outside.txt"), join(top, "in/b.txt")]);
    expect(items).toEqual([
      `${a}/z.TXT=甲`,
      `${a}/rows.jsonl#1=一`,
      expect.stringContaining(`${a}/rows.jsonl#2: has`),
      `${a}/rows.jsonl#3=三`,
      `${top}/outside.txt=外面`,
      `${top}/in/b.txt=乙`,
    ]);
    expect(counts.skipped).toEqual({ link: 1, repeated: 1 });
  });

  it("matches patterns", async () => {
    expect((await read([join(top, "in/**/*.{md,txt}")])).items).toEqual(["b.txt=乙", "c/d/e.md=戊", "link.txt=乙"]);
    expect((await read([join(top, "in/*.csv")])).items).toEqual([
      `${join(top, "in/*.csv")}: has no files, expected documents`,
    ]);
  });

  it("reads a file of an unknown ending when its format is named", async () => {
    expect((await read([join(top, "in/LICENSE")], { format: "text" })).items).toEqual(["LICENSE=no ending"]);
    expect((await read([join(top, "in/LICENSE")])).items).toEqual([
      expect.stringContaining("LICENSE: has no ending of a known format, expected one of .txt, .text, .md"),
    ]);
  });

  it("names every input that is missing before it reads one", async () => {
    const inputs = [join(top, "in/b.txt"), join(top, "nothing"), join(top, "no/*.txt")];
    const error = await read(inputs).catch((thrown: Error) => thrown);
    expect(String(error)).toContain(`${inputs[1]}: cannot be read (`);
    expect(String(error)).toContain(`${inputs[2]}: ${join(top, "no")} is no folder, expected one in which files match`);
    await expect(read([])).rejects.toThrow("No documents are given, expected files, folders, patterns or -.");
  });

  it("has limits of size and depth", async () => {
    expect((await read([join(top, "outside.txt")], { limits: { wholeFileBytes: 5 } })).items).toEqual([
      "outside.txt: has 6 bytes, expected at most 5 (limit wholeFileBytes)",
    ]);
    const { items } = await read([join(top, "in/c")], { limits: { folderDepth: 0 } });
    expect(items).toContain("d: is 1 folders deep, expected at most 0 (limit folderDepth)");
  });

  it("can be left early", async () => {
    for await (const item of readDocuments([join(top, "in")])) {
      expect("bad" in item).toBe(false);
      break;
    }
  });
});

describe("globPattern", () => {
  it.each([
    ["*.txt", "a.txt", true],
    ["*.txt", "a/a.txt", false],
    ["**/*.txt", "a.txt", true],
    ["**/*.txt", "a/b/a.txt", true],
    ["a/**", "a/b/c", true],
    ["?.txt", "𠮷.txt", true],
    ["[ab].txt", "b.txt", true],
    ["[!ab].txt", "b.txt", false],
    ["{a,b}.{txt,md}", "b.md", true],
    ["a.txt", "abtxt", false],
    ["(a)+.txt", "(a)+.txt", true],
  ])("%s and %s: %s", (glob, path, expected) => {
    expect(globPattern(glob).test(path)).toBe(expected);
  });
});
