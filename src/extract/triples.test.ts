import { describe, expect, it } from "vitest";
import { createLabelSet } from "../data/label-set.ts";
import type { Mention } from "../documents/mention.ts";
import { codePointOffsets } from "../documents/offsets.ts";
import type { Extraction } from "./extractor.ts";
import { decidePair, tripleOf } from "./triples.ts";

const LABELS = createLabelSet(
  {
    labels: ["unknown", "被收购", "收购", "合作", "任职"],
    noRelation: "unknown",
    inverses: { 收购: "被收购" },
    symmetric: ["合作"],
  },
  "labels",
);
const mention = (text: string, start: number): Mention => ({
  ...{ start, end: start + text.length, id: `id-${text}`, name: text, type: null },
});
const [first, second] = [mention("甲", 2), mention("乙", 4)];

function answer(...predictions: [string, number][]): Extraction {
  return {
    predictions: predictions.map(([relation, probability]) => ({ relation, probability })),
    probabilities: new Float64Array(5),
    modelProbabilities: new Float64Array(5),
    truncated: false,
    generated: null,
  };
}

function decided(forward: Extraction | null, backward: Extraction | null, least = 0): string[] {
  const { found, none, below, opposed } = decidePair({ first, second }, { forward, backward }, LABELS, () => least);
  const shown = found.map(
    ({ head, relation, tail, probability }) => `${head.name} ${relation} ${tail.name} ${probability}`,
  );
  return [...shown, `none ${none}`, `below ${below}`, ...(opposed > 0 ? [`opposed ${opposed}`] : [])];
}

describe("the decision on a pair", () => {
  it("gives a relation with an inverse in its declared direction, and once", () => {
    expect(decided(answer(["收购", 0.5]), null)).toEqual(["甲 收购 乙 0.5", "none 0", "below 0"]);
    expect(decided(answer(["被收购", 0.5]), null)).toEqual(["乙 收购 甲 0.5", "none 0", "below 0"]);
    expect(decided(answer(["收购", 0.5]), answer(["被收购", 0.75]))).toEqual(["甲 收购 乙 0.625", "none 0", "below 0"]);
  });

  it("gives a symmetric relation once, from the first mention", () => {
    expect(decided(answer(["合作", 0.5]), answer(["合作", 1]))).toEqual(["甲 合作 乙 0.75", "none 0", "below 0"]);
    expect(decided(null, answer(["合作", 0.5]))).toEqual(["甲 合作 乙 0.5", "none 0", "below 0"]);
  });

  it("keeps the more probable direction of a label without an inverse", () => {
    expect(decided(answer(["任职", 0.5]), answer(["任职", 0.25]))).toEqual([
      "甲 任职 乙 0.5",
      "none 0",
      "below 0",
      "opposed 1",
    ]);
    expect(decided(answer(["任职", 0.2]), answer(["任职", 0.25]))).toEqual([
      "乙 任职 甲 0.25",
      "none 0",
      "below 0",
      "opposed 1",
    ]);
    expect(decided(answer(["任职", 0.5]), answer(["任职", 0.5]))[0]).toBe("甲 任职 乙 0.5");
    expect(decided(answer(["任职", 0.5]), answer(["拥有", 0.5])).slice(0, 2)).toEqual([
      "甲 任职 乙 0.5",
      "乙 拥有 甲 0.5",
    ]);
  });

  it("counts no relation and what is below the threshold", () => {
    expect(decided(answer(["unknown", 0.9]), answer(["任职", 0.4]), 0.5)).toEqual(["none 1", "below 1"]);
    const several = answer(["收购", 0.6], ["合作", 0.4]);
    expect(decided(several, null, 0.5)).toEqual(["甲 收购 乙 0.6", "none 0", "below 1"]);
  });
});

it("gives places in code points and in UTF-16 units", () => {
  const text = "😀甲𠮷乙";
  const found = { head: mention("甲", 2), relation: "合作", tail: mention("乙", 5), probability: 0.12345678 };
  const place = {
    document: "a.txt",
    text,
    sentence: { text: text.slice(2), start: 2, end: 6 },
    offsets: codePointOffsets(text),
    run: "r",
  };
  expect(tripleOf(found, place)).toEqual({
    document: "a.txt",
    sentence: "甲𠮷乙",
    sentenceStart: 1,
    head: { text: "甲", id: "id-甲", name: "甲", type: null, start: 1, end: 2, startUtf16: 2, endUtf16: 3 },
    relation: "合作",
    tail: { text: "乙", id: "id-乙", name: "乙", type: null, start: 3, end: 4, startUtf16: 5, endUtf16: 6 },
    probability: 0.123457,
    run: "r",
  });
});
