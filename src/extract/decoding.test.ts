import { expect, it } from "vitest";
import { createLabelSet } from "../data/label-set.ts";
import { decodeProbabilities } from "./decoding.ts";

const labels = createLabelSet({ labels: ["无", "甲", "乙"], noRelation: "无" }, "labels");
const choice = { noRelationWeight: 1, furtherRelations: 0.4 };
const example = { sentence: "一二", head: "一", tail: "二" };
const own = Float64Array.of(0.05, 0.64, 0.31);
const decode = (temperature: number, mask: Uint8Array | null = null) =>
  decodeProbabilities(
    { labels, choice, scale: { temperature, noRelation: 1 }, companion: null },
    [example],
    [own],
    [mask],
  )[0];

it("shows probabilities by the scale, and chooses without it", () => {
  const sure = decode(0.5);
  // p² of each, normalised: 0.4096 and 0.0961 of 0.5082.
  expect(sure.predictions.map(({ relation }) => relation)).toEqual(["甲", "乙"]);
  expect(sure.predictions[0].probability).toBeCloseTo(0.4096 / 0.5082, 12);
  // 0.0961 / 0.4096 is below 0.4, but 0.31 / 0.64 is not.
  expect(sure.predictions[1].probability).toBeCloseTo(0.0961 / 0.5082, 12);
  expect(sure.probabilities[0]).toBeCloseTo(0.0025 / 0.5082, 12);
  expect(decode(1).predictions[0].probability).toBeCloseTo(0.64, 12);
});

it("masks labels after the scale", () => {
  const { predictions, probabilities } = decode(0.5, Uint8Array.of(1, 0, 1));
  expect(predictions.map(({ relation }) => relation)).toEqual(["乙"]);
  expect(probabilities[1]).toBe(0);
  expect(predictions[0].probability).toBeCloseTo(0.0961 / (0.0961 + 0.0025), 12);
});
