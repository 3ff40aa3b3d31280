import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildCli, cre, temporaryFolder, writeRecipe } from "./support.ts";

const folder = temporaryFolder("pretrain");
const path = (...parts: string[]) => join(folder.path, ...parts);
beforeAll(buildCli, 300_000);
afterAll(folder.remove);

const TRAIN = {
  sequenceTokens: 16,
  passSequences: 2,
  accumulation: 1,
  steps: 6,
  learningRate: 0.02,
  schedule: "trapezoid",
  warmupSteps: 1,
  decaySteps: 2,
  finalLearningRate: 0,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: 1,
  validateEverySteps: 3,
  checkpointSeconds: 1e6,
  recompute: false,
};

describe("from text to a base model", () => {
  it("learns a tokenizer, pretrains, stops, resumes, exports, generates", async () => {
    const text = Array.from(
      { length: 60 },
      (_, i) => `${i}日，甲公司${"收购乙公司的股份，".repeat(1 + (i % 3))}丙公司不知。`,
    );
    writeFileSync(path("text.txt"), text.join("\n\n"));
    const learnt = await cre(["tokenizer", "train", path("text.txt"), "--output", path("t"), "--pieces", "305"]);
    expect(learnt.stderr).toContain("305 pieces");
    expect(learnt.stdout).toMatch(/text\.txt: [12]\.\d+ characters a token/);
    expect(learnt.code).toBe(0);

    const recipe = writeRecipe(path("toy.yaml"), {
      model: {
        init: { width: 16, layers: 1, heads: 2, keyValueHeads: 1, feedForward: 32, maxTokens: 128 },
        tokenizer: "t",
        storage: "float32",
      },
      data: { folder: ".", sources: { text: { path: "text.txt", weight: 1, heldOut: 0.2 } } },
      train: TRAIN,
      seed: 1,
    });
    const run = path("run");
    const wrong = await cre(["model", "pretrain", recipe, "--run", run, "--set", "data.sources.text.path=none.txt"]);
    expect(wrong.stderr).toContain("none.txt does not exist");
    expect(wrong.code).toBe(1);
    expect(existsSync(run)).toBe(false);

    const stopped = await cre(["model", "pretrain", recipe, "--run", run, "--until-step", "2"]);
    expect(stopped.stderr).toContain("after step 2. Resume with: cre model pretrain --resume --run");
    expect(stopped.code).toBe(130);
    const rest = await cre(["model", "pretrain", "--resume", "--run", run]);
    expect(rest.stderr).toMatch(/held out after step 6: \d+\.\d{3} bits per character {2}\(text \d/);
    expect(rest.stderr).toContain("done after 6 steps");
    expect(rest.code).toBe(0);
    const steps = readFileSync(join(run, "log.jsonl"), "utf8").match(/"kind":"step","step":\d+/g) ?? [];
    expect(steps).toHaveLength(6);
    expect((await cre(["model", "pretrain", "--resume", "--run", run])).stderr).toContain("is finished already");

    const base = path("base-toy");
    const exported = await cre(["model", "export-base", run, "--output", base]);
    expect(exported.stderr).toContain("M parameters after 6 steps");
    expect(exported.code).toBe(0);
    expect(readFileSync(join(base, "README.md"), "utf8")).toContain("# base-toy: a small Chinese base model");
    const told = await cre(["model", "generate", base, "--prompt", "甲公司", "--max-new-tokens", "4"]);
    expect(told.stdout.startsWith("甲公司")).toBe(true);
    expect(told.code).toBe(0);

    // The new base reads on, by a recipe of a few lines.
    const own = writeRecipe(path("own.yaml"), {
      model: { start: "base-toy", startOrigin: "a toy" },
      data: { folder: ".", sources: { own: { path: "text.txt", heldOut: 0.2 } } },
      train: { sequenceTokens: 16, passSequences: 2, accumulation: 1, steps: 4, learningRate: 0.01 },
    });
    const shown = await cre(["recipe", "show", own]);
    expect(shown.stdout).toMatch(/\n {4}width: 16\n/);
    expect(shown.stdout).toMatch(/\n {2}decaySteps: 2\n/);
    expect(shown.code).toBe(0);
    const onward = await cre(["model", "pretrain", own, "--run", path("onward")]);
    expect(onward.stderr).toMatch(/held out before the first step: \d+\.\d{3} bits per character/);
    expect(onward.code).toBe(0);
    const refused = await cre(["model", "pretrain", own, "--hand-over", path("out")]);
    expect(refused.stderr).toContain("begins with random weights, not with model.start");
    expect(refused.code).toBe(1);
    const again = await cre(["model", "export-base", path("onward"), "--output", path("base-own")]);
    expect(again.code).toBe(0);
    expect(readFileSync(path("base-own", "README.md"), "utf8")).toContain("trained on from a toy by cre-llm");
  }, 120_000);

  it("says what is missing before anything is done", async () => {
    const no = await cre(["model", "pretrain"]);
    expect(no.stderr).toContain("A recipe is missing.");
    expect(no.code).toBe(1);
    const early = await cre(["model", "pretrain", "x.yaml", "--decay-now", "3"]);
    expect(early.stderr).toContain("--decay-now needs --resume");
    expect(early.code).toBe(1);
    const weight = await cre(["tokenizer", "train", `${path("text.txt")}@-1`, "--output", path("u")]);
    expect(weight.stderr).toContain("is no positive number");
    expect(weight.code).toBe(1);
  }, 60_000);
});
