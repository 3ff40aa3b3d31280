import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createLabelSet } from "../data/label-set.ts";
import { chooseRelations, combineDirections } from "./combine.ts";

const labels = createLabelSet(
  {
    labels: ["none", "buys", "bought by", "partner", "owns"],
    noRelation: "none",
    inverses: { buys: "bought by" },
    symmetric: ["partner"],
  },
  "labels",
);
const whole = createLabelSet(
  {
    labels: ["none", "buys", "bought by", "partner"],
    noRelation: "none",
    inverses: { buys: "bought by" },
    symmetric: ["partner"],
  },
  "labels",
);
const ONE = { noRelationWeight: 1, furtherRelations: 1 };
const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);

function distribution(size: number) {
  return fc
    .array(fc.double({ min: 0.001, max: 1, noNaN: true }), { minLength: size, maxLength: size })
    .map((values) => {
      const total = values.reduce((a, b) => a + b, 0);
      return Float64Array.from(values, (value) => value / total);
    });
}

describe("combineDirections", () => {
  it("averages each label with its inverse from the other side", () => {
    const own = Float64Array.of(0.1, 0.5, 0.1, 0.1, 0.2);
    const mirrored = Float64Array.of(0.3, 0.1, 0.3, 0.1, 0.2);
    // none (0.1+0.3)/2, buys (0.5+0.3)/2, bought by (0.1+0.1)/2, partner 0.1, owns has no inverse: 0.2; together 1.
    const combined = combineDirections(own, mirrored, labels);
    for (const [i, want] of [0.2, 0.4, 0.1, 0.1, 0.2].entries()) expect(combined[i]).toBeCloseTo(want, 12);
  });

  it("adds up to 1, and asked from the other side it says the inverse", () => {
    const inverse = [0, 2, 1, 3];
    fc.assert(
      fc.property(distribution(4), distribution(4), (own, mirrored) => {
        const combined = combineDirections(own, mirrored, whole);
        const turned = combineDirections(mirrored, own, whole);
        expect(sum(combined)).toBeCloseTo(1, 12);
        for (const [i, j] of inverse.entries()) expect(turned[j]).toBeCloseTo(combined[i], 12);
      }),
    );
    fc.assert(
      fc.property(distribution(5), distribution(5), (own, mirrored) => {
        expect(sum(combineDirections(own, mirrored, labels))).toBeCloseTo(1, 12);
      }),
    );
  });

  it("changes nothing when both sides agree", () => {
    const own = Float64Array.of(0.1, 0.6, 0.2, 0.1);
    const agreed = combineDirections(own, Float64Array.of(0.1, 0.2, 0.6, 0.1), whole);
    for (const [i, value] of own.entries()) expect(agreed[i]).toBeCloseTo(value, 12);
  });
});

describe("chooseRelations", () => {
  const found = (values: number[], choice: Partial<typeof ONE>) =>
    chooseRelations(Float64Array.from(values), labels, { ...ONE, ...choice }).predictions;

  it("takes the most probable label, the first of equals", () => {
    expect(found([0.25, 0.5, 0.125, 0.125, 0], {})).toEqual([{ relation: "buys", probability: 0.5 }]);
    expect(found([0.2, 0.2, 0.2, 0.2, 0.2], {}).map(({ relation }) => relation)).toEqual(["none"]);
  });

  it("gives further relations from a share of the best on, never next to no relation", () => {
    const relations = (share: number) =>
      found([0.05, 0.4, 0.2, 0.15, 0.2], { furtherRelations: share }).map(({ relation }) => relation);
    expect(relations(1)).toEqual(["buys"]);
    expect(relations(0.51)).toEqual(["buys"]);
    expect(relations(0.5)).toEqual(["buys", "bought by", "owns"]);
    expect(relations(0.3)).toEqual(["buys", "bought by", "owns", "partner"]);
    expect(relations(0)).not.toContain("none");
    expect(found([0.5, 0.49, 0.01, 0, 0], { furtherRelations: 0.1 }).map(({ relation }) => relation)).toEqual(["none"]);
  });

  it("weighs no relation against the others", () => {
    const { predictions, probabilities } = chooseRelations(Float64Array.of(0.5, 0.3, 0.2, 0, 0), labels, {
      ...ONE,
      noRelationWeight: 0.5,
    });
    expect(predictions).toEqual([{ relation: "buys", probability: 0.3 }]);
    expect([...probabilities]).toEqual([0.5, 0.3, 0.2, 0, 0]);
  });

  it("gives no relation more when its weight grows, and always adds up to 1", () => {
    const weight = fc.double({ min: 0.01, max: 100, noNaN: true });
    fc.assert(
      fc.property(distribution(5), weight, weight, (values, a, b) => {
        const none = (noRelationWeight: number) => {
          const chosen = chooseRelations(values, labels, { ...ONE, noRelationWeight });
          expect(sum(chosen.probabilities)).toBeCloseTo(1, 12);
          expect(chosen.predictions.length).toBe(1);
          return chosen.predictions[0].relation === "none";
        };
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        expect(none(low) && !none(high)).toBe(false);
      }),
    );
  });

  it("works for a schema without a label for no relation", () => {
    const plain = createLabelSet({ labels: ["a", "b"] }, "labels");
    const choice = { noRelationWeight: 0.001, furtherRelations: 0.5 };
    const { predictions } = chooseRelations(Float64Array.of(0.4, 0.6), plain, choice);
    expect(predictions).toEqual([
      { relation: "b", probability: 0.6 },
      { relation: "a", probability: 0.4 },
    ]);
  });
});
