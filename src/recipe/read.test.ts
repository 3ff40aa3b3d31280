import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { UserErrors } from "../base/errors.ts";
import { applyOverride, missingPaths, readRecipe, readRecipeParts, recipeText, resolveRecipe } from "./read.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-recipe-"));
const GOOD = `
model: { path: base }
data: { path: ../data }
prompt: {}
adapter: { method: lora }
train: { epochs: 5, batchExamples: 4, accumulation: 4, learningRate: 5e-5 }
`;

const LORA_DEFAULTS = { rank: 8, alpha: 32, dropout: 0.1, scaling: "lora", learningRateRatio: 1 };

function recipeFile(text: string): string {
  const file = join(directory, `${Math.random().toString(36).slice(2)}.yaml`);
  writeFileSync(file, text);
  return file;
}

describe("readRecipe", () => {
  it("fills in the paper's defaults and makes paths absolute", async () => {
    const recipe = await readRecipe(recipeFile(GOOD));
    expect(recipe.adapter).toEqual({ method: "lora", ...LORA_DEFAULTS, targets: "auto" });
    expect(recipe.prompt).toEqual({ style: "paper", template: "default", maxPromptTokens: 1024, maxAnswerTokens: 512 });
    expect(recipe.model.path).toBe(join(directory, "base"));
    expect(recipe.data.path).toBe(join(directory, "..", "data"));
    const again = await readRecipe(recipeFile(recipeText(recipe)));
    expect(again).toEqual(recipe);
  });

  it("applies overrides", async () => {
    const recipe = await readRecipe(recipeFile(GOOD), [
      "train.epochs=2",
      "adapter.targets=all",
      "decode.method=generate",
    ]);
    expect(recipe.train.epochs).toBe(2);
    expect(recipe.adapter).toMatchObject({ targets: "all" });
    expect(recipe.decode.method).toBe("generate");
  });

  it("lists three mistakes together, unknown keys with the nearest name", async () => {
    const text = GOOD.replace("epochs: 5", "epochs: -5")
      .replace("learningRate", "learningRat")
      .replace("path: base", "pth: base");
    const error = await readRecipe(recipeFile(text)).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(UserErrors);
    expect(error.message).toContain('train.learningRat — unknown key, did you mean "learningRate"?');
    expect(error.message).toContain('model.pth — unknown key, did you mean "path"?');
    expect(error.message).toContain("train.epochs is -5");
    expect(error.message).toContain(": 3 problems:");
  });

  it("says which parts do not go together", async () => {
    const init = "model: { init: { width: 8, layers: 1, heads: 1, keyValueHeads: 1, feedForward: 8 } }";
    const error = await readRecipe(recipeFile(GOOD.replace("model: { path: base }", init))).catch((thrown) => thrown);
    expect(error.message).toContain("model.init needs a tokenizer");
    expect(error.message).toContain("a model from nothing is trained whole");
  });

  it("has no loss on prompts whose tokens see the next one", async () => {
    const both = GOOD.replace("prompt: {}", "prompt: { attention: both }");
    expect((await readRecipe(recipeFile(both))).prompt.attention).toBe("both");
    const problem = 'train.promptLoss: is 0.5, expected 0 with prompt.attention "both"';
    await expect(readRecipe(recipeFile(both), ["train.promptLoss=0.5"])).rejects.toThrow(problem);
    // Also next to another mistake.
    const { problems } = await readRecipeParts({
      file: recipeFile(both),
      overrides: ["train.promptLoss=0.5", "seed=-1"],
    });
    expect(problems).toContainEqual(expect.stringContaining(problem));
    expect((await readRecipe(recipeFile(GOOD), ["train.promptLoss=0.5"])).train.promptLoss).toBe(0.5);
  });

  it("reports a mistake before it reads the data", async () => {
    const file = recipeFile("data: { path: ., formt: jsonl }");
    await expect(readRecipe(file)).rejects.toThrow('data.formt — unknown key, did you mean "format"?');
    await expect(readRecipe(recipeFile("data: { path: . }"))).rejects.toThrow("is no folder of examples");
  });

  it("accepts quantised layers only with an adapter", async () => {
    for (const storage of ["int8", "nf4"] as const) {
      const text = GOOD.replace("path: base", `path: base, storage: ${storage}`);
      expect((await readRecipe(recipeFile(text))).model.storage).toBe(storage);
      await expect(readRecipe(recipeFile(text.replace("method: lora", "method: full")))).rejects.toThrow(
        `${storage} cannot be trained: expected "float32" or "bfloat16" with adapter.method "full"`,
      );
    }
  });

  it("refuses what is not a recipe", async () => {
    await expect(readRecipe(recipeFile("- 1\n- 2"))).rejects.toThrow("is not a recipe");
    await expect(readRecipe(recipeFile("a: [1"))).rejects.toThrow("is not YAML");
    await expect(readRecipe(recipeFile("a: &x [1]\nb: [*x, *x]"))).rejects.toThrow("Alias");
    await expect(readRecipe(join(directory, "none.yaml"))).rejects.toThrow("none.yaml: cannot be read");
  });
});

describe("readRecipeParts", () => {
  it("returns what is right of a recipe that has problems, with its defaults and absolute paths", async () => {
    const text = GOOD.replace("prompt: {}", "prompt: { style: 3, template: plain, extra: 1 }")
      .replace("method: lora", "method: lora, rank: 0, targets: [q_proj]")
      .replace("path: ../data", "path: ../data, format: csv");
    const { recipe, parts, problems } = await readRecipeParts({ file: recipeFile(text) });
    expect(recipe).toBeNull();
    const { train, ...others } = parts;
    expect(train).toMatchObject({ epochs: 5, batchExamples: 4, patience: 0, validateEvery: 1 });
    expect(others).toEqual({
      model: { path: join(directory, "base"), storage: "bfloat16" },
      data: { path: join(directory, "..", "data"), badRows: "stop" },
      prompt: { template: "plain", maxPromptTokens: 1024, maxAnswerTokens: 512 },
      adapter: { method: "lora", ...LORA_DEFAULTS, targets: ["q_proj"] },
    });
    expect(problems.map((problem) => problem.split(" ")[0])).toEqual([
      "data.format",
      "prompt.style",
      "prompt.extra",
      "adapter.rank",
    ]);
  });

  it("reports parts that do not go together also when values are wrong, each once", async () => {
    const text = GOOD.replace("path: base", "path: base, storage: nf4").replace("method: lora", "method: full");
    const storage =
      'model.storage: nf4 cannot be trained: expected "float32" or "bfloat16" with adapter.method "full", or adapter.method "lora" or "dora" or "prefix"';
    expect((await readRecipeParts({ file: recipeFile(text) })).problems).toEqual([storage]);
    const { problems, parts } = await readRecipeParts({
      file: recipeFile(text),
      overrides: ["seed=-1", "prompt=none"],
    });
    expect(problems).toHaveLength(3);
    expect(problems.at(-1)).toBe(storage);
    expect(parts.prompt).toEqual({});
    const unknown = await readRecipeParts({ file: recipeFile(text), overrides: ["adapter.method=lroa"] });
    expect(unknown.parts.adapter).toBeNull();
    expect(unknown.problems).toHaveLength(1);
  });

  it("returns a recipe without problems as it is read", async () => {
    const file = recipeFile(GOOD);
    const recipe = await readRecipe(file);
    expect(await readRecipeParts({ file })).toMatchObject({ where: file, recipe, parts: recipe, problems: [] });
  });
});

describe("what a recipe leaves out", () => {
  const root = join(import.meta.dirname, "..", "..");
  const shipped = (name: string) => join(root, "recipes", `${name}.yaml`);

  it("of a recipe that only names its data is the demonstration's for few rows", async () => {
    const { recipe, basis, facts, defaults } = await resolveRecipe({ file: shipped("minimal") });
    const demo = await readRecipe(shipped("demo"));
    expect(recipe).toEqual({ ...demo, data: { ...demo.data, format: "auto" } });
    expect(await defaults()).toEqual(recipe);
    expect([basis, facts]).toEqual([
      "demo.yaml",
      { rows: 1094, severalRelations: 10, softLabels: 0, hasInverses: false, hasNoRelation: true },
    ]);
    expect(await readRecipe(recipeFile(recipeText(recipe)))).toEqual(recipe);
  });

  it("is all of it without a file, a model from nothing without a fast backend", async () => {
    const dataPath = join(root, "demo");
    const overrides = ["train.epochs=1"];
    const { recipe, basis } = await resolveRecipe({ dataPath, overrides, isFast: false });
    const small = await readRecipe(shipped("demo-small"));
    expect(recipe).toEqual({
      ...small,
      data: { ...small.data, format: "auto" },
      train: { ...small.train, epochs: 1 },
    });
    expect(basis).toBe("demo-small.yaml");
    const wrong = resolveRecipe({ dataPath, overrides: ["train.epoch=1"] });
    await expect(wrong).rejects.toThrow(
      'The recipe: 1 problem:\n  - train.epoch — unknown key, did you mean "epochs"?',
    );
  });

  it("counts only the rows that can be used", async () => {
    const data = mkdtempSync(join(directory, "data-"));
    const row = (relations: string[], sentence = "甲收购乙") =>
      JSON.stringify({ sentence, head: "甲", tail: "乙", relations });
    writeFileSync(
      join(data, "labels.json"),
      JSON.stringify({ labels: ["无", "收购"], noRelation: "无", symmetric: ["收购"] }),
    );
    writeFileSync(join(data, "train.jsonl"), [row(["收购"]), "{", row(["收购"], "甲与乙"), row(["无"])].join("\n"));
    const { recipe, facts } = await resolveRecipe({ dataPath: data });
    expect(facts).toEqual({ rows: 2, severalRelations: 1, softLabels: 0, hasInverses: true, hasNoRelation: true });
    expect(recipe.train.epochs).toBe(15);
    expect(recipe.decode).toMatchObject({ bothDirections: true, furtherRelations: 0.5 });
  });

  it("of rows with soft labels keeps a model from learning them by heart, unless the recipe says otherwise", async () => {
    const data = mkdtempSync(join(directory, "soft-"));
    const rows = Array.from({ length: 20 }, (_, i) => {
      const softLabels = i === 0 ? { 收购: 0.6667, 无: 0.3333 } : undefined;
      return JSON.stringify({ sentence: `甲收购乙${i}`, head: "甲", tail: "乙", relations: ["收购"], softLabels });
    });
    writeFileSync(join(data, "labels.json"), JSON.stringify({ labels: ["无", "收购"], noRelation: "无" }));
    writeFileSync(join(data, "train.jsonl"), rows.join("\n"));
    const { recipe, isAgainstWrongLabels, facts, defaults } = await resolveRecipe({
      dataPath: data,
      overrides: ["train.dropout=0"],
    });
    expect([isAgainstWrongLabels, facts?.softLabels]).toEqual([true, 1]);
    const robust = { schedule: "constant", labelSmoothing: 0.1, tokenNoise: 0.15, averageFrom: 0.35 };
    expect(recipe.train).toMatchObject({ ...robust, dropout: 0, learningRate: 0.001 });
    expect((await defaults()).train).toMatchObject({ ...robust, dropout: 0.1 });
    const demo = await resolveRecipe({ file: shipped("demo"), dataPath: data });
    expect(demo.recipe.train).toMatchObject({ schedule: "cosine", dropout: 0, averageFrom: 1 });
  });

  it("of a recipe with a model is the paper's; the values it has stay, and defaults() tells both apart", async () => {
    const file = recipeFile("model: { path: base, storage: nf4 }\nadapter: { rank: 4 }\ntrain: { warmup: 0 }");
    const { recipe, basis, facts, defaults } = await resolveRecipe({ file });
    expect(recipe.model).toEqual({ path: join(directory, "base"), storage: "nf4" });
    expect(recipe.adapter).toMatchObject({ method: "lora", rank: 4, alpha: 32 });
    expect(recipe.train).toMatchObject({ epochs: 5, batchExamples: 4, accumulation: 4, learningRate: 2e-4, warmup: 0 });
    expect([basis, facts]).toEqual([null, null]);
    const left = await defaults();
    expect(left.model).toEqual({ path: join(directory, "base"), storage: "bfloat16" });
    expect([left.adapter, left.train.warmup]).toEqual([{ ...recipe.adapter, rank: 8 }, 0.05]);
  });
});

describe("applyOverride", () => {
  it("reads values as YAML and refuses odd keys", () => {
    const recipe = parse(GOOD);
    applyOverride(recipe, "adapter.targets=[q_proj, k_proj]");
    expect(recipe.adapter.targets).toEqual(["q_proj", "k_proj"]);
    expect(() => applyOverride(recipe, "train")).toThrow("expected KEY=VALUE");
    expect(() => applyOverride(recipe, "__proto__.x=1")).toThrow("cannot be a key");
    expect(() => applyOverride(recipe, "train.epochs.x=1")).toThrow("is not a group of values");
  });
});

describe("missingPaths", () => {
  it("lists everything that is not there", async () => {
    const recipe = await readRecipe(recipeFile(GOOD.replace("path: ../data", "")));
    expect(missingPaths(recipe)).toEqual([
      expect.stringContaining(`model.path: ${join(directory, "base")} does not exist`),
      "data.path is missing: give it in the recipe or with --data DIR",
    ]);
  });
});
