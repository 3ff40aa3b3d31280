import { expect, it } from "vitest";
import type { Example } from "./example.ts";
import { pairsBySentence } from "./sentence-pairs.ts";

const sentence = "甲收购乙，丙与甲合作。";
const row = (head: string, tail: string, ...relations: string[]): Example => ({ sentence, head, tail, relations });

it("makes each two entities of a sentence one pair, in the order of the text, with the relations of the rows", () => {
  const [{ pairs }] = [...pairsBySentence([row("甲", "乙", "收购"), row("丙", "甲", "合作"), row("甲", "乙", "控股")])];
  expect(pairs).toEqual([
    {
      forward: { sentence, head: "甲", tail: "乙", relations: ["收购", "控股"] },
      backward: { sentence, head: "乙", tail: "甲" },
      isLabelled: true,
    },
    {
      // The nearest mention of 甲 is behind 丙.
      forward: { sentence, head: "丙", tail: "甲", relations: ["合作"] },
      backward: { sentence, head: "甲", tail: "丙" },
      isLabelled: true,
    },
    {
      forward: { sentence, head: "乙", tail: "丙" },
      backward: { sentence, head: "丙", tail: "乙" },
      isLabelled: false,
    },
  ]);
});

it("keeps the places of rows, and turns them for the other order", () => {
  const places = { headSpan: { start: 0, end: 1 }, tailSpan: { start: 3, end: 4 } };
  const [{ pairs }] = [...pairsBySentence([{ ...row("甲", "乙", "收购"), ...places }])];
  expect(pairs[0].forward).toMatchObject(places);
  expect(pairs[0].backward).toEqual({
    ...{ sentence, head: "乙", tail: "甲" },
    headSpan: places.tailSpan,
    tailSpan: places.headSpan,
  });
});

it("asks a row's pair also where its entities overlap, and no other such pair", () => {
  const text = "中国平安收购丁。";
  const rows = [
    { sentence: text, head: "中国平安", tail: "平安", relations: ["别名"] },
    { sentence: text, head: "中国", tail: "丁", relations: ["收购"] },
  ];
  const [{ pairs }] = [...pairsBySentence(rows)];
  const texts = pairs.map(({ forward, isLabelled }) => `${forward.head} ${forward.tail} ${isLabelled}`);
  expect(texts.sort()).toEqual(
    ["中国 丁 true", "中国 平安 false", "中国平安 丁 false", "中国平安 平安 true", "平安 丁 false"].sort(),
  );
});
