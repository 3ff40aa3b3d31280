import { describe, expect, it } from "vitest";
import { createLabelSet, type LabelSetJson } from "../data/label-set.ts";
import type { Mention } from "./mention.ts";
import { createPairer, type Pair, type PairSettings } from "./pairs.ts";
import { splitSentences } from "./sentences.ts";

const CLOSED = {
  labels: ["unknown", "收购", "被收购", "合作"],
  noRelation: "unknown",
  inverses: { 收购: "被收购" },
  symmetric: ["合作"],
};
const OPEN = { labels: ["unknown", "收购", "任职"], noRelation: "unknown" };

/** Mentions of single letters; the type of a capital letter is 公司, of a small one 人物; 甲 is unknown. */
function mentionsIn(text: string): Mention[] {
  return Array.from(text.matchAll(/[A-Za-z甲]/g), ({ index, 0: name }) => ({
    ...{ start: index, end: index + 1, id: name, name },
    type: name === "甲" ? null : name < "a" ? "公司" : "人物",
  }));
}

function pairs(
  text: string,
  labels: Partial<LabelSetJson> & { labels: string[] },
  settings: Partial<PairSettings> = {},
) {
  const pairer = createPairer(createLabelSet(labels, "labels"), { window: 1, maxPairs: 100, ...settings });
  const made = [...pairer.pairsOf({ id: "", text, fields: {} }, splitSentences(text), mentionsIn(text))];
  return { made, counts: pairer.counts };
}
const names = (made: readonly Pair[]) =>
  made.map(
    ({ first, second, forward, backward }) => `${first.name}${forward ? ">" : ""}${backward ? "<" : ""}${second.name}`,
  );

describe("pairs", () => {
  it("are those of a sentence, in both orders, or in one that answers for both", () => {
    const text = "A与B。C与D与A。";
    expect(names(pairs(text, OPEN).made)).toEqual(["A><B", "C><D", "D><A", "C><A"]);
    const { made, counts } = pairs(text, CLOSED);
    expect(names(made)).toEqual(["A>B", "C>D", "D>A", "C>A"]);
    expect(counts).toMatchObject({ sentences: 2, mentions: 5, pairs: 4, crossing: 0 });
  });

  it("cut their example out of the document", () => {
    const { made } = pairs("前文。 A与B合作。", CLOSED);
    expect(made[0].forward).toEqual({
      example: {
        sentence: "A与B合作。",
        head: "A",
        tail: "B",
        headSpan: { start: 0, end: 1 },
        tailSpan: { start: 2, end: 3 },
      },
      mask: null,
    });
    expect(made[0].sentence).toEqual({ text: "A与B合作。", start: 4, end: 10 });
  });

  it("extend over a window of sentences, each once and in the least text", () => {
    const { made } = pairs("A来了。B走了。C在。", CLOSED, { window: 2 });
    expect(made.map(({ first, second, sentence }) => `${first.name}${second.name} ${sentence.text}`)).toEqual([
      "AB A来了。B走了。",
      "BC B走了。C在。",
    ]);
    expect(names(pairs("A来了。B走了。C在。", CLOSED, { window: 3 }).made)).toEqual(["A>B", "A>C", "B>C"]);
  });

  it("ask two entities of a sentence once, between their nearest mentions", () => {
    const { made, counts } = pairs("A和别人，还有A与B", CLOSED);
    expect(made).toHaveLength(1);
    expect(made[0].first.start).toBe(7);
    expect(counts).toMatchObject({ pairs: 1, repeated: 1 });
  });

  it("are limited to the nearest ones, and the others are counted", () => {
    const { made, counts } = pairs("A与B，与C，与D", CLOSED, { maxPairs: 2 });
    expect(names(made)).toEqual(["A>B", "B>C"]);
    expect(counts).toMatchObject({ pairs: 2, cutByCap: 4 });
  });

  it("are cut by types, and the labels of the others are masked", () => {
    const types: LabelSetJson["types"] = { 收购: [["公司", "公司"]], 任职: [["人物", "公司"]] };
    const { made, counts } = pairs("A与b与c与甲", { ...OPEN, types }, { maxPairs: 100 });
    expect(names(made)).toEqual(["A<b", "c>甲", "A<c", "b>甲", "A><甲"]);
    const masks = new Map(made.map((pair) => [`${pair.first.name}${pair.second.name}`, pair]));
    // unknown, 收购, 任职
    expect(masks.get("Ab")?.forward).toBeNull();
    expect(Array.from(masks.get("Ab")?.backward?.mask ?? [])).toEqual([1, 0, 1]);
    expect(Array.from(masks.get("A甲")?.forward?.mask ?? [])).toEqual([1, 1, 0]);
    expect(masks.get("A甲")?.backward?.mask).toBeNull();
    expect(masks.has("bc")).toBe(false);
    expect(counts).toMatchObject({ pairs: 5, cutByType: 1 });
  });

  it("count mentions that no sentence holds", () => {
    const text = "A。B";
    const crossing = { start: 0, end: 3, id: "x", name: "x", type: null };
    const pairer = createPairer(createLabelSet(CLOSED, "labels"), { window: 1, maxPairs: 10 });
    expect([...pairer.pairsOf({ id: "", text, fields: {} }, splitSentences(text), [crossing])]).toEqual([]);
    expect(pairer.counts).toMatchObject({ mentions: 1, crossing: 1 });
  });
});
