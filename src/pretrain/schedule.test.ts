import { describe, expect, it } from "vitest";
import type { PretrainSettings } from "./recipe.ts";
import { pretrainingRateAt, totalSteps } from "./schedule.ts";

const SETTINGS: PretrainSettings = {
  sequenceTokens: 8,
  passSequences: 1,
  accumulation: 1,
  steps: 20,
  learningRate: 1,
  optimizer: "adamw",
  schedule: "trapezoid",
  warmupSteps: 4,
  decaySteps: 5,
  finalLearningRate: 0.1,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: 1,
  validateEverySteps: 0,
  checkpointSeconds: 1,
  recompute: false,
};
const rates = (settings: PretrainSettings, decay: { startStep: number; steps: number } | null = null) =>
  Array.from({ length: totalSteps(settings, decay) }, (_, step) => pretrainingRateAt(settings, decay, step));

describe("the learning rate of pretraining", () => {
  it("rises, stays and falls as a trapezoid", () => {
    const got = rates(SETTINGS);
    expect(got).toHaveLength(20);
    expect(got.slice(0, 5)).toEqual([0.25, 0.5, 0.75, 1, 1]);
    expect(got.slice(4, 15).every((rate) => rate === 1)).toBe(true);
    for (const [i, rate] of [1, 0.82, 0.64, 0.46, 0.28].entries()) expect(got[15 + i]).toBeCloseTo(rate, 12);
  });

  it("falls from the warm-up to the end as a cosine", () => {
    const got = rates({ ...SETTINGS, schedule: "cosine" });
    expect(got[4]).toBe(1);
    expect(got[12]).toBeCloseTo(0.55, 12);
    expect(got[19]).toBeGreaterThan(0.1);
    expect(got[19]).toBeLessThan(0.12);
  });

  it("falls from where a final phase was started, to the same end", () => {
    const got = rates(SETTINGS, { startStep: 8, steps: 3 });
    expect(got).toHaveLength(11);
    expect(got.slice(4, 9)).toEqual([1, 1, 1, 1, 1]);
    expect(got[9]).toBeCloseTo(0.7, 12);
    expect(got[10]).toBeCloseTo(0.4, 12);
    // Out of a warm-up that has not ended.
    expect(rates(SETTINGS, { startStep: 2, steps: 2 })[2]).toBe(0.5);
  });
});
