import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { homeHint, missingModelHint } from "./path-hints.ts";

describe("missingModelHint", () => {
  it.each(["Qwen/Qwen2-0.5B", "/no/recipes/Qwen/Qwen2-0.5B"])("knows a name of the hub: %s", (path) => {
    expect(missingModelHint(path)).toMatch(/"Qwen\/Qwen2-0\.5B".*Hugging Face.*download/);
  });

  it.each(["~", "~/models/x", "/recipes/~/models/x"])("names the ~ that no shell replaced: %s", (path) => {
    expect(missingModelHint(path)).toContain('"~"');
  });

  it.each([
    "model",
    "a/b/c",
    "../Qwen",
    "./Qwen/Qwen2",
    "models/tokenizer.model",
    join(tmpdir(), "no-such-model"),
    "a~/b",
    "~user/x",
  ])("says nothing of %s", (path) => {
    expect(missingModelHint(path)).toBeUndefined();
  });

  it("has nothing to say of a folder that is called ~ and exists", () => {
    expect(homeHint("/no/~")).toContain("home folder");
    expect(homeHint("/")).toBeUndefined();
  });
});
