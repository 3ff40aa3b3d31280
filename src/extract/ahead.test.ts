import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { readAhead } from "./ahead.ts";

describe("reading ahead", () => {
  it("gives the items in order, and requests one more than the caller has", async () => {
    let requested = 0;
    async function* numbers() {
      for (let i = 1; i <= 4; i++) {
        requested = i;
        yield i;
      }
    }
    const seen: [number, number][] = [];
    for await (const item of readAhead(numbers())) {
      await sleep(1);
      seen.push([item, requested]);
    }
    expect(seen).toEqual([
      [1, 2],
      [2, 3],
      [3, 4],
      [4, 4],
    ]);
  });

  it("throws a failure where its item would come, and ends the source when the caller does", async () => {
    let isEnded = false;
    async function* failing() {
      try {
        yield 1;
        yield 2;
        throw new Error("broken");
      } finally {
        isEnded = true;
      }
    }
    const seen: number[] = [];
    await expect(
      (async () => {
        for await (const item of readAhead(failing())) seen.push(item);
      })(),
    ).rejects.toThrow("broken");
    expect(seen).toEqual([1, 2]);
    isEnded = false;
    for await (const item of readAhead(failing())) if (item === 1) break;
    await sleep(1);
    expect(isEnded).toBe(true);
  });
});
