import { expect, it } from "vitest";
import { missingDataProblem, missingModelProblem } from "./path-hints.ts";

it("says what a missing path may have been meant to be, or where a relative one starts", () => {
  expect(missingModelProblem("model.path", "/r/recipes/Qwen/Qwen2-0.5B")).toMatch(
    /^model\.path: \/r\/recipes\/Qwen\/Qwen2-0\.5B does not exist \(if "Qwen\/Qwen2-0\.5B" is a name of the Hugging Face hub.*; a relative path .* starts at the folder/,
  );
  expect(missingModelProblem("model.path", "/tmp/no-model")).toContain("starts at the folder of the recipe's file");
  expect(missingDataProblem("data.path", "/r/~/data")).toContain('"~"');
  expect(missingDataProblem("data.path", "/r/data")).toBe("data.path: /r/data does not exist");
});
