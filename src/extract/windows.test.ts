import { describe, expect, it } from "vitest";
import { windowsOf } from "./windows.ts";

describe("windowsOf", () => {
  it("cuts lists and streams into windows, reading no further than the window needs", async () => {
    const windows: number[][] = [];
    for await (const window of windowsOf([1, 2, 3, 4, 5], 2)) windows.push(window);
    expect(windows).toEqual([[1, 2], [3, 4], [5]]);
    let read = 0;
    async function* endless() {
      for (;;) yield ++read;
    }
    for await (const window of windowsOf(endless(), 3)) {
      expect(window).toEqual([1, 2, 3]);
      break;
    }
    expect(read).toBe(3);
    for await (const _ of windowsOf([], 3)) expect.fail("a window of nothing");
  });
});
