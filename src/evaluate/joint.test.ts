import { describe, expect, it } from "vitest";
import { jointMetrics } from "./joint.ts";

const triple = (head: string, relation: string, tail: string) => ({ head, relation, tail });

describe("joint scores", () => {
  const rows = [
    {
      sentence: "一",
      gold: [triple("甲", "收购", "乙"), triple("乙", "unknown", "甲")],
      predicted: [triple("甲", "收购", "乙"), triple("乙", "收购", "甲"), triple("甲", "unknown", "丙")],
      goldMentions: ["甲", "乙"],
      mentions: ["甲", "乙", "丙"],
    },
    { sentence: "二", gold: [triple("丁", "合作", "戊")], predicted: [], goldMentions: ["丁", "戊"], mentions: ["丁"] },
  ];

  it("count whole triples, with and without no relation, and mentions", () => {
    const { sentences, triples, relations, mentions } = jointMetrics(rows, "unknown");
    expect(sentences).toBe(2);
    expect(triples).toMatchObject({ hits: 1, predicted: 3, gold: 3, precision: 1 / 3, recall: 1 / 3, f1: 1 / 3 });
    expect(relations).toMatchObject({ hits: 1, predicted: 2, gold: 2, f1: 1 / 2 });
    expect(mentions).toMatchObject({ hits: 3, predicted: 4, gold: 4, f1: 3 / 4 });
  });

  it("count what is found twice once", () => {
    const [first] = rows;
    const twice = {
      ...first,
      predicted: [...first.predicted, ...first.predicted],
      mentions: [...first.mentions, "甲"],
    };
    expect(jointMetrics([twice], "unknown")).toEqual(jointMetrics([first], "unknown"));
  });

  it("have an interval around the F1, and are 0 for nothing", () => {
    const many = Array.from({ length: 60 }, (_, i) => ({ ...rows[i % 2], sentence: `${i}` }));
    const { triples } = jointMetrics(many, "unknown");
    expect(triples.interval.low).toBeLessThan(triples.f1);
    expect(triples.interval.high).toBeGreaterThan(triples.f1);
    const empty = { sentence: "", gold: [], predicted: [], goldMentions: [], mentions: [] };
    expect(jointMetrics([empty], null).triples).toMatchObject({ f1: 0, precision: 0, recall: 0 });
  });
});
