import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import type { Example } from "../data/example.ts";
import { createLabelSet } from "../data/label-set.ts";
import { chooseSettings } from "./choose.ts";
import { trainCompanion } from "./companion.ts";
import { linearProbabilities } from "./model.ts";
import { LINEAR_DEFAULTS, type LinearSettings, labelledRows } from "./train.ts";

const LABELS = createLabelSet({ labels: ["unknown", "收购", "合作"], noRelation: "unknown" }, "labels");
const VERBS: Record<string, string> = { 收购: "收购了", 合作: "携手", unknown: "不同于" };
const SYLLABLES = [..."远近山水东风西岭南湖北辰长河大江青松白石"];

/** Rows whose relation is told by the verb, or by which of a few pairs of names they are about. */
function rowsOf(count: number, told: "by the verb" | "by the names"): Example[] {
  const random = createRandom(5);
  const name = () =>
    random
      .shuffle([...SYLLABLES])
      .slice(0, 3)
      .join("");
  const pairs = Array.from({ length: 40 }, (_, i) => ({ head: name(), tail: name(), label: LABELS.labels[i % 3] }));
  return Array.from({ length: count }, (_, i) => {
    const pair = pairs[random.below(pairs.length)];
    const { head, tail } = told === "by the names" ? pair : { head: `${name()}甲`, tail: `${name()}乙` };
    const label = told === "by the names" ? pair.label : LABELS.labels[random.below(3)];
    const verb = told === "by the names" ? Object.values(VERBS)[random.below(3)] : VERBS[label];
    return { sentence: `${i}日${head}${verb}${tail}。`, head, tail, relations: [label] };
  });
}

function choiceOf(examples: Example[], settings: Partial<LinearSettings> = {}) {
  const all = { ...LINEAR_DEFAULTS, ...settings };
  return chooseSettings(examples, LABELS, labelledRows(examples, LABELS.labels, all), all);
}

describe("chooseSettings", () => {
  it("weighs the names by what they tell", async () => {
    const names = await choiceOf(rowsOf(150, "by the names"));
    expect(names.best.groupWeights.head).toBe(3);
    const verbs = await choiceOf(rowsOf(150, "by the verb"));
    expect(verbs.best.groupWeights.head).toBe(LINEAR_DEFAULTS.groupWeights.head);
  });

  it("keeps the highest F1, then the likeliest regularisation, and tells what it tried", async () => {
    const { best, tried, heldRows } = await choiceOf(rowsOf(90, "by the names"));
    expect(heldRows).toBe(90);
    expect(tried).toHaveLength(5);
    const counted = tried.slice(0, 3);
    const most = counted.reduce((a, b) => (b.microF1 > a.microF1 ? b : a));
    expect(best).toMatchObject({ groupWeights: most.groupWeights, minRows: most.minRows });
    const likeliest = [most, ...tried.slice(3)].reduce((a, b) => (b.loss < a.loss ? b : a));
    expect(best.l2).toBe(likeliest.l2);
    for (const { microF1, loss } of tried) {
      expect(microF1).toBeGreaterThan(0.2);
      expect(microF1).toBeLessThanOrEqual(1);
      expect(loss).toBeGreaterThan(0);
    }
  });

  it("keeps the defaults where there are fewer sentences than folds", async () => {
    const same = rowsOf(60, "by the names").map((row, i) => ({ ...row, sentence: `${i % 2}日` }));
    expect(await choiceOf(same)).toMatchObject({
      tried: [],
      heldRows: 0,
      best: { minRows: 2, l2: LINEAR_DEFAULTS.l2 },
    });
  });

  it("does not try n-grams of single rows where the frequent ones are enough", async () => {
    expect((await choiceOf(rowsOf(60, "by the verb"), { maxTrainedFeatures: 100 })).tried).toHaveLength(4);
  });
});

describe("trainCompanion", () => {
  it("trains with the chosen settings and gives the same model again", async () => {
    const examples = rowsOf(80, "by the verb");
    const { model, choice, rows } = await trainCompanion(examples, LABELS, 3);
    expect(rows).toBe(80);
    expect(model.vectors.groupWeights).toEqual(choice.best.groupWeights);
    expect((await trainCompanion(examples, LABELS, 3)).model).toEqual(model);
    const best = linearProbabilities(model, examples).map((row) => LABELS.labels[row.indexOf(Math.max(...row))]);
    expect(best.filter((label, row) => label === examples[row].relations?.[0]).length).toBeGreaterThan(70);
  });

  it("learns from a bounded number of rows", async () => {
    const examples = rowsOf(80, "by the verb");
    expect((await trainCompanion(examples, LABELS, 3, 50)).rows).toBe(50);
  });

  it("works on a single row and on a single label", async () => {
    const [row] = rowsOf(1, "by the verb");
    expect((await trainCompanion([row], LABELS, 1)).choice.tried).toEqual([]);
    const only = createLabelSet({ labels: ["合作"] }, "labels");
    const rows = rowsOf(9, "by the verb").map((one) => ({ ...one, relations: ["合作"] }));
    expect([...linearProbabilities((await trainCompanion(rows, only, 1)).model, rows)[0]]).toEqual([1]);
  });
});
