import { describe, expect, it } from "vitest";
import { METHODS } from "../adapters/methods.ts";
import { missingExport } from "./run.ts";
import type { ExportKind } from "./trained-tensors.ts";

const KINDS: readonly ExportKind[] = ["peft", "hf-peft", "merged", "hf", "gguf", "gguf-lora"];
const [full, lora] = METHODS;

describe("missingExport", () => {
  it("offers everything for a method that can do everything, and whole models for one that saves them", () => {
    expect(KINDS.filter((to) => missingExport(lora, to) === null)).toEqual(KINDS);
    expect(KINDS.filter((to) => missingExport(full, to) === null)).toEqual(["merged", "hf", "gguf"]);
    expect(missingExport(full, "peft")?.reason).toBe("saves a whole model, there is no adapter");
  });

  it("gives a method's reason why it cannot be merged or has no form for llama.cpp", () => {
    const because = "adds keys and values, which are no weights of the model";
    const merged = { saved: { ...lora.saved, merge: { because } } };
    expect(KINDS.map((to) => missingExport(merged, to)?.reason)).toEqual([
      ...[undefined, undefined],
      ...[because, because, because],
      undefined,
    ]);
    const form = { saved: { ...lora.saved, ggufAdapter: { because } } };
    expect(KINDS.map((to) => missingExport(form, to)?.reason)).toEqual([
      ...[undefined, undefined, undefined, undefined, undefined],
      because,
    ]);
    expect(missingExport(form, "gguf-lora")?.hint).toBe("Give --to peft.");
  });
});
