import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readRecipe } from "../recipe/read.ts";
import { createRunFolder } from "../runs/run-folder.ts";
import { expectSameRun, type RunResult, readRunResult, resultFolder, resultsTable } from "./results.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-results-"));
afterAll(() => rmSync(directory, { recursive: true }));

const f1 = { paper: 0.5, micro: 0.4, "micro-argmax": 0.45 };
const intervals = {
  paper: { low: 0.48, high: 0.52 },
  micro: { low: 0.37, high: 0.43 },
  "micro-argmax": { low: 0.42, high: 0.48 },
};

describe("readRunResult", () => {
  const metrics = {
    data: "finre",
    split: "test",
    conventions: Object.fromEntries(Object.entries(f1).map(([name, value]) => [name, { f1: value, precision: 1 }])),
    intervals: { ...intervals, macro: { low: 0, high: 1 }, level: 0.95 },
    relations: [],
  };

  it("reads metrics, time and memory of a finished run, and nothing of another one", async () => {
    const run = resultFolder(directory, "recipes/finre-base.yaml", 2);
    expect(run).toBe(join(directory, "finre-base-seed2"));
    mkdirSync(run);
    writeFileSync(join(run, "metrics.json"), JSON.stringify(metrics));
    const log = [
      { kind: "step", step: 1, seconds: 2 },
      { kind: "validation", step: 1, seconds: 0.5 },
    ];
    writeFileSync(join(run, "log.jsonl"), log.map((line) => `${JSON.stringify(line)}\n`).join(""));
    expect(await readRunResult(run)).toBeNull();
    writeFileSync(join(run, "done.json"), '{"steps": 1, "best": null, "peakResidentBytes": 1500000000}');
    const wanted = { data: "finre", split: "test", f1, trainingSeconds: 2.5, peakResidentBytes: 1.5e9 };
    expect(await readRunResult(run)).toMatchObject({ ...wanted, intervals });
  });

  it("says which entry of a file is wrong", async () => {
    const run = join(directory, "wrong");
    mkdirSync(run);
    writeFileSync(join(run, "done.json"), '{"steps": 1}');
    writeFileSync(join(run, "metrics.json"), JSON.stringify({ ...metrics, split: 3 }));
    await expect(readRunResult(run)).rejects.toThrow("metrics.json: split:");
    writeFileSync(join(run, "metrics.json"), "{");
    await expect(readRunResult(run)).rejects.toThrow("metrics.json: is not JSON");
  });
});

describe("expectSameRun", () => {
  const base = join(directory, "base");
  const recipeFile = join(directory, "recipe.yaml");
  const values = { model: { path: "base" }, prompt: { template: "auto" }, adapter: { method: "lora", rank: 4 } };
  mkdirSync(base);
  writeFileSync(join(base, "config.json"), "{}");
  writeFileSync(join(base, "tokenizer.model"), "pieces");
  writeFileSync(join(base, "model.safetensors"), new Uint8Array(2_000_000));
  writeFileSync(
    recipeFile,
    JSON.stringify({ ...values, data: {}, train: { epochs: 2, batchExamples: 4, learningRate: 1e-3 } }),
  );

  it("takes a run of the same values wherever its files lie, and names what differs", async () => {
    const recipe = await readRecipe(recipeFile, ["prompt.template=plain", "data.path=elsewhere", "seed=3"]);
    const run = join(directory, "same");
    await createRunFolder(run, recipe);
    await expectSameRun(run, await readRecipe(recipeFile, ["seed=3"]));
    await expect(expectSameRun(run, await readRecipe(recipeFile, ["seed=4"]))).rejects.toThrow("seed was 3, is 4.");
    await expect(
      expectSameRun(run, await readRecipe(recipeFile, ["seed=3", "train.epochs=5", "adapter.rank=8"])),
    ).rejects.toThrow("adapter.rank was 4, is 8; train.epochs was 2, is 5.");
  });

  it("refuses a run that started from another model", async () => {
    const run = join(directory, "other-base");
    await createRunFolder(run, await readRecipe(recipeFile));
    const changed = new Uint8Array(2_000_000);
    changed[1_999_999] = 1;
    writeFileSync(join(base, "model.safetensors"), changed);
    await expect(expectSameRun(run, await readRecipe(recipeFile))).rejects.toThrow("another base model");
  });
});

describe("resultsTable", () => {
  it("has the mean of the seeds, the mean of their intervals, and each seed", () => {
    const result = (shift: number): RunResult => ({
      data: "finre",
      split: "test",
      f1: { ...f1, micro: f1.micro + shift },
      intervals: { ...intervals, micro: { low: intervals.micro.low + shift, high: intervals.micro.high + shift } },
      trainingSeconds: 100 + 1000 * shift,
      peakResidentBytes: 1.5e9,
    });
    const runs = [0, 0.01, 0.02].map((shift, i) => ({ seed: i + 1, result: result(shift) }));
    const one = {
      seed: 1,
      result: { ...result(0), split: "valid", intervals: null, peakResidentBytes: null, trainingSeconds: 700 },
    };
    const [head, rule, first, second] = resultsTable([
      { recipe: "recipes/finre-base.yaml", runs },
      { recipe: "recipes/finre-small.yaml", runs: [one] },
    ]).split("\n");
    expect(head).toBe("| recipe | data | `paper` | `micro` | `micro-argmax` | training | memory |");
    expect(rule).toBe("|---|---|---|---|---|---|---|");
    expect(first).toContain(
      "| finre-base | finre | 50.0 (48.0–52.0): 50.0, 50.0, 50.0 | 41.0 (38.0–44.0): 40.0, 41.0, 42.0 |",
    );
    expect(first).toContain("| 110 s | 1.5 GB |");
    expect(second).toBe("| finre-small | finre, valid | 50.0 | 40.0 | 45.0 | 12 min | – |");
  });
});
