import { describe, expect, it } from "vitest";
import { createOverlapIndex } from "./overlap.ts";

const LONG = "甲公司昨日宣布将以三亿元收购乙公司百分之三十的股份。";
const SHORT = "他在山上等她。";

describe("createOverlapIndex", () => {
  const index = createOverlapIndex([LONG, SHORT, LONG]);

  it("finds a run of 18 characters in a text, and no shorter one", () => {
    expect(index.sharesRun(`据悉，${LONG.slice(3, 21)}等等`)).toBe(true);
    expect(index.sharesRun(`据悉，${LONG.slice(3, 20)}等等`)).toBe(false);
    expect(index.sharesRun("")).toBe(false);
  });

  it("finds short sentences that have each other in them", () => {
    expect(index.sharesRun(SHORT)).toBe(false);
    expect(index.repeats(SHORT)).toBe(true);
    expect(index.repeats(`那天${SHORT}天很冷。`)).toBe(true);
    expect(index.repeats("在山上等她")).toBe(true);
    expect(index.repeats("他在山下等她。")).toBe(false);
    expect(index.repeats(`据悉，${LONG.slice(3, 21)}等等`)).toBe(true);
  });
});
