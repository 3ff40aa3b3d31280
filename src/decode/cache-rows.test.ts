import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { createCacheRows, type RowSpan } from "./cache-rows.ts";

describe("rows of a cache", () => {
  it("are free again when the last holder has released them", () => {
    const rows = createCacheRows(10);
    const first = rows.take(6) as RowSpan;
    rows.hold(first);
    expect([first, rows.free, rows.take(5)]).toEqual([{ start: 0, length: 6 }, 4, null]);
    rows.release(first);
    expect(rows.free).toBe(4);
    rows.release({ start: 2, length: 2 });
    rows.release({ start: 0, length: 2 });
    expect([rows.free, rows.take(3)]).toEqual([8, { start: 6, length: 3 }]);
  });

  it("are found in pieces where there are none next to each other", () => {
    const rows = createCacheRows(8);
    for (let i = 0; i < 8; i++) rows.take(1);
    for (const start of [1, 2, 4, 7]) rows.release({ start, length: 1 });
    expect(rows.take(3)).toBeNull();
    expect(rows.takeAny(5)).toBeNull();
    expect(rows.takeAny(0)).toEqual([]);
    expect(rows.takeAny(4)).toEqual([
      { start: 1, length: 2 },
      { start: 4, length: 1 },
      { start: 7, length: 1 },
    ]);
    expect(rows.free).toBe(0);
  });

  it("are never given twice", () => {
    const random = createRandom(1);
    const rows = createCacheRows(200);
    const used = new Set<number>();
    const held: RowSpan[] = [];
    for (let i = 0; i < 5000; i++) {
      if (random.below(2) === 0 && held.length > 0) {
        const [span] = held.splice(random.below(held.length), 1);
        rows.release(span);
        for (let row = span.start; row < span.start + span.length; row++) used.delete(row);
        continue;
      }
      const length = 1 + random.below(12);
      const spans = random.below(2) === 0 ? [rows.take(length)] : (rows.takeAny(length) ?? [null]);
      for (const span of spans) {
        if (span === null) continue;
        held.push(span);
        for (let row = span.start; row < span.start + span.length; row++) {
          expect(used.has(row)).toBe(false);
          used.add(row);
        }
      }
      expect(rows.free).toBe(200 - used.size);
    }
  });
});
