import { afterAll, describe, expect, it } from "vitest";
import { tinyExtractor } from "../../test/tiny-extractor.ts";
import { openReference } from "../compute/reference/backend.ts";
import { manyEntities, measureExtraction } from "./extract.ts";

const backend = openReference();
afterAll(() => backend.close());
const rows = [
  { sentence: "远山集团收购近水科技。", head: "远山集团", tail: "近水科技" },
  { sentence: "甲与乙合作。", head: "甲", tail: "乙" },
];

describe("the measurement of extraction", () => {
  it("makes sentences with all pairs of their entities", () => {
    const { one, all } = manyEntities(rows, 3, 4);
    expect([one.length, all.length]).toEqual([3, 3 * 12]);
    for (const { sentence, head, tail } of all) expect(sentence.includes(head) && sentence.includes(tail)).toBe(true);
    expect(new Set(all.map(({ head, tail }) => `${head} ${tail}`)).size).toBe(12);
    // Fewer names than wanted.
    expect(manyEntities(rows, 1, 9).all).toHaveLength(12);
  });

  it("counts what the pairs of a sentence share once", async () => {
    const { all } = manyEntities(rows, 2, 4);
    const marked = await measureExtraction(await tinyExtractor(backend), all, 1);
    const pairs = await measureExtraction(await tinyExtractor(backend, { style: "pairs" }), all, 1);
    expect(pairs.computedTokens).toBeLessThan(marked.computedTokens / 1.5);
    expect(pairs.rowsPerSecond).toBeGreaterThan(0);
    expect(pairs.rows).toBe(all.length);
  });
});
