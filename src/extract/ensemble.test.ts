import { afterAll, describe, expect, it } from "vitest";
import { TINY_LABELS, tinyExtractor } from "../../test/tiny-extractor.ts";
import { openReference } from "../compute/reference/backend.ts";
import { createLabelSet } from "../data/label-set.ts";
import { ensembleExtractor, meanDistribution } from "./ensemble.ts";
import type { Extraction } from "./extractor.ts";

const backend = openReference();
afterAll(() => backend.close());

const ROWS = [
  { sentence: "昨天远山收购了近水。", head: "远山", tail: "近水" },
  { sentence: "远山与近水合作开发新药。", head: "近水", tail: "远山" },
];
const expectEqual = (got: ArrayLike<number>, want: ArrayLike<number>) => {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(got[i]).toBeCloseTo(want[i], 12);
};

describe("meanDistribution", () => {
  it("averages probabilities and adds up to 1", () => {
    expectEqual(
      meanDistribution([
        [0.8, 0.2, 0],
        [0.4, 0.1, 0.5],
      ]),
      [0.6, 0.15, 0.25],
    );
    expectEqual(meanDistribution([[0.5, 0.25]]), [2 / 3, 1 / 3]);
  });
});

describe("ensembleExtractor", () => {
  it("averages what each extractor gives as it decodes, by the names of labels", async () => {
    const { labels, noRelation, inverses } = TINY_LABELS;
    const reversed = createLabelSet(
      { labels: [...labels].reverse(), noRelation, inverses: Object.fromEntries(inverses) },
      "labels",
    );
    const a = await tinyExtractor(backend, { bothDirections: true, noRelationWeight: 3 });
    const b = await tinyExtractor(backend, { style: "between", labels: reversed });
    const both = ensembleExtractor([a, b]);
    const [ofA, ofB, mean] = [await a.extract(ROWS), await b.extract(ROWS), await both.extract(ROWS)];
    for (const i of ROWS.keys()) {
      const inOrder = Array.from(ofB[i].probabilities).reverse();
      // A test of nothing if both said the same.
      expect(Math.abs(ofA[i].probabilities[0] - inOrder[0])).toBeGreaterThan(1e-3);
      expectEqual(
        mean[i].probabilities,
        inOrder.map((p, k) => (p + ofA[i].probabilities[k]) / 2),
      );
      const none = labels.indexOf(noRelation as string);
      const weighted = mean[i].probabilities.map((p, k) => (k === none ? p * Math.sqrt(3) : p));
      const best = weighted.indexOf(Math.max(...weighted));
      expect(mean[i].predictions).toEqual([{ relation: labels[best], probability: mean[i].probabilities[best] }]);
      expectEqual(
        mean[i].modelProbabilities,
        Array.from(ofB[i].modelProbabilities)
          .reverse()
          .map((p, k) => (p + ofA[i].modelProbabilities[k]) / 2),
      );
    }
    expect(both.labels).toBe(a.labels);
    expect(both.settings.noRelationWeight).toBeCloseTo(Math.sqrt(3), 12);
    expect(both.settings.furtherRelations).toBe(1);
    expect(both.arithmetic).toBe(a.arithmetic);
  });

  it("gives the problem of a row that one cannot use, and the other rows", async () => {
    const long = await tinyExtractor(backend, { maxPromptTokens: 200 });
    const short = await tinyExtractor(backend, { maxPromptTokens: 30 });
    const head = "远山集团股份有限公司及其全体子公司和分公司的联合体".repeat(2);
    const rows = [ROWS[0], { sentence: `${head}收购近水`, head, tail: "近水" }, { ...ROWS[1], tail: "不在" }];
    const results = await ensembleExtractor([long, short]).extractEach(rows);
    expect((results[0] as Extraction).predictions).toHaveLength(1);
    expect(results[1]).toEqual({ problem: expect.stringContaining("with the entities alone, expected at most 30") });
    expect(results[2]).toEqual({ problem: expect.stringContaining("expected a part of the sentence") });
    await expect(ensembleExtractor([long, short]).extract(rows.slice(0, 2))).rejects.toThrow("expected at most 30");
  });

  it("normalises before reading only where all do so alike", async () => {
    const plain = await tinyExtractor(backend, { normalize: "none" });
    const folded = await tinyExtractor(backend, { normalize: "nfkc" });
    expect(ensembleExtractor([folded, folded]).normalize).toBe("nfkc");
    expect(ensembleExtractor([plain, folded]).normalize).toBeUndefined();
  });
});
