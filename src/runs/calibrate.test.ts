import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { temporaryFolder, toyRecipe, writeRecipe, writeToyData } from "../../test/e2e/support.ts";
import { holdLock } from "../base/lock.ts";
import { openDataset } from "../data/dataset.ts";
import { evaluateAllPairs } from "./all-pairs.ts";
import { calibrateRun } from "./calibrate.ts";
import { thresholdsFor } from "./calibration.ts";
import { openRun } from "./run.ts";
import { train } from "./training.ts";

const temporary = temporaryFolder("calibrate");
const path = (...names: string[]) => join(temporary.path, ...names);
vi.stubEnv("CRE_BACKEND", "reference");

describe("calibrating a finished run", () => {
  let data = "";
  const calibration = () => JSON.parse(readFileSync(path("run", "calibration.json"), "utf8"));
  beforeAll(async () => {
    data = writeToyData(path("data"));
    const toy = toyRecipe(data);
    const decode = { noRelationWeight: "auto" };
    const recipe = writeRecipe(path("toy.yaml"), { ...toy, decode, tasks: ["relations", "mentions"] });
    await (await train({ recipe, run: path("run") })).close();
  }, 60_000);
  afterAll(() => temporary.remove());

  it("gives what the training gave, from the same rows", async () => {
    const before = calibration();
    const result = await calibrateRun(path("run"));
    expect(result.rows).toBe(8);
    expect(calibration()).toEqual(before);
    expect(result.calibration).toEqual(before);
    expect(result.calibrationError.after).toBeCloseTo(result.calibrationError.before, 9);
  });

  it("fits on other rows, and the run opens with its checksums", async () => {
    const { rows } = await calibrateRun(path("run"), { split: "test" });
    expect(rows).toBe(8);
    expect(calibration().rows).toBe(8);
    const run = await openRun(path("run"));
    expect(run.calibration).toEqual(calibration());
    await run.close();
  });

  it("says how probable relations of all pairs of a sentence are, and shows calibrated probabilities", async () => {
    const { calibration: found } = await calibrateRun(path("run"));
    expect(found.pairs).toMatchObject({ sentences: 8, pairs: 8 });
    const run = await openRun(path("run"), { decode: { companion: 0 } });
    const { scale } = found;
    expect(scale?.mixed?.weight).toBe(run.companion?.validation?.mixture.weight);
    const [row] = await run.extract([{ sentence: "华盛达收购了刚泰控股。", head: "华盛达", tail: "刚泰控股" }]);
    expect(run.extractor.settings.scale).toEqual(scale?.model);
    const { temperature, noRelation } = scale?.model ?? { temperature: 0, noRelation: 0 };
    const none = run.labels.labels.indexOf("unknown");
    const powers = row.modelProbabilities.map((p, i) => p ** (1 / temperature) * (i === none ? noRelation : 1));
    const sum = powers.reduce((total, p) => total + p, 0);
    for (const [i, p] of row.probabilities.entries()) expect(p).toBeCloseTo(powers[i] / sum, 9);
    await run.close();
  });

  it("scores all pairs of each sentence, with and without the thresholds of a precision", async () => {
    await calibrateRun(path("run"));
    const run = await openRun(path("run"));
    const { all, atPrecision, ...counts } = await evaluateAllPairs(run, { split: "valid", precision: 0.3 });
    expect(counts).toMatchObject({ split: "valid", sentences: 8, pairs: 8, labelled: 8 });
    const rows = (await openDataset(data)).split("valid");
    const gold = (await rows).examples.filter(({ relations }) => relations?.[0] !== "unknown").length;
    expect(all.gold).toBe(gold);
    expect(all.precision).toBeCloseTo(all.hits / all.found, 12);
    expect(all.recall).toBeCloseTo(all.hits / gold, 12);
    expect(all.f1).toBeCloseTo((2 * all.hits) / (all.found + gold), 12);
    // On the rows that the threshold was chosen on.
    expect(atPrecision?.precision).toBeGreaterThanOrEqual(0.3);
    expect(atPrecision?.found).toBeLessThanOrEqual(all.found);
    await run.close();
  });

  it("does not write a run that another process works in", async () => {
    const before = calibration();
    const release = await holdLock(path("run", "run.lock"), "elsewhere");
    await expect(calibrateRun(path("run"))).rejects.toThrow("run");
    await release();
    expect(calibration()).toEqual(before);
  });

  it("repairs a run that lost its calibration, as a killed process may leave it", async () => {
    await calibrateRun(path("run"));
    const before = calibration();
    rmSync(path("run", "calibration.json"));
    await calibrateRun(path("run"));
    expect(calibration()).toEqual(before);
  });

  it("needs rows that the run has not learnt", async () => {
    rmSync(path("data", "valid.jsonl"));
    await expect(calibrateRun(path("run"))).rejects.toThrow("was trained on all rows of");
  });
});

describe("the thresholds of a precision", () => {
  const point = (probability: number, precision: number, recall: number) => ({ probability, precision, recall });
  const all = [point(0.9, 1, 0.3), point(0.6, 0.8, 0.6)];
  const precision = { all, relations: { 合作: [point(0.7, 0.95, 0.5)], 收购: [point(0.5, 0.5, 0.9)] } };
  const known = { rows: 10, noRelationWeight: { model: 1, mixed: null }, precision };

  it("are those of each relation, and the usual one of others", () => {
    const { usual, relations } = thresholdsFor(known, 0.9, "runs/a");
    expect(usual).toBe(0.9);
    // 收购 never had it.
    expect([...relations]).toEqual([
      ["合作", 0.7],
      ["收购", 1],
    ]);
  });

  it("are refused for a precision that no row had, and for a run without a calibration", () => {
    expect(() => thresholdsFor({ ...known, precision: { all: [all[1]], relations: {} } }, 0.9, "runs/a")).toThrow(
      "runs/a: none of its predictions had a precision of 0.9",
    );
    expect(() => thresholdsFor(null, 0.9, "runs/a")).toThrow("does not know how precise its predictions are");
  });
});
