import { describe, expect, it } from "vitest";
import { joinRows, reorderRotaryRows } from "./weight-rows.ts";

describe("reorderRotaryRows", () => {
  it("moves rows i and i + half next to each other, and back", () => {
    // One head of 6 rows with 2 columns: reshape(heads, 2, half, …).swapaxes(1, 2) in llama.cpp's converter.
    const rows = Float32Array.of(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5);
    const interleaved = reorderRotaryRows(rows, 1, 6, "interleaved");
    expect(Array.from(interleaved)).toEqual([0, 0, 3, 3, 1, 1, 4, 4, 2, 2, 5, 5]);
    expect(reorderRotaryRows(interleaved, 1, 6, "halves")).toEqual(rows);
  });
});

describe("joinRows", () => {
  it("puts matrices one below the other, and copies nothing for one", () => {
    expect(Array.from(joinRows([Float32Array.of(1, 2), Float32Array.of(3)]))).toEqual([1, 2, 3]);
    const one = Float32Array.of(1);
    expect(joinRows([one])).toBe(one);
  });
});
