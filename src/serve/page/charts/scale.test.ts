import { expect, it } from "vitest";
import { dateTime, percent, points, referenceName } from "./format.ts";
import { pathOf, ticksOf } from "./scale.ts";

it("has round ticks over a range", () => {
  expect(ticksOf(0, 8.7, 5)).toEqual([0, 5, 10]);
  expect(ticksOf(0, 1, 6)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(ticksOf(0.13, 0.21, 4)).toEqual([0.1, 0.15, 0.2, 0.25]);
  expect(ticksOf(3, 3, 4)).toEqual([3, 4]);
  expect(ticksOf(0, Number.NaN, 4)).toHaveLength(2);
  expect(
    pathOf([
      [0, 1],
      [2.25, 3],
    ]),
  ).toBe("M0.0 1.0L2.3 3.0");
});

it("writes numbers as people of the language read them", () => {
  expect([percent(0.4567), points(0.0123), points(-0.02), points(0.0001)]).toEqual(["45.7%", "+1.2", "−2.0", "0.0"]);
  expect(referenceName("always unknown", "zh")).toBe("一律答“unknown”");
  expect(referenceName("linear floor", "en")).toBe("linear floor");
  expect(dateTime("no date")).toBe("no date");
});
