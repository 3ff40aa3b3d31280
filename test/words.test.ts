import { describe, expect, it } from "vitest";
import { filesUnder, readSource, type Source } from "./source-tree.ts";

// Words that read like a translation, in all text that a reader of the project meets: write "is", "exists", "anyone who", "N".
const WORDS: readonly RegExp[] = [
  /\bstands?\b(?!-)/gi,
  /\bwhoever\b/gi,
  /\bas\s+many\b[^.;]{0,60}?\bas\b/gi,
  /\bso[\s/*#]+many\b/gi,
];

const FOLDERS = ["src", "native", "docs", "recipes", "bench", "demo", "models"];
const TOP_FILES = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md"];
const IS_TEXT = /\.(ts|mjs|py|cpp|h|md|ya?ml)$/;

/** "file:line: word" for every one of the words. */
function findings({ file, text }: Source): string[] {
  return WORDS.flatMap((word) => Array.from(text.matchAll(word))).map(({ index, 0: found }) => {
    const line = text.slice(0, index).split("\n").length;
    return `${file}:${line}: ${found.replaceAll(/\s+/g, " ")}`;
  });
}

const sources = [...FOLDERS.flatMap(filesUnder).filter((file) => IS_TEXT.test(file)), ...TOP_FILES].map(readSource);

describe("the words of the project", () => {
  it.each([...FOLDERS, "the top folder"])("are plain in %s", (folder) => {
    const here = sources.filter(({ file }) => (file.includes("/") ? file.split("/")[0] : "the top folder") === folder);
    expect(here.length).toBeGreaterThan(0);
    expect(here.flatMap(findings)).toEqual([]);
  });

  it("are found where they are, also over the end of a line", () => {
    const text = "It stands here.\nWhoever reads as many\nrows as he can: understand the standard stand-in, so\nmany.";
    expect(findings({ file: "a.md", text })).toEqual([
      "a.md:1: stands",
      "a.md:2: Whoever",
      "a.md:2: as many rows as",
      "a.md:3: so many",
    ]);
  });
});
