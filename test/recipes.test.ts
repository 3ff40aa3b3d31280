import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { readPretrainRecipe } from "../src/pretrain/recipe.ts";
import { readRecipe, resolveRecipe } from "../src/recipe/read.ts";

const root = join(import.meta.dirname, "..");
const folder = join(root, "recipes");
/** The only recipe that leaves values out. */
const SHORT = "minimal.yaml";
const PRETRAINS = /^base-zh/;

/** Settings that came later, with the values that change nothing. */
const LATER: Readonly<Record<string, unknown>> = {
  scaling: "lora",
  learningRateRatio: 1,
  embeddingNoise: 0,
  layerDecay: 1,
  patience: 0,
  negatives: 0,
  joinedSentences: 0,
  onePass: true,
  optimizer: "adamw",
};
const textOf = (recipe: unknown) =>
  JSON.stringify(recipe, (key, value) => {
    // Of importance only for data without validation rows, which had no such setting.
    if (key === "validationShare") return undefined;
    if (key === "tasks" && String(value) === "relations") return undefined;
    return key in LATER && LATER[key] === value ? undefined : value;
  });

describe("the recipes", () => {
  it.each(readdirSync(folder))("%s can be read, names every value, and its header says how to run it", async (name) => {
    const file = join(folder, name);
    const header = readFileSync(file, "utf8").match(/^(#.*\n)+/)?.[0] ?? "";
    const pretrains = header.includes(`# cre model pretrain recipes/${name}`);
    expect(pretrains || header.includes(`# cre train recipes/${name}`)).toBe(true);
    const recipe = await (pretrains ? readPretrainRecipe(file) : readRecipe(file));
    expect(recipe.seed).toBe(1);
    if (name === SHORT) return;
    const written = parse(readFileSync(file, "utf8"));
    for (const part of ["train", "decode"] as const) {
      if (part in recipe)
        expect(Object.keys(written[part]).sort()).toEqual(Object.keys(recipe[part as "train"]).sort());
    }
  });

  it("resolve to what they did when every value was required, in the same order", async () => {
    const { recipes } = JSON.parse(readFileSync(join(import.meta.dirname, "golden", "recipes.json"), "utf8"));
    const names = Object.keys(recipes).filter((name) => name !== "required");
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(names));
    for (const name of names) {
      const file = join(folder, name);
      const recipe = await (PRETRAINS.test(name) ? readPretrainRecipe(file) : readRecipe(file));
      // A run's identity is a digest of this text.
      expect(textOf(recipe).replaceAll(root, "ROOT")).toBe(JSON.stringify(recipes[name]));
    }
    const required = { model: { path: "/base" }, data: {}, prompt: {}, adapter: { method: "lora" } };
    const train = { epochs: 5, batchExamples: 4, learningRate: 5e-5 };
    const file = join(mkdtempSync(join(tmpdir(), "cre-recipes-")), "required.yaml");
    writeFileSync(file, JSON.stringify({ ...required, train }));
    expect(textOf(await readRecipe(file))).toBe(JSON.stringify(recipes.required));
  });

  it("leave defaults that depend on the data to the short one only", async () => {
    for (const name of readdirSync(folder)) {
      if (PRETRAINS.test(name)) continue;
      const { facts, basis } = await resolveRecipe({ file: join(folder, name) });
      expect([name, facts === null && basis === null]).toEqual([name, name !== SHORT]);
    }
  });

  it("of a control differ from what they control in the first weights only", async () => {
    for (const set of ["finre", "sanwen"]) {
      const full = await readRecipe(join(folder, `${set}-base-full.yaml`));
      const scratch = await readRecipe(join(folder, `${set}-base-scratch.yaml`));
      expect({ ...scratch, model: null }).toEqual({ ...full, model: null });
      expect(scratch.model.tokenizer).toBe(full.model.path);
      const base = await readPretrainRecipe(join(folder, "base-zh.yaml"));
      expect(scratch.model.init).toEqual(base.model.init);
    }
  });
});
