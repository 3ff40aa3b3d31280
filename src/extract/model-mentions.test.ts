import { describe, expect, it } from "vitest";
import type { Mention } from "../documents/mention.ts";
import { splitSentences } from "../documents/sentences.ts";
import { withModelMentions } from "./model-mentions.ts";

const text = "甲公司收购乙公司。丙公司与甲公司合作。";
const document = { id: "d", text, fields: {} };
const sentences = splitSentences(text);
const known: Mention = { start: 5, end: 8, id: "B", name: "乙公司股份", type: "公司" };
/** Finds every name that ends with 公司, and the last character of the known one. */
const model = {
  find: async (given: readonly string[]) =>
    given.map((sentence) =>
      Array.from(sentence.matchAll(/[甲丙]公司|司。/gu), (match) => ({
        text: match[0].replace("。", ""),
        starts: [match.index],
        probability: 0.75,
      })),
    ),
};

describe("mentions of a model", () => {
  it("are at their places in the document, next to the known names", async () => {
    const finder = withModelMentions({ finder: { find: () => [known] }, overlap: "longest" }, model);
    const found = await finder.find(document, sentences);
    expect(found.map(({ start, end, id }) => [text.slice(start, end), id])).toEqual([
      ["甲公司", "甲公司"],
      ["乙公司", "B"],
      ["丙公司", "丙公司"],
      ["甲公司", "甲公司"],
    ]);
    expect(found[0]).toMatchObject({ type: null, probability: 0.75 });
    // What a known name covers is not asked of the model.
    expect(found[1]).toEqual(known);
  });

  it("are all where nothing is known", async () => {
    const finder = withModelMentions({ finder: { find: () => [] }, overlap: "longest" }, model);
    const found = await finder.find(document, sentences);
    expect(found.map(({ start, end }) => text.slice(start, end))).toEqual(["甲公司", "司", "丙公司", "甲公司"]);
    expect(await finder.find({ ...document, text: "" }, [])).toEqual([]);
  });
});
