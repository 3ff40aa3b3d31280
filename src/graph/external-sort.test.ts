import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { externalSorter } from "./external-sort.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-sort-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const KEYS = ["", "甲", "乙", "a\tb", "a\nb", "a\u2028b", '"', "😀", "a"];

async function sorted(memoryUnits: number): Promise<{ records: [string, number][]; spilled: number }> {
  const sorter = externalSorter<number>(folder, "keys", memoryUnits);
  const random = createRandom(1);
  for (let i = 0; i < 500; i++) await sorter.add(KEYS[random.below(KEYS.length)], i);
  const spilled = readdirSync(folder).length;
  const records: [string, number][] = [];
  for await (const { key, value } of sorter.sorted()) records.push([key, value]);
  await sorter.close();
  return { records, spilled };
}

describe("an external sort", () => {
  it("gives equal keys together, in the order of their addition", async () => {
    const { records, spilled } = await sorted(1e9);
    expect(spilled).toBe(0);
    expect(records).toHaveLength(500);
    const seen = new Set<string>();
    for (const [i, [key, value]] of records.entries()) {
      const [before, earlier] = records[i - 1] ?? ["none", -1];
      if (before === key) expect(value).toBeGreaterThan(earlier);
      else expect(seen.has(key)).toBe(false);
      seen.add(key);
    }
    expect(seen.size).toBe(KEYS.length);
  });

  it("gives the same from spill files, and removes them", async () => {
    const inMemory = await sorted(1e9);
    const { records, spilled } = await sorted(1000);
    expect(spilled).toBeGreaterThan(5);
    expect(records).toEqual(inMemory.records);
    expect(readdirSync(folder)).toEqual([]);
  });
});
