import { describe, expect, it } from "vitest";
import { expectShallow } from "./nesting.ts";

describe("expectShallow", () => {
  it("refuses deep brackets and indicators at once, in a megabyte, too", () => {
    for (const open of ["[", "{a: ", "- ", "? "]) {
      expect(() => expectShallow(`seed: 1\nx: ${open.repeat(300)}`, "recipe.yaml")).toThrow(/^recipe\.yaml: is nested/);
      expect(() => expectShallow(open.repeat(300_000), "recipe.yaml")).toThrow("more than 200 levels");
    }
  });

  it("takes many brackets beside each other, and some within each other", () => {
    expectShallow("grid: [[1], [2]]\n".repeat(1000), "recipe.yaml");
    expectShallow(`x: ${"[".repeat(100)}${"]".repeat(100)}`, "recipe.yaml");
    expectShallow("- a\n- b\n".repeat(1000), "recipe.yaml");
  });
});
