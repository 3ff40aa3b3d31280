import { beforeEach, describe, expect, it, vi } from "vitest";
import { fakeTerminal } from "../../test/fake-terminal.ts";
import { parseStorage, showLoading } from "./loading.ts";

describe("--storage", () => {
  it("takes the names of recipes, and bf16", () => {
    expect(["bf16", "bfloat16", "int8", "nf4", "float32"].map(parseStorage)).toEqual([
      ...["bfloat16", "bfloat16", "int8", "nf4", "float32"],
    ]);
  });

  it("says which there are", () => {
    expect(() => parseStorage("nf5")).toThrow("expected bf16, int8, nf4 or float32; did you mean nf4?");
    expect(() => parseStorage("constructor")).toThrow("expected bf16, int8, nf4 or float32.");
  });
});

describe("loading", () => {
  const terminal = fakeTerminal();
  beforeEach(() => terminal.setTerminal(true));

  it("shows nothing of a model that is there at once", () => {
    const onLoad = showLoading();
    for (let done = 1; done <= 20; done++) onLoad(done, 20);
    expect(terminal.said).toBe("");
  });

  it("shows a bar of one that takes time, and takes it away", () => {
    const onLoad = showLoading();
    vi.advanceTimersByTime(1000);
    onLoad(1, 4);
    vi.advanceTimersByTime(1000);
    onLoad(2, 4);
    expect(terminal.said).toContain("2/4  tensors  1 s left");
    onLoad(4, 4);
    expect(terminal.said.endsWith("\r\x1b[2K")).toBe(true);
  });
});
