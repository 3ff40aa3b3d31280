import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openDataset } from "./dataset.ts";
import { formatStatistics } from "./format-statistics.ts";
import { createLabelSet } from "./label-set.ts";
import { datasetStatistics } from "./statistics.ts";

const LABELS = createLabelSet(
  { labels: ["无", "收购", "被收购", "合作"], noRelation: "无", inverses: { 收购: "被收购" }, symmetric: ["无"] },
  "labels",
);

const TRAIN = [
  { sentence: "甲收购乙", head: "甲", tail: "乙", relations: ["收购"] },
  { sentence: "甲收购乙", head: "乙", tail: "甲", relations: ["被收购"] },
  { sentence: "丙丁", head: "丙", tail: "丁", relations: ["收购", "无", "收购"] },
  { sentence: "丙丁", head: "丁", tail: "丙", relations: ["被收购"] },
  { sentence: "𠮷和𠮷", head: "𠮷", tail: "𠮷", relations: ["无"] },
  { sentence: "戊集团", head: "戊", tail: "戊集团", relations: ["合作"] },
  { sentence: "戊集团", head: "戊集团", tail: "戊", relations: ["合作"] },
];
const TEST = [
  { sentence: "甲收购乙", head: "乙", tail: "甲", relations: ["被收购"] },
  { sentence: "甲收购乙", head: "甲", tail: "收购", relations: ["无"] },
  { sentence: "丙又收购丁", head: "丙", tail: "丁", relations: ["收购"] },
  { sentence: "𠮷和𠮷。", head: "𠮷", tail: "𠮷", relations: ["无"] },
];

describe("datasetStatistics", () => {
  const statistics = datasetStatistics(
    [
      { name: "train", examples: TRAIN, counts: { rows: 9, badRows: 1, merged: 1, exactDuplicates: 1, examples: 7 } },
      { name: "test", examples: TEST },
    ],
    LABELS,
  );

  it("counts what is in a split", () => {
    expect(statistics.splits[0]).toEqual({
      name: "train",
      rows: 9,
      badRows: 1,
      merged: 1,
      exactDuplicates: 1,
      examples: 7,
      sentences: 4,
      noRelationOnly: 1,
      multiRelation: 1,
      sameEntity: 1,
      overlappingEntities: 3,
      sentenceChars: { mean: 21 / 7, median: 3, p95: 4, max: 4 },
      mirrored: 6,
      inverseChecked: 4,
      inverseConsistent: 2,
      labels: { 无: 2, 收购: 2, 被收购: 2, 合作: 2 },
    });
  });

  it("counts what two splits share: a pair in either order, a fact in its direction and without no-relation", () => {
    expect(statistics.leakage).toEqual([
      { from: "train", to: "test", examples: 4, sameSentence: 2, sameSentenceAndPair: 1, samePairAndLabel: 2 },
    ]);
  });

  it("handles examples without relations and no examples at all", () => {
    const [bare, none] = datasetStatistics(
      [
        { name: "bare", examples: [{ sentence: "甲乙", head: "甲", tail: "乙" }] },
        { name: "none", examples: [] },
      ],
      LABELS,
    ).splits;
    expect([bare.noRelationOnly, bare.multiRelation, bare.inverseChecked]).toEqual([0, 0, 0]);
    expect(none.sentenceChars).toEqual({ mean: 0, median: 0, p95: 0, max: 0 });
  });
});

describe("formatStatistics", () => {
  it("aligns columns by display width and ends with a line break", () => {
    const text = formatStatistics(datasetStatistics([{ name: "train", examples: TRAIN }], LABELS));
    const lines = text.split("\n");
    const heading = lines.findIndex((line) => line.startsWith("examples with each"));
    expect(lines.slice(heading, heading + 5)).toEqual([
      "examples with each of the 4 labels       train",
      "无                                  2 (28.6 %)",
      "收购                                2 (28.6 %)",
      "被收购                              2 (28.6 %)",
      "合作                                2 (28.6 %)",
    ]);
    expect(lines).toContain("(tail, head) is there too  6 (85.7 %)");
    expect(lines).toContain("… with the inverse labels  2 (50.0 %)");
    expect(text.endsWith("\n")).toBe(true);
    expect(text).not.toContain("in both");
    expect(text.includes("\u001b")).toBe(false);
  });

  it("shows what splits share", () => {
    const text = formatStatistics(
      datasetStatistics(
        [
          { name: "train", examples: TRAIN },
          { name: "test", examples: TEST },
        ],
        LABELS,
      ),
    );
    expect(text).toMatch(/train → test +2 \(50\.0 %\) +1 \(25\.0 %\) +2 \(50\.0 %\)/);
  });
});

const finre = join(import.meta.dirname, "../../../shared/data/finre");
if (!existsSync(finre)) console.warn(`skipped: the published data are not at ${finre}`);

describe.skipIf(!existsSync(finre))("FinRE", () => {
  it("is mirrored with exact inverse labels", async () => {
    const dataset = await openDataset(finre);
    const { examples, counts } = await dataset.split("test");
    const [test] = datasetStatistics([{ name: "test", examples, counts }], dataset.labels).splits;
    expect([test.sameEntity, test.mirrored, test.inverseChecked, test.inverseConsistent]).toEqual([
      1, 3358, 3358, 3358,
    ]);
    expect(Math.round(test.sentenceChars.mean)).toBe(54);
  });
});
