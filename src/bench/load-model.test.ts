import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openReference } from "../compute/reference/backend.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { TINY_MODELS } from "../models/tiny.ts";
import { measureLoad } from "./load-model.ts";
import { PUBLISHED_SIZES, writeModelFolder } from "./model-folder.ts";

const root = mkdtempSync(join(tmpdir(), "cre-bench-"));
afterAll(() => rmSync(root, { recursive: true }));

const TOKENIZER = new URL("../../test/golden/tokenizers/bytes.model", import.meta.url).pathname;

describe("a model folder for measuring", () => {
  it.each(["llama2", "chatglm2", "baichuan2-7b"] as const)("of %s is loaded, trained and continued", async (name) => {
    const folder = join(root, name);
    const progress: number[] = [];
    const spec = await writeModelFolder(folder, TINY_MODELS[name], TOKENIZER, {
      onProgress: (done, total) => progress.push(done / total),
      maxShardBytes: 100_000,
    });
    expect(progress[progress.length - 1]).toBe(1);
    expect(readdirSync(folder)).toContain("model.safetensors.index.json");
    const { source } = await openCheckpoint(folder);
    const elements = [...source.tensors.values()].map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    await source.close();

    const backend = openReference();
    const options = { storage: "nf4", sequences: 2, tokensEach: 8, newTokens: 3 } as const;
    const result = await measureLoad(backend, folder, options);
    expect(result.fileBytes).toBe(2 * elements.reduce((a, b) => a + b, 0));
    // Random weights know nothing; logits of a normalised head have deviation 1, which costs half a unit more.
    expect(Math.abs(result.loss - Math.log(spec.vocabularySize))).toBeLessThan(1);
    expect(result.peakBytesGenerated).toBeGreaterThanOrEqual(result.peakBytesLoaded);
    expect(Math.min(result.loadSeconds, result.stepSeconds, result.generateSeconds)).toBeGreaterThan(0);
    await backend.close();
  });

  it("names sizes that fit their families", () => {
    const parameters = Object.values(PUBLISHED_SIZES).map(({ layers, width: C, feedForward: F, keyValueHeads: G }) =>
      Math.round((layers * (2 * C * C + 2 * C * G * 128 + 3 * C * F)) / 1e7),
    );
    // Layers alone: 6.48, 5.71 and 6.48 billion (Llama-2-7B, ChatGLM2-6B, Baichuan2-7B).
    expect(parameters).toEqual([648, 571, 648]);
  });
});
