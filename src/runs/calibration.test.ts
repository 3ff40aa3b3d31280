import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Example } from "../data/example.ts";
import { createLabelSet } from "../data/label-set.ts";
import { fitNoRelationWeight, openCalibration, rowsOf, saveCalibration, validationF1 } from "./calibration.ts";
import { CALIBRATION_FILE, choiceOf } from "./calibration-read.ts";

const labels = createLabelSet({ labels: ["none", "a", "b"], noRelation: "none" }, "labels");
const row = (i: number, relation: string): Example => ({
  sentence: `第${i}句`,
  head: "甲",
  tail: "乙",
  relations: [relation],
});
/** Rows of a model that gives "none" 0.5 and a relation 0.4 where the relation is right in a share of them. */
const doubtful = (count: number, rightShare: number) => {
  const examples = Array.from({ length: count }, (_, i) => row(i, i < count * rightShare ? "a" : "none"));
  return { examples, probabilities: examples.map(() => Float64Array.of(0.5, 0.4, 0.1)) };
};
const fitted = ({ examples, probabilities }: ReturnType<typeof doubtful>, metric: "microF1" | "paperF1" = "microF1") =>
  fitNoRelationWeight(examples, labels, 1, metric, probabilities);

describe("the weight of no relation", () => {
  it("falls below 1 where relations that the model doubts are worth giving, by micro F1", () => {
    // Giving "a" everywhere: F1 = 2 · 0.4 / 1.4; giving it nowhere: 0.
    expect(fitted(doubtful(100, 0.4))).toBeLessThan(0.8);
    // The paper's metric counts "none" as a label: 0.4 right with "a", 0.6 without.
    expect(fitted(doubtful(100, 0.4), "paperF1")).toBe(1);
  });

  it("rises above 1 where the model gives relations too freely", () => {
    const examples = Array.from({ length: 100 }, (_, i) => row(i, i < 50 ? "a" : "none"));
    const sure = Float64Array.of(0.1, 0.8, 0.1);
    const unsure = Float64Array.of(0.45, 0.5, 0.05);
    const weight = fitted({ examples, probabilities: examples.map((_, i) => (i < 50 ? sure : unsure)) });
    expect(weight).toBeGreaterThan(1.1);
  });

  it("stays 1 where nothing is gained, and without a label for no relation", () => {
    const examples = [row(1, "a"), row(2, "none")];
    const probabilities = [Float64Array.of(0.01, 0.98, 0.01), Float64Array.of(0.98, 0.01, 0.01)];
    expect(fitted({ examples, probabilities })).toBe(1);
    const plain = createLabelSet({ labels: ["a", "b"] }, "labels");
    expect(fitNoRelationWeight([row(1, "a")], plain, 1, "microF1", [Float64Array.of(0.4, 0.6)])).toBe(1);
  });

  it("scores as the run decodes with it", () => {
    const { examples, probabilities } = doubtful(100, 0.4);
    const choice = { noRelationWeight: fitted({ examples, probabilities }), furtherRelations: 1 };
    const { microF1 } = validationF1(rowsOf(examples, labels, choice, probabilities), labels);
    expect(microF1).toBeCloseTo(0.8 / 1.4, 12);
  });
});

describe("a run's calibration", () => {
  const folder = () => ({ directory: mkdtempSync(join(tmpdir(), "cre-calibration-")) });
  const calibration = { rows: 100, noRelationWeight: { model: 0.5, mixed: 0.25 } };

  it("is read as it was saved, null where there is none", async () => {
    const run = folder();
    expect(await openCalibration(run)).toBeNull();
    await saveCalibration(run, calibration);
    expect(await openCalibration(run)).toEqual(calibration);
  });

  it("is refused when it is damaged", async () => {
    const run = folder();
    await saveCalibration(run, calibration);
    const file = join(run.directory, CALIBRATION_FILE);
    writeFileSync(file, readFileSync(file, "utf8").replace("0.25", "-1"));
    await expect(openCalibration(run)).rejects.toThrow("noRelationWeight.mixed is -1");
  });

  it("decides only where the recipe says auto", () => {
    const auto = { noRelationWeight: "auto", furtherRelations: 1 } as const;
    expect(choiceOf(auto, calibration, true).noRelationWeight).toBe(0.25);
    expect(choiceOf(auto, calibration, false).noRelationWeight).toBe(0.5);
    expect(choiceOf(auto, null, true).noRelationWeight).toBe(1);
    expect(choiceOf({ ...auto, noRelationWeight: 1.5 }, calibration, true).noRelationWeight).toBe(1.5);
  });
});
