import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { readPretrainRecipe } from "../src/pretrain/recipe.ts";
import { readRecipe } from "../src/recipe/read.ts";

const folder = join(import.meta.dirname, "..", "recipes");

describe("the recipes", () => {
  it.each(readdirSync(folder))("%s can be read, names every value, and its header says how to run it", async (name) => {
    const file = join(folder, name);
    const header = readFileSync(file, "utf8").match(/^(#.*\n)+/)?.[0] ?? "";
    const pretrains = header.includes(`# cre model pretrain recipes/${name}`);
    expect(pretrains || header.includes(`# cre train recipes/${name}`)).toBe(true);
    const recipe = await (pretrains ? readPretrainRecipe(file) : readRecipe(file));
    expect(recipe.seed).toBe(1);
    const written = parse(readFileSync(file, "utf8"));
    for (const part of ["train", "decode"] as const) {
      if (part in recipe)
        expect(Object.keys(written[part]).sort()).toEqual(Object.keys(recipe[part as "train"]).sort());
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
