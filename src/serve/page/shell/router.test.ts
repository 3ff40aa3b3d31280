import { expect, it } from "vitest";
import { hashOf, routeOf } from "./router.ts";

it("reads addresses, and writes them", () => {
  expect(routeOf("")).toEqual({ view: "extract", rest: [] });
  expect(routeOf("#/nothing/x")).toEqual({ view: "extract", rest: [] });
  expect(routeOf("#/runs/%E6%BC%94%E7%A4%BA")).toEqual({ view: "runs", rest: ["演示"] });
  expect(routeOf("#/runs/%E6")).toEqual({ view: "runs", rest: ["%E6"] });
  expect(routeOf(hashOf("runs", "a/b", "演示"))).toEqual({ view: "runs", rest: ["a/b", "演示"] });
});
