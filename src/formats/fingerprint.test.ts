import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { modelFingerprint } from "./fingerprint.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-fingerprint-"));
afterAll(() => rmSync(directory, { recursive: true }));

function writeModel(name: string, weights: Uint8Array): string {
  const path = join(directory, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "config.json"), "{}");
  writeFileSync(join(path, "model.safetensors"), weights);
  return path;
}

describe("modelFingerprint", () => {
  const weights = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 31) % 251);

  it("is the same wherever the folder lies and whatever else is in it", async () => {
    const path = writeModel("one", weights);
    const print = await modelFingerprint(path);
    expect(print).toMatch(/^[0-9a-f]{64}$/);
    writeFileSync(join(path, "README.md"), "notes");
    renameSync(path, join(directory, "two"));
    expect(await modelFingerprint(join(directory, "two"))).toBe(print);
  });

  it("changes with the configuration, a size, the first byte and the last one", async () => {
    const prints = new Set([await modelFingerprint(writeModel("three", weights))]);
    prints.add(await modelFingerprint(writeModel("three", weights.subarray(0, -1))));
    prints.add(await modelFingerprint(writeModel("three", weights.with(0, 9))));
    const last = writeModel("three", weights.with(weights.length - 1, 9));
    prints.add(await modelFingerprint(last));
    writeFileSync(join(last, "config.json"), "{ }");
    prints.add(await modelFingerprint(last));
    expect(prints.size).toBe(5);
  });

  it("reads one file too, also an empty one", async () => {
    const file = join(directory, "model.gguf");
    writeFileSync(file, "");
    const empty = await modelFingerprint(file);
    writeFileSync(file, "x");
    expect(await modelFingerprint(file)).not.toBe(empty);
  });
});
