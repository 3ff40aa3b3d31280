import { afterAll, describe, expect, it } from "vitest";
import { TINY_LABELS, tinyExtractor } from "../../test/tiny-extractor.ts";
import { openReference } from "../compute/reference/backend.ts";
import { createLabelSet } from "../data/label-set.ts";
import { manyEntities, measureExtraction } from "./extract.ts";

const backend = openReference();
afterAll(() => backend.close());
const rows = [
  { sentence: "远山集团收购近水科技。", head: "远山集团", tail: "近水科技" },
  { sentence: "甲与乙合作。", head: "甲", tail: "乙" },
];

describe("the measurement of extraction", () => {
  it("makes sentences with all pairs of their entities, as documents ask them", () => {
    const { one, all, orderedPairs } = manyEntities(rows, 3, 4, TINY_LABELS);
    expect([one.length, all.length, orderedPairs]).toEqual([3, 3 * 12, 3 * 12]);
    for (const { sentence, head, tail } of all) expect(sentence.includes(head) && sentence.includes(tail)).toBe(true);
    expect(new Set(all.map(({ head, tail }) => `${head} ${tail}`)).size).toBe(12);
    // Fewer names than wanted.
    expect(manyEntities(rows, 1, 9, TINY_LABELS).all).toHaveLength(12);
    // Where every label has an inverse, one order answers for both.
    const closed = createLabelSet({ labels: ["收购", "被收购"], inverses: { 收购: "被收购" } }, "labels");
    const mirrored = manyEntities(rows, 3, 4, closed);
    expect([mirrored.all.length, mirrored.orderedPairs]).toEqual([3 * 6, 3 * 12]);
  });

  it("counts what the pairs of a sentence share once", async () => {
    const { all } = manyEntities(rows, 2, 4, TINY_LABELS);
    const marked = await measureExtraction(await tinyExtractor(backend), all, 1);
    const pairs = await measureExtraction(await tinyExtractor(backend, { style: "pairs" }), all, 1);
    expect(pairs.computedTokens).toBeLessThan(marked.computedTokens / 1.5);
    expect(pairs.rowsPerSecond).toBeGreaterThan(0);
    expect(pairs.rows).toBe(all.length);
  });
});
