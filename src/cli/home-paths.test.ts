import { describe, expect, it } from "vitest";
import { expectExpandedPaths } from "./home-paths.ts";

describe("expectExpandedPaths", () => {
  it.each([
    [["evaluate", "~/runs/x"]],
    [["export", "run", "--to", "merged", "--output", "~/out"]],
    [["export", "run", "--output=~/out"]],
    [["train", "r.yaml", "--set", "model.path=~/models/x"]],
    [["data", "stats", "~"]],
  ])("refuses %s", (words) => {
    expect(() => expectExpandedPaths(words)).toThrow('"~" is not the home folder');
  });

  it.each([
    [["evaluate", "./~/runs/x"]],
    [["model", "generate", "base", "--prompt", "~/.bashrc"]],
    [["model", "generate", "base", "--prompt=~"]],
    [["train", "r.yaml", "--run", "runs/a~b", "--set", "seed=~x"]],
  ])("lets %s through", (words) => {
    expect(() => expectExpandedPaths(words)).not.toThrow();
  });
});
