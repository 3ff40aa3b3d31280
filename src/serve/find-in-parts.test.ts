import { describe, expect, it } from "vitest";
import { dictionaryOfRows } from "../documents/dictionary.ts";
import { splitSentences } from "../documents/sentences.ts";
import { findInParts } from "./find-in-parts.ts";

describe("finding in parts", () => {
  it("finds what one search finds, at the same places", async () => {
    const cells = [["远山集团", "公司"], ["近水"], ["近水公司"]];
    const finder = dictionaryOfRows(
      cells.map((row, line) => ({ line, cells: row, problem: null })),
      "names",
    ).finder("longest");
    const text = "😀远山集团收购了近水公司的股份。\n近水与远山集团合作，没有别人。".repeat(900);
    const document = { id: "a", text, fields: {} };
    const sentences = splitSentences(text, { maxCharacters: 100 });
    const found = await findInParts(finder).find(document, sentences);
    expect(found).toHaveLength(3600);
    expect(found).toEqual(finder.find(document, sentences));
    expect(found[0]).toEqual({ start: 2, end: 6, id: "远山集团", name: "远山集团", type: "公司" });
  });
});
