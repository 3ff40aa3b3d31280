import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { UserError } from "../base/errors.ts";
import { openReference } from "../compute/reference/backend.ts";
import { initDecoder } from "../models/init.ts";
import { saveDecoder } from "../models/save.ts";
import { type PretrainRecipe, readPretrainRecipe } from "../pretrain/recipe.ts";
import { collectPretraining, handOver } from "./collected.ts";
import { openPretrainFolder } from "./pretrain-run.ts";
import { openPretrainSizes } from "./pretraining.ts";
import { isFinished, readLog } from "./run-folder.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-collected-"));
afterAll(() => rmSync(directory, { recursive: true }));
const at = (...names: string[]) => join(directory, ...names);

const TEXT = Array.from({ length: 40 }, (_, i) => `${i}日，甲公司收购乙公司的股份。`).join("\n\n");
writeFileSync(at("news.txt"), TEXT);
const RECIPE = {
  model: {
    init: {
      width: 8,
      layers: 1,
      heads: 2,
      keyValueHeads: 2,
      feedForward: 16,
      maxTokens: 128,
      tiedHead: true,
    },
    tokenizer: join(import.meta.dirname, "..", "..", "models", "small-zh"),
    storage: "float32",
  },
  data: { folder: ".", sources: { news: { path: "news.txt", weight: 1, finalWeight: 2, heldOut: 0.2 } } },
  train: {
    sequenceTokens: 32,
    passSequences: 2,
    accumulation: 3,
    prefixShare: 0.6,
    maskShare: 0.2,
    steps: 4,
    learningRate: 0.01,
    optimizer: "muon",
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
writeFileSync(at("recipe.yaml"), stringify(RECIPE));
const recipeWith = (...set: string[]): Promise<PretrainRecipe> => readPretrainRecipe(at("recipe.yaml"), set);

/** What engines/torch/pretrain.py writes, with random weights. */
async function trainedElsewhere(name: string, recipe: PretrainRecipe): Promise<string> {
  const backend = openReference({ precision: "float32" });
  const { spec } = await openPretrainSizes(recipe);
  const model = await initDecoder(backend, spec, 7, { storage: "float32", trainable: false });
  await saveDecoder(model, at(name), { dtype: "BF16" });
  await backend.close();
  const result = { steps: 9, decaySteps: 3, tokens: 1728, seconds: 5, device: "a GPU", torch: "2.11.0" };
  writeFileSync(at(name, "result.json"), JSON.stringify(result));
  const step = { kind: "step", loss: 3.5, learningRate: 0.01, gradientNorm: 1, tokens: 576, seconds: 0.5 };
  const lines = [{ kind: "model", device: "a GPU" }, ...[3, 6, 9].map((n) => ({ ...step, step: n }))];
  writeFileSync(at(name, "log.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return at(name);
}

describe("handOver", () => {
  it("writes ids, sizes and settings, and no text", async () => {
    await handOver(await recipeWith(), at("hand-over"), () => {});
    const plan = JSON.parse(readFileSync(at("hand-over", "hand-over.json"), "utf8"));
    expect(plan.model).toMatchObject({ vocabularySize: 8000, width: 8, layers: 1, heads: 2, feedForward: 16 });
    expect(plan.marks).toEqual({ start: 1, end: 2, mask: 3 });
    expect(plan.train).toMatchObject({
      batchSequences: 6,
      sequenceTokens: 32,
      prefixShare: 0.6,
      maskShare: 0.2,
      seed: 3,
    });
    expect(plan.sources).toMatchObject([{ name: "news", weight: 1, finalWeight: 2 }]);
    expect(existsSync(at("hand-over", plan.sources[0].file))).toBe(true);
    expect(JSON.parse(readFileSync(at("hand-over", "config.json"), "utf8"))).toMatchObject({ model_type: "llama" });
  });

  it("refuses what the trainer does not know before it tokenizes", async () => {
    for (const [set, reason] of [
      ["model.init.keyValueHeads=1", /1 key and value heads for 2 heads/],
      ["model.init.tiedHead=false", /a head of its own/],
      ["train.optimizer=adamw", /only with muon/],
    ] as const) {
      const failed = handOver(await recipeWith(set), at("refused"), () => {});
      await expect(failed).rejects.toThrow(UserError);
      await expect(failed).rejects.toThrow(reason);
    }
    expect(existsSync(at("refused"))).toBe(false);
  });
});

describe("collectPretraining", () => {
  it("makes a finished run of the weights, with their log and a validation", async () => {
    const out = await trainedElsewhere("out", await recipeWith());
    const validation = await collectPretraining(await recipeWith(), out, at("run"), "recipe.yaml", () => {});
    // Random weights: about 13 bits for a token, the logarithm of the vocabulary.
    expect(validation.bitsPerCharacter).toBeGreaterThan(6);
    expect(validation.bitsPerCharacter).toBeLessThan(15);
    const { folder, recipe } = await openPretrainFolder(at("run"));
    expect(recipe.train).toMatchObject({ steps: 9, decaySteps: 3 });
    expect(await isFinished(folder)).toBe(true);
    const log = await readLog(folder);
    expect(log.map(({ kind, step }) => [kind, step])).toEqual([
      ["step", 3],
      ["step", 6],
      ["step", 9],
      ["validation", 9],
    ]);
    expect(log[0].tokensPerSecond).toBe(1152);
  });

  it("says what is missing or does not fit, and makes no run", async () => {
    const whole = await trainedElsewhere("whole", await recipeWith());
    const broken = async (name: string, change: (folder: string) => void) => {
      cpSync(whole, at(name), { recursive: true });
      change(at(name));
      const run = at(`${name}-run`);
      const error = await collectPretraining(await recipeWith(), at(name), run, "recipe.yaml", () => {}).then(
        () => new Error("collected"),
        (reason: unknown) => reason as Error,
      );
      expect(error, name).toBeInstanceOf(UserError);
      expect(existsSync(run), name).toBe(false);
      return error.message;
    };
    expect(await broken("no-result", (folder) => rmSync(join(folder, "result.json")))).toMatch(/no result\.json/);
    expect(await broken("no-log", (folder) => rmSync(join(folder, "log.jsonl")))).toMatch(/no log\.jsonl/);
    expect(await broken("cut", (folder) => writeFileSync(join(folder, "result.json"), '{"steps"'))).toMatch(/not JSON/);
    expect(await broken("bad-step", (folder) => writeFileSync(join(folder, "log.jsonl"), '{"kind":"step"}\n'))).toMatch(
      /line 1/,
    );
    const other = await trainedElsewhere("other", await recipeWith("model.init.width=16"));
    const failed = collectPretraining(await recipeWith(), other, at("other-run"), "recipe.yaml", () => {});
    await expect(failed).rejects.toThrow(/width 16, the recipe 8/);
    expect(existsSync(at("other-run"))).toBe(false);
  });
});
