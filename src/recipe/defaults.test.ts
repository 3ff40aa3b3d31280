import { describe, expect, it } from "vitest";
import {
  type DataFacts,
  defaultsFor,
  dependsOnData,
  fillIn,
  MANY_ROWS,
  NO_FACTS,
  type RecipeValues,
} from "./defaults.ts";

const SHIPPED = {
  model: { path: "/embedded" },
  adapter: { method: "lora", rank: 8 },
  train: { epochs: 1, learningRate: 1 },
};
const FULL = { ...SHIPPED, adapter: { method: "full" } };
const read = async (file: string) => (/full|small/.test(file) ? FULL : SHIPPED);
const facts = (rows: number, others: Partial<DataFacts> = {}): DataFacts => ({ ...NO_FACTS, rows, ...others });

async function defaultsOf(given: RecipeValues, rows: number, isFast = true) {
  const { values, basis } = await defaultsFor(given, facts(rows), isFast, read);
  const { epochs, learningRate } = values.train as Record<string, number>;
  return { basis, epochs, learningRate };
}

describe("the defaults of a recipe without a model", () => {
  it("come from the recipe that fits the number of rows, method and backend", async () => {
    const lora = { adapter: { method: "lora" } };
    const full = { adapter: { method: "full" } };
    const cases: [RecipeValues, number, boolean, string, number][] = [
      [{}, 0, true, "demo.yaml", 8],
      [{}, 100, true, "demo.yaml", 30],
      [{}, 1_094, true, "demo.yaml", 8],
      [{}, MANY_ROWS - 1, true, "demo.yaml", 8],
      [{}, MANY_ROWS, true, "finre-base-all.yaml", 10],
      [{}, 12_294, true, "finre-base-all.yaml", 8],
      [{}, 17_092, true, "finre-base-all.yaml", 6],
      [{}, 1_000_000, true, "finre-base-all.yaml", 2],
      [full, 1_094, true, "finre-base-full.yaml", 30],
      [full, 12_294, true, "finre-base-full.yaml", 6],
      [{}, 1_094, false, "demo-small.yaml", 30],
      [full, 12_294, false, "finre-small.yaml", 12],
      [lora, 1_094, false, "demo.yaml", 8],
    ];
    for (const [given, rows, isFast, basis, epochs] of cases) {
      expect(await defaultsOf(given, rows, isFast)).toMatchObject({ basis, epochs, learningRate: 1 });
    }
  });

  it("join sentences where a label means no relation and no label is soft, in fewer epochs", async () => {
    const joining = async () => ({ ...SHIPPED, train: { ...SHIPPED.train, joinedSentences: 0.5 } });
    const trainOf = async (given: RecipeValues, others: Partial<DataFacts> = {}) => {
      const { values } = await defaultsFor(given, facts(1_094, others), true, joining);
      const { epochs, joinedSentences } = values.train as Record<string, number>;
      return [joinedSentences, epochs];
    };
    expect(await trainOf({})).toEqual([0.5, 4]);
    expect(await trainOf({}, { hasNoRelation: false })).toEqual([0, 8]);
    expect(await trainOf({}, { softLabels: 1 })).toEqual([0, 8]);
    expect(await trainOf({ train: { joinedSentences: 0 } })).toEqual([0.5, 8]);
  });

  it("have another learning rate for a method that no shipped recipe has", async () => {
    const given = { adapter: { method: "freeze" } };
    expect(await defaultsOf(given, 1_094)).toEqual({ basis: "demo.yaml", epochs: 8, learningRate: 5e-5 });
  });

  it("are those of the shipped recipe for a method with the same settings", async () => {
    const { values } = await defaultsFor({ adapter: { method: "dora" } }, facts(1_094), true, read);
    expect(values).toMatchObject({ adapter: { method: "dora", rank: 8 }, train: { learningRate: 1 } });
    expect(fillIn({ adapter: { method: "dora", rank: 4 } }, values).adapter).toEqual({ method: "dora", rank: 4 });
    const other = await defaultsFor({ adapter: { method: "prefix" } }, facts(1_094), true, read);
    expect(other.values).toMatchObject({ adapter: { method: "lora" }, train: { learningRate: 2e-2 } });
  });

  it("are those against wrong labels where a twentieth of few rows have soft ones", async () => {
    const trainOf = async (given: RecipeValues, one: DataFacts) => {
      const { values, isAgainstWrongLabels } = await defaultsFor(given, one, true, read);
      return [isAgainstWrongLabels, (values.train as RecipeValues).averageFrom];
    };
    expect(await trainOf({}, facts(1000, { softLabels: 49 }))).toEqual([false, undefined]);
    expect(await trainOf({}, facts(1000, { softLabels: 50 }))).toEqual([true, 0.35]);
    expect(await trainOf({ adapter: { method: "prefix" } }, facts(1000, { softLabels: 50 }))).toEqual([true, 0.35]);
    // Their shipped recipes have such settings.
    expect(await trainOf({ adapter: { method: "full" } }, facts(1000, { softLabels: 50 }))).toEqual([false, undefined]);
    expect(await trainOf({}, facts(MANY_ROWS, { softLabels: MANY_ROWS }))).toEqual([false, undefined]);
    expect(await trainOf({ model: { path: "/m" } }, facts(1000, { softLabels: 50 }))).toEqual([false, undefined]);
  });

  it("ask in both directions when every label has an inverse, and give further relations when rows have several", async () => {
    const decodeOf = async (one: DataFacts) => (await defaultsFor({}, one, true, read)).values.decode;
    expect(await decodeOf(facts(1000))).toEqual({
      bothDirections: false,
      noRelationWeight: "auto",
      furtherRelations: 1,
    });
    expect(await decodeOf(facts(1000, { severalRelations: 49 }))).toMatchObject({ furtherRelations: 1 });
    expect(await decodeOf(facts(1000, { severalRelations: 50, hasInverses: true }))).toEqual({
      bothDirections: true,
      noRelationWeight: "auto",
      furtherRelations: 0.5,
    });
  });
});

describe("the defaults of a recipe with a model", () => {
  it("are CRE-LLM's batch and epochs, with a learning rate for the method", async () => {
    const model = { path: "llama" };
    expect((await defaultsFor({ model }, facts(12_294), true, read)).values).toEqual({
      data: {},
      prompt: {},
      adapter: { method: "lora" },
      train: { epochs: 5, batchExamples: 4, accumulation: 4, learningRate: 2e-4, validationShare: 0.1 },
    });
    const full = await defaultsFor({ model, adapter: { method: "full" } }, facts(1000), false, read);
    expect(full.values.train).toMatchObject({ epochs: 10, learningRate: 2e-5 });
    expect(full.basis).toBeNull();
  });

  it("train a model from nothing whole", async () => {
    const { values } = await defaultsFor({ model: { init: {} } }, facts(12_294), true, read);
    expect(values.adapter).toEqual({ method: "full" });
    expect(values.train).toEqual({ epochs: 12, batchExamples: 32, learningRate: 1.5e-3, validationShare: 0.1 });
  });

  it("leave the number of passes alone when the recipe has its batch", async () => {
    const given = { model: { path: "llama" }, train: { batchExamples: 8 } };
    const { values } = await defaultsFor(given, NO_FACTS, true, read);
    expect(values.train).toEqual({ epochs: 5, learningRate: 2e-4, validationShare: 0.1 });
  });
});

describe("fillIn", () => {
  it("keeps what is given and adds what is left out, key by key", () => {
    const given = { train: { epochs: 2 }, adapter: { rank: 4 }, seed: 7, data: null, typo: 1 };
    expect(fillIn(given, { ...SHIPPED, data: { format: "auto" } })).toEqual({
      model: { path: "/embedded" },
      data: { format: "auto" },
      adapter: { method: "lora", rank: 4 },
      train: { epochs: 2, learningRate: 1 },
      seed: 7,
      typo: 1,
    });
  });

  it("takes nothing of another method's adapter, and leaves what is no group to the schema", () => {
    expect(fillIn({ adapter: { method: "full" }, train: 3 }, SHIPPED)).toMatchObject({
      adapter: { method: "full" },
      train: 3,
    });
  });
});

describe("dependsOnData", () => {
  it("is true where rows decide: without a model, or without epochs", () => {
    expect(dependsOnData({})).toBe(true);
    expect(dependsOnData({ model: { storage: "nf4" }, train: { epochs: 1 } })).toBe(true);
    expect(dependsOnData({ model: { path: "x" } })).toBe(true);
    expect(dependsOnData({ model: { path: "x" }, train: { epochs: 1 } })).toBe(false);
  });
});
