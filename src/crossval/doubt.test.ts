import { describe, expect, it } from "vitest";
import { createLabelSet } from "../data/label-set.ts";
import { doubtedPairs, plantWrongLabels, precisionAtK, rankByDoubt } from "./doubt.ts";

const labels = createLabelSet(
  {
    labels: ["unknown", "收购", "被收购", "合作", "其他"],
    noRelation: "unknown",
    inverses: { 收购: "被收购" },
    symmetric: ["合作"],
  },
  "labels",
);
const row = (sentence: string, head: string, tail: string, ...relations: string[]) => ({
  sentence,
  head,
  tail,
  relations,
});
const examples = [
  row("甲收购乙", "甲", "乙", "收购"),
  row("甲收购乙", "乙", "甲", "收购"), // breaks the rule: expected 被收购
  row("丙与丁合作", "丙", "丁", "合作"),
  row("丙与丁合作", "丁", "丙", "合作"),
  row("戊和己", "戊", "己", "合作", "收购"),
  row("庚庚", "庚", "庚", "其他"),
];
const probabilities = [
  [0.1, 0.7, 0.1, 0.1, 0],
  [0.1, 0.2, 0.6, 0.1, 0],
  [0.8, 0.1, 0.05, 0.05, 0],
  [0.7, 0, 0, 0.3, 0],
  [0.3, 0.3, 0.1, 0.3, 0],
  [0, 0, 0, 0, 1],
];
const ranked = rankByDoubt(examples, probabilities, labels);

describe("a ranking by doubt", () => {
  it("has the rows by falling suspicion, 1 − the probability of their labels together", () => {
    expect(ranked.map(({ place }) => place)).toEqual([2, 1, 3, 4, 0, 5]);
    const suspicions = ranked.map(({ suspicion }) => suspicion);
    for (const [i, value] of [0.95, 0.8, 0.7, 0.4, 0.3, 0].entries()) expect(suspicions[i]).toBeCloseTo(value, 12);
    expect(ranked[0]).toMatchObject({ says: "unknown", probability: 0.8, disagrees: true });
    expect(ranked[4]).toMatchObject({ says: "收购", probability: 0.7, disagrees: false });
    // Of equal probabilities the first label of the set.
    expect(ranked[3]).toMatchObject({ place: 4, says: "unknown", disagrees: true });
  });

  it("knows the reversed row, whether the labels break the rule, and whether the answers obey it", () => {
    const reversed = new Map(ranked.map(({ place, reversed: other }) => [place, other]));
    expect(reversed.get(0)).toEqual({ place: 1, says: "被收购", breaksRule: true, isConfirmed: true });
    expect(reversed.get(1)).toEqual({ place: 0, says: "收购", breaksRule: true, isConfirmed: true });
    expect(reversed.get(2)).toEqual({ place: 3, says: "unknown", breaksRule: false, isConfirmed: true });
    expect(reversed.get(4)).toBeNull();
    // A row whose head is its tail is no check of itself.
    expect(reversed.get(5)).toBeNull();
    const without = rankByDoubt(examples, probabilities, { ...labels, inverses: new Map() });
    const other = new Map(without.map(({ place, reversed: one }) => [place, one]));
    expect(other.get(0)).toEqual({ place: 1, says: "被收购", breaksRule: null, isConfirmed: null });
    expect(other.get(2)).toMatchObject({ breaksRule: null, isConfirmed: true });
  });

  it("is checked at round numbers, at shares of the rows, and for all rows", () => {
    const repeated = Array.from({ length: 25 }, () => ranked).flat();
    const table = precisionAtK(repeated, new Set([2, 1]));
    expect(table.map(({ k }) => k)).toEqual([2, 3, 8, 10, 20, 50, 100, 150]);
    // The first two rows: 2 and 1, both with a reversed row, both contradicted from both sides, one breaks the rule.
    expect(table[0]).toEqual({
      k: 2,
      suspicion: ranked[1].suspicion,
      checked: 2,
      confirmed: 2,
      breaking: 1,
      planted: 2,
    });
    expect(table[7]).toMatchObject({ checked: 75, confirmed: 75, breaking: 50, planted: 50 });
    expect(precisionAtK(ranked, null)).toMatchObject([{ k: 6, planted: null }]);
  });

  it("counts pairs of a label and another answer", () => {
    expect(doubtedPairs(ranked, examples, 4)).toEqual([
      { label: "合作", says: "unknown", rows: 2 },
      { label: "收购", says: "被收购", rows: 1 },
      { label: "合作, 收购", says: "unknown", rows: 1 },
    ]);
    expect(doubtedPairs(ranked, examples, 1)).toHaveLength(1);
  });
});

describe("planted wrong labels", () => {
  const many = Array.from({ length: 100 }, (_, i) => examples[i % 5]);

  it("are another label each, on the share of the rows", () => {
    const { examples: changed, planted } = plantWrongLabels(many, 0.1, 1);
    expect(planted.size).toBe(10);
    for (const [place, { relations = [] }] of changed.entries()) {
      if (!planted.has(place)) expect(changed[place]).toBe(many[place]);
      else {
        expect(relations).toHaveLength(1);
        expect(many[place].relations).not.toContain(relations[0]);
      }
    }
    expect(plantWrongLabels(many, 0.1, 1)).toEqual({ examples: changed, planted });
    expect(plantWrongLabels(many, 0.1, 2).planted).not.toEqual(planted);
    expect(plantWrongLabels(many, 0.0001, 1).planted.size).toBe(1);
  });

  it("need a share and two labels", () => {
    expect(() => plantWrongLabels(many, 0, 1)).toThrow("expected one between 0 and 1");
    expect(() => plantWrongLabels([examples[0], examples[1]], 0.5, 1)).toThrow("All rows have the same label");
  });
});
