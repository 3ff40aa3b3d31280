import { expect, it } from "vitest";
import { agreement } from "./int8.ts";

const answer = (...predictions: [string, number][]) => ({
  predictions: predictions.map(([relation, probability]) => ({ relation, probability })) as never,
});

it("counts rows with the same labels and compares the probabilities of labels that both gave", () => {
  const { sameLabels, probabilityDifference } = agreement(
    [answer(["a", 0.5]), answer(["a", 0.9]), answer(["a", 0.6], ["b", 0.3]), answer()],
    [answer(["a", 0.25]), answer(["b", 0.9]), answer(["b", 0.3], ["a", 0.5]), answer()],
  );
  expect(sameLabels).toBe(3);
  expect(probabilityDifference.largest).toBeCloseTo(0.25, 12);
  expect(probabilityDifference.mean).toBeCloseTo(0.35 / 3, 12);
});
