import { describe, expect, it } from "vitest";
import { exampleProblem, mentionsOf, quoted } from "./example.ts";

describe("mentionsOf", () => {
  it("gives every occurrence from the left without overlap, or just the span", () => {
    expect(mentionsOf("哈哈哈他哈哈", "哈哈")).toEqual([
      { start: 0, end: 2 },
      { start: 4, end: 6 },
    ]);
    expect(mentionsOf("哈哈哈", "哈", { start: 1, end: 2 })).toEqual([{ start: 1, end: 2 }]);
    expect(mentionsOf("哈", "他")).toEqual([]);
    expect(mentionsOf("哈", "")).toEqual([]);
  });
});

describe("exampleProblem", () => {
  const good = { sentence: "甲收购𠮷乙。", head: "甲", tail: "乙" };

  it("is null for good examples", () => {
    expect(exampleProblem(good)).toBeNull();
    expect(exampleProblem({ ...good, headSpan: { start: 0, end: 1 }, tailSpan: { start: 5, end: 6 } })).toBeNull();
  });

  it.each([
    [{ sentence: " " }, "got an empty sentence, expected text"],
    [{ head: "" }, "got an empty head, expected text"],
    [{ tail: "　" }, "got an empty tail, expected text"],
    [{ head: "\ud842" }, "got half a surrogate pair in the head, expected whole characters"],
    [{ tail: "丙" }, 'got the tail "丙", expected a part of the sentence "甲收购𠮷乙。"'],
    [{ headSpan: { start: 1, end: 2 } }, 'got the head span [1, 2), which is "收", expected "甲"'],
    [{ headSpan: { start: -7, end: -6 } }, "got the head span [-7, -6), expected 0 ≤ start < end ≤ 7"],
    [{ tailSpan: { start: 3, end: 8 } }, "got the tail span [3, 8), expected 0 ≤ start < end ≤ 7"],
    [{ tailSpan: { start: 3, end: 3 } }, "got the tail span [3, 3), expected 0 ≤ start < end ≤ 7"],
    [
      { tailSpan: { start: 4, end: 5 } },
      "got the tail span [4, 5) counted in code points, expected UTF-16 code units (as JavaScript and Java count)",
    ],
  ])("says what is wrong with %j", (change, problem) => {
    expect(exampleProblem({ ...good, ...change })).toBe(problem);
  });
});

describe("quoted", () => {
  it("cuts long text between characters", () => {
    expect(quoted("短")).toBe('"短"');
    expect(quoted("𠮷".repeat(50), 3)).toBe('"𠮷𠮷𠮷"…');
    expect(quoted("𠮷𠮷𠮷", 3)).toBe('"𠮷𠮷𠮷"');
    expect(quoted("a\tb")).toBe('"a\\tb"');
  });
});
