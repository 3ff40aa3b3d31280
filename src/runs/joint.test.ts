import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { temporaryFolder, toyRecipe, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { evaluateJoint, saveJoint } from "./joint.ts";
import type { Run } from "./run.ts";
import { train } from "./training.ts";

const temporary = temporaryFolder("joint");
const path = (...names: string[]) => join(temporary.path, ...names);
vi.stubEnv("CRE_BACKEND", "reference");

describe("a run that finds entities", () => {
  let run: Run;
  beforeAll(async () => {
    const data = writeToyData(path("data"));
    const toy = toyRecipe(data);
    const recipe = { ...toy, tasks: ["relations", "mentions"], train: { ...toy.train, epochs: 12, validateEvery: 6 } };
    run = await train({ recipe: writeRecipe(path("toy.yaml"), recipe), run: path("run") });
  }, 60_000);
  afterAll(async () => {
    await run.close();
    temporary.remove();
  });

  it("gives parts of the sentence only, at their places", async () => {
    const sentences = ["3日远山集团收购近水科技", "。", "IBM与IBM"];
    const found = await run.findMentions(sentences);
    expect(found).toHaveLength(3);
    for (const [i, mentions] of found.entries()) {
      for (const { text, starts, probability } of mentions) {
        expect(probability).toBeGreaterThan(0);
        expect(probability).toBeLessThanOrEqual(1);
        for (const start of starts) expect(sentences[i].startsWith(text, start)).toBe(true);
      }
    }
    expect(found[1]).toEqual([]);
    expect(await run.findMentions([])).toEqual([]);
  });

  it("has a scale that was fitted on the validation rows", () => {
    expect(run.calibration?.mentions).toMatchObject({ sentences: 8 });
  });

  it("is scored on sentences alone", async () => {
    const evaluation = await evaluateJoint(run);
    const { metrics, rows, pairs } = evaluation;
    expect([evaluation.data, evaluation.split, metrics.sentences]).toEqual(["data", "test", 8]);
    expect(pairs).toBe(rows.reduce((sum, { mentions }) => sum + mentions.length * (mentions.length - 1), 0));
    expect(metrics.mentions.gold).toBe(16);
    expect(metrics.triples.gold).toBe(8);
    const file = await saveJoint(run, evaluation);
    expect(JSON.parse(readFileSync(file, "utf8")).metrics).toEqual(metrics);
    const kept = readFileSync(path("run", "joint.jsonl"), "utf8").trim().split("\n");
    expect(kept.map((line) => JSON.parse(line))).toEqual(rows);
    // The look at test rows is recorded.
    expect(existsSync(path("run", "test-looks.jsonl"))).toBe(true);
  });
});

describe("a run that does not", () => {
  it("says so", async () => {
    const toy = toyRecipe(writeToyData(path("other")));
    const recipe = writeRecipe(path("plain.yaml"), { ...toy, train: { ...toy.train, epochs: 1, validateEvery: 0 } });
    const run = await train({ recipe, run: path("plain") });
    await expect(run.findMentions(["甲收购乙"])).rejects.toThrow("was not trained to find entities");
    await expect(evaluateJoint(run)).rejects.toThrow("was not trained to find entities");
    await run.close();
  });
});
