import { describe, expect, it } from "vitest";
import { rowPositions } from "../models/decoder.ts";
import { lossWeight, packExamples, planSteps } from "./batches.ts";

describe("planSteps", () => {
  const settings = { epochs: 2, batchExamples: 3, accumulation: 2 };

  it("shows every example once an epoch, in a new order each epoch", () => {
    const plan = planSteps(20, settings, 7);
    expect(plan.stepsPerEpoch).toBe(4);
    expect(plan.totalSteps).toBe(8);
    const epochs = [0, 1].map((epoch) => [0, 1, 2, 3].flatMap((step) => plan.examplesOf(epoch * 4 + step)));
    for (const seen of epochs) expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(epochs[0]).not.toEqual(epochs[1]);
    expect([0, 3].map((step) => plan.examplesOf(step).length)).toEqual([6, 2]);
  });

  it("gives the same step whatever was asked before", () => {
    const inOrder = planSteps(20, settings, 7);
    for (let step = 0; step < 6; step++) inOrder.examplesOf(step);
    expect(planSteps(20, settings, 7).examplesOf(6)).toEqual(inOrder.examplesOf(6));
    expect(planSteps(20, settings, 8).examplesOf(6)).not.toEqual(inOrder.examplesOf(6));
  });

  it("makes at least one step", () => {
    expect(planSteps(5, { epochs: 0.01, batchExamples: 8, accumulation: 1 }, 1).totalSteps).toBe(1);
  });
});

describe("packExamples", () => {
  const examples = [
    { promptIds: [1, 10, 11], answerIds: [20, 2] },
    { promptIds: [1, 12], answerIds: [21, 22, 2] },
  ];

  it("predicts answer tokens only, each from the token before it", () => {
    const batch = packExamples(examples, 0, lossWeight(examples, 0));
    expect([...batch.tokens.ids]).toEqual([1, 10, 11, 20, 1, 12, 21, 22]);
    expect([...rowPositions(batch.tokens)]).toEqual([0, 1, 2, 3, 0, 1, 2, 3]);
    expect([...(batch.tokens.outputRows as Int32Array)]).toEqual([2, 3, 5, 6, 7]);
    expect([...batch.targets]).toEqual([20, 2, 21, 22, 2]);
    expect([...batch.weights]).toEqual(new Array(5).fill(Math.fround(1 / 5)));
    expect(batch.answerTokens).toBe(5);
    expect(batch.tokenCount).toBe(8);
    expect(batch.tokens.segments.map(({ start, length }) => [start, length])).toEqual([
      [0, 4],
      [4, 4],
    ]);
  });

  it("weighs prompt tokens when told, and the weights of a step add up to 1", () => {
    const total = lossWeight(examples, 0.25);
    expect(total).toBe(5 + 0.25 * 3);
    const batch = packExamples(examples, 0.25, total);
    expect([...batch.targets]).toEqual([10, 11, 20, 2, 12, 21, 22, 2]);
    expect(batch.weights.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
  });

  it("predicts masked prompt tokens from the token before them", () => {
    const masked = [{ promptIds: [1, 3, 11, 3], answerIds: [20, 2], maskedIds: [-1, 10, -1, 12] }, examples[1]];
    expect(lossWeight(masked, 0)).toBe(4 + 3);
    const batch = packExamples(masked, 0, lossWeight(masked, 0));
    expect([...batch.tokens.ids]).toEqual([1, 3, 11, 3, 20, 1, 12, 21, 22]);
    expect([...(batch.tokens.outputRows as Int32Array)]).toEqual([0, 2, 3, 4, 6, 7, 8]);
    expect([...batch.targets]).toEqual([10, 12, 20, 2, 21, 22, 2]);
    expect(batch.weights.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
    expect(lossWeight(masked, 0.5)).toBe(7 + 0.5 * 2);
    expect(packExamples(masked, 0.5, 1).weights.reduce((a, b) => a + b, 0)).toBe(8);
  });
});
