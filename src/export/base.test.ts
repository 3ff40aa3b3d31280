import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { roundToBfloat16 } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { decoderWeights } from "../models/decoder.ts";
import { initDecoder } from "../models/init.ts";
import { loadDecoder } from "../models/load.ts";
import { readPretrainRecipe } from "../pretrain/recipe.ts";
import { specFromInit } from "../runs/prepare.ts";
import { createPretrainFolder, openPretrainData, pretrainRun } from "../runs/pretrain-run.ts";
import { openTokenizer } from "../tokenizers/open-tokenizer.ts";
import { exportBase } from "./base.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-export-base-"));
const backend = openReference({ precision: "float32" });
afterAll(async () => {
  await backend.close();
  rmSync(directory, { recursive: true });
});

const TOKENIZER = join(import.meta.dirname, "..", "..", "models", "small-zh");
const TEXT = Array.from({ length: 40 }, (_, i) => `${i}日，甲公司收购乙公司的股份。`).join("\n\n");
writeFileSync(join(directory, "news.txt"), TEXT);
const RECIPE = {
  model: {
    init: { width: 8, layers: 1, heads: 2, keyValueHeads: 1, feedForward: 16, maxTokens: 128 },
    tokenizer: TOKENIZER,
    storage: "float32",
  },
  data: {
    folder: ".",
    sources: { news: { path: "news.txt", weight: 1, heldOut: 0.2, origin: "written here", licence: "CC0-1.0" } },
  },
  train: {
    sequenceTokens: 32,
    passSequences: 1,
    accumulation: 2,
    steps: 4,
    learningRate: 0.01,
    schedule: "trapezoid",
    warmupSteps: 1,
    decaySteps: 2,
    finalLearningRate: 0,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0.1,
    clipNorm: 1,
    validateEverySteps: 2,
    checkpointSeconds: 1e6,
    recompute: false,
  },
  seed: 3,
};

describe("exportBase", () => {
  it("writes the last checkpoint as a folder that any loader reads, and a card with the run's numbers", async () => {
    writeFileSync(join(directory, "recipe.yaml"), stringify(RECIPE));
    const recipe = await readPretrainRecipe(join(directory, "recipe.yaml"));
    const folder = await createPretrainFolder(join(directory, "run"), recipe);
    const tokenizer = await openTokenizer(TOKENIZER);
    const data = await openPretrainData(recipe, tokenizer, join(directory, "tokens"));
    const init = () =>
      initDecoder(backend, specFromInit(recipe.model.init, tokenizer), recipe.seed, {
        storage: "float32",
        trainable: true,
      });
    const output = join(directory, "base-toy");
    const early = exportBase(await init(), tokenizer, recipe, data, folder, output);
    await expect(early).rejects.toThrow("has no checkpoint yet");
    expect(existsSync(output)).toBe(false);

    const trained = await init();
    for await (const _ of pretrainRun(trained, recipe, data, folder));
    expect(await exportBase(await init(), tokenizer, recipe, data, folder, output)).toEqual({ step: 4 });

    const checkpoint = await openCheckpoint(output);
    expect(checkpoint.config).toMatchObject({ architectures: ["LlamaForCausalLM"], torch_dtype: "bfloat16" });
    const loaded = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
    await checkpoint.source.close();
    const [wanted, got] = [decoderWeights(trained), decoderWeights(loaded)];
    expect(got).toHaveLength(wanted.length);
    for (const [i, weight] of wanted.entries()) {
      const values = Array.from(await backend.readWeight(weight), roundToBfloat16);
      expect(Array.from(await backend.readWeight(got[i]))).toEqual(values);
    }
    const reopened = await openTokenizer(output);
    expect(reopened.bosId).toBe(tokenizer.bosId);
    expect(reopened.encode("甲公司[乙]")).toEqual(tokenizer.encode("甲公司[乙]"));

    const card = readFileSync(join(output, "README.md"), "utf8");
    expect(card).toContain("256 in 4 steps of 64");
    expect(card).toMatch(/\| news \| written here \| CC0-1\.0 \| \d+ \|/);
    expect(card).toMatch(/\n\| 2 \| 0\.0 M \| \d+\.\d{3} \|/);
    expect(card).toMatch(/\n\| 4 \| 0\.0 M \| \d+\.\d{3} \|/);
    expect(card.match(/^\d+\. \*\*.+\*\*/gm)).toHaveLength(10);
  });
});
