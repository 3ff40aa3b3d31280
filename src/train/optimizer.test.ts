import { describe, expect, it } from "vitest";
import type { TrainSettings } from "../recipe/schema.ts";
import { learningRateAt } from "./optimizer.ts";

const settings = { learningRate: 1, schedule: "cosine", warmup: 0.1, finalLearningRate: 0 } as TrainSettings;

describe("learningRateAt", () => {
  it("rises over the warm-up, then falls as a cosine to the final share", () => {
    expect(learningRateAt(settings, 0, 100)).toBeCloseTo(0.1);
    expect(learningRateAt(settings, 9, 100)).toBeCloseTo(1);
    expect(learningRateAt(settings, 10, 100)).toBeCloseTo(1);
    expect(learningRateAt(settings, 55, 100)).toBeCloseTo(0.5);
    expect(learningRateAt(settings, 99, 100)).toBeLessThan(0.001);
    expect(learningRateAt({ ...settings, finalLearningRate: 0.1 }, 55, 100)).toBeCloseTo(0.55);
  });

  it("falls linearly or stays", () => {
    expect(learningRateAt({ ...settings, schedule: "linear" }, 55, 100)).toBeCloseTo(0.5);
    expect(learningRateAt({ ...settings, schedule: "constant" }, 99, 100)).toBe(1);
  });

  it("works without a warm-up and for one step", () => {
    expect(learningRateAt({ ...settings, warmup: 0 }, 0, 1)).toBe(1);
    expect(learningRateAt({ ...settings, warmup: 1 }, 0, 1)).toBe(1);
  });
});
