import { expect, it } from "vitest";
import { createLabelSet } from "../data/label-set.ts";
import { decideSentencePair, questionsOfPair } from "./pair-answers.ts";

const labels = createLabelSet(
  {
    labels: ["无", "收购", "被收购", "合作", "任职"],
    noRelation: "无",
    inverses: { 收购: "被收购", 合作: "合作" },
  },
  "labels",
);
const sentence = "甲收购乙。";
const pair = (forward?: string[], backward?: string[]) => ({
  forward: { sentence, head: "甲", tail: "乙", relations: forward },
  backward: { sentence, head: "乙", tail: "甲", relations: backward },
  isLabelled: true,
});

it("decides both orders together, as documents are", () => {
  const answers = [[{ relation: "收购", probability: 0.9 }], [{ relation: "被收购", probability: 0.7 }]];
  // Both rows and both answers say one relation.
  expect(decideSentencePair(pair(["收购"], ["被收购", "无"]), answers, labels)).toEqual({
    gold: [{ relation: "收购", isForward: true }],
    found: [{ relation: "收购", isForward: true, probability: 0.8 }],
  });
});

it("gives a pair without a row no gold relation", () => {
  const { gold, found } = decideSentencePair(pair(), [[], [{ relation: "任职", probability: 0.6 }]], labels);
  expect(gold).toEqual([]);
  expect(found).toEqual([{ relation: "任职", isForward: false, probability: 0.6 }]);
});

it("asks one order where every label has an inverse", () => {
  expect(questionsOfPair(pair(), labels)).toHaveLength(2);
  const closed = createLabelSet({ labels: ["收购", "被收购"], inverses: { 收购: "被收购" } }, "labels");
  expect(questionsOfPair(pair(), closed)).toHaveLength(1);
});
