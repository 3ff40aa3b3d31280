import { describe, expect, it } from "vitest";
import { columnsOf, grid, padded, wrapped } from "./text-layout.ts";

describe("columns of a terminal", () => {
  it("are two for a Chinese character, none for a combining mark", () => {
    expect(["abc", "华盛达", "，。", "［", "e\u0301", "▁[", "𠀀", "😀", "é—…"].map(columnsOf)).toEqual([
      3, 6, 4, 2, 1, 2, 2, 2, 3,
    ]);
    expect(padded("收购", 6)).toBe("收购  ");
    expect(padded("收购", 3)).toBe("收购");
  });
});

describe("wrapped", () => {
  it("cuts at blanks and keeps a long word whole", () => {
    expect(wrapped("one two three fourteen", 7)).toEqual(["one two", "three", "fourteen"]);
    expect(wrapped("甲乙 丙丁 戊", 9)).toEqual(["甲乙 丙丁", "戊"]);
  });
});

describe("grid", () => {
  it("aligns cells and fills lines within the width", () => {
    expect(grid(["1 a", "2 收购", "3 b"], 14)).toEqual(["1 a     2 收购", "3 b"]);
    expect(grid(["1 a", "2 收购"], 3)).toEqual(["1 a", "2 收购"]);
    expect(grid([], 10)).toEqual([]);
  });
});
