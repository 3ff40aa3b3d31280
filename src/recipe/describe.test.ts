import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { pretrainRecipeSchema } from "../pretrain/recipe.ts";
import { describeSchema, explainedYaml, explainValues } from "./describe.ts";
import { recipeSchema } from "./schema.ts";

const schema = z.strictObject({
  model: z
    .strictObject({
      width: z.int().min(1).describe("Width."),
      sizes: z
        .strictObject({ rank: z.int().min(1).max(9).describe("Rank.") })
        .optional()
        .describe("Sizes."),
    })
    .describe("The model."),
  adapter: z
    .discriminatedUnion("method", [
      z.strictObject({ method: z.literal("full").describe("Method.") }),
      z.strictObject({
        method: z.literal("lora"),
        targets: z
          .union([z.enum(["auto"]), z.array(z.string())])
          .default("auto")
          .describe("Targets."),
      }),
    ])
    .describe("The adapter."),
  sources: z
    .record(z.string(), z.strictObject({ weight: z.number().positive().describe("Weight.") }))
    .describe("Sources."),
  share: z.number().min(0).lt(1).default(0.5).describe("Share."),
  shown: z.boolean().default(true).describe("Shown."),
});

const recipe = {
  model: { width: 8 },
  adapter: { method: "lora", targets: ["q"] },
  sources: { prose: { weight: 2 } },
  share: 0.5,
  shown: false,
};

describe("describeSchema", () => {
  it("says what every key accepts", () => {
    expect(describeSchema(schema).map(({ key, allowed }) => [key, allowed])).toEqual([
      ["model", ""],
      ["model.width", "whole number from 1"],
      ["model.sizes", ""],
      ["model.sizes.rank", "whole number from 1 to 9"],
      ["adapter", ""],
      ["adapter.method", "full | lora"],
      ["adapter.targets", "auto | list of text"],
      ["sources", ""],
      ["sources.*", ""],
      ["sources.*.weight", "number above 0"],
      ["share", "number from 0 below 1"],
      ["shown", "true | false"],
    ]);
  });

  it.each([
    ["training", recipeSchema],
    ["pretraining", pretrainRecipeSchema],
  ])("finds one sentence for every key of a recipe for %s", (_, one) => {
    const described = describeSchema(one);
    expect(described.length).toBeGreaterThan(35);
    expect(described.filter(({ description }) => !/^\S.*[.)]$/.test(description)).map(({ key }) => key)).toEqual([]);
  });
});

describe("explainValues", () => {
  it("gives value and default of every key, those of the adapter's own method only", () => {
    const explained = explainValues(schema, recipe, { model: { width: 4 } });
    expect(explained.map(({ key, value, default: byDefault }) => [key, value, byDefault])).toEqual([
      ["model", undefined, { width: 4 }],
      ["model.width", 8, 4],
      ["model.sizes", undefined, undefined],
      ["adapter", undefined, undefined],
      ["adapter.method", "lora", undefined],
      ["adapter.targets", ["q"], "auto"],
      ["sources", undefined, undefined],
      ["sources.prose", undefined, undefined],
      ["sources.prose.weight", 2, undefined],
      ["share", 0.5, 0.5],
      ["shown", false, true],
    ]);
    const full = explainValues(schema, { ...recipe, adapter: { method: "full" } }, {});
    expect(full.map(({ key }) => key)).not.toContain("adapter.targets");
  });
});

describe("explainedYaml", () => {
  it("is the recipe again, a sentence over every value", () => {
    const text = explainedYaml(explainValues(schema, recipe, {}), { columns: 40, paint: (comment) => comment });
    expect(parse(text)).toEqual(recipe);
    expect(text).toContain("  # Width. [whole number from 1]\n  width: 8\n");
    expect(text).toContain("  # Sizes. [not set]\n  # sizes:\n");
    expect(text).toContain("  # Targets. [auto | list of text;\n  # default auto]\n  targets: [ q ]\n");
    expect(text).toContain("\n\n# Share. [number from 0 below 1;\n# default]\nshare: 0.5\n");
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(40);
  });
});
