import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TINY_LABELS, TOKENIZER } from "../../test/tiny-extractor.ts";
import { recipeSchema } from "../recipe/schema.ts";
import { openForTraining, openTrained, saveLabels, saveTrained } from "./open.ts";
import { createRunFolder } from "./run-folder.ts";

const INIT = { width: 16, layers: 1, heads: 2, keyValueHeads: 1, feedForward: 16 };

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cre-run-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Trains nothing: writes the run of a recipe with template "auto" as training does, and returns the template its recipe names. */
async function runWithAuto(name: string, model: object, prompt: object = {}): Promise<string> {
  const given = recipeSchema.parse({
    model,
    data: {},
    prompt: { ...prompt, template: "auto" },
    adapter: { method: "full" },
    train: { epochs: 1, batchExamples: 1, learningRate: 0.001 },
    precision: "float32",
  });
  const bench = await openForTraining(given, TINY_LABELS);
  try {
    expect(bench.renderer.template.name).toBe(bench.recipe.prompt.template);
    expect(given.prompt.template).toBe("auto");
    const run = await createRunFolder(join(folder, name), bench.recipe);
    await saveLabels(run, TINY_LABELS);
    await saveTrained(bench, run);
  } finally {
    await bench.close();
  }
  const opened = await openTrained(join(folder, name));
  await opened.close();
  expect(opened.renderer.template.name).toBe(opened.recipe.prompt.template);
  return opened.recipe.prompt.template;
}

describe("the template auto", () => {
  it("is plain for a model from nothing and the family's for a folder; the run remembers which", async () => {
    expect(await runWithAuto("first", { init: INIT, tokenizer: TOKENIZER })).toBe("plain");
    expect(await runWithAuto("second", { path: join(folder, "first", "model") })).toBe("llama2");
  });
});

describe("a run that is opened with another storage", () => {
  it("keeps its layers so, and says so", async () => {
    await runWithAuto("stored", { init: INIT, tokenizer: TOKENIZER });
    const told: number[] = [];
    const run = await openTrained(join(folder, "stored"), {
      storage: "nf4",
      onLoad: (done, total) => told.push(done / total),
    });
    expect(run.model.layers.map(({ down }) => down.weight.storage)).toEqual(run.model.layers.map(() => "nf4"));
    expect(run.model.embedding.storage).toBe("bfloat16");
    expect(run.recipe.model.storage).toBe("nf4");
    expect(told.at(-1)).toBe(1);
    await run.close();
  });
});

describe("a run that is opened for 8-bit products", () => {
  it("keeps only the layers' matrices so, says so, and answers nearly the same", async () => {
    await runWithAuto("bytes", { init: INIT, tokenizer: TOKENIZER });
    const [float, int8] = await Promise.all(
      (["float", "int8"] as const).map((precision) => openTrained(join(folder, "bytes"), { decode: { precision } })),
    );
    expect(int8.model.layers.map(({ down }) => down.weight.storage)).toEqual(int8.model.layers.map(() => "w8a8"));
    expect(int8.model.embedding.storage).toBe(float.model.embedding.storage);
    expect(int8.recipe.model.storage).toBe(float.recipe.model.storage);
    expect(int8.extractor.arithmetic).toBe(`${float.extractor.arithmetic}, int8 products`);
    expect(int8.backend.memory().bytes).toBeLessThan(float.backend.memory().bytes);
    const row = { sentence: "Anna likes Tom", head: "Anna", tail: "Tom" };
    const answers = await Promise.all([float, int8].map(({ extractor }) => extractor.extract([row])));
    const [a, b] = answers.map(([{ predictions }]) => predictions[0].probability);
    expect(Math.abs(a - b)).toBeLessThan(0.05);
    expect(a).not.toBe(b);
    await Promise.all([float, int8].map((run) => run.close()));
  });
});

describe("a run of ChatGLM2", () => {
  it("names template and targets, begins its prompts with [gMASK] sop, and opens again with a tokenizer file", async () => {
    const sizes = { ...INIT, family: "chatglm", tiedHead: false, vocabularyMultiple: 64 };
    expect(await runWithAuto("glm", { init: sizes, tokenizer: TOKENIZER })).toBe("plain");
    const given = recipeSchema.parse({
      model: { path: join(folder, "glm", "model"), tokenizer: TOKENIZER },
      data: {},
      prompt: { template: "auto" },
      adapter: { method: "lora", rank: 2 },
      train: { epochs: 1, batchExamples: 1, learningRate: 0.001 },
      precision: "float32",
    });
    const bench = await openForTraining(given, TINY_LABELS);
    try {
      expect(bench.recipe).toMatchObject({
        prompt: { template: "chatglm2" },
        adapter: { targets: ["query_key_value"] },
      });
      const { tokenizer, model, renderer } = bench;
      const { vocabularySize } = tokenizer;
      expect(model.spec).toMatchObject({
        tokenCount: vocabularySize,
        vocabularySize: Math.ceil(vocabularySize / 64) * 64,
      });
      const { ids } = renderer.renderPrompt({ sentence: "远山收购近水", head: "远山", tail: "近水" });
      expect(ids.slice(0, 2)).toEqual([vocabularySize - 4, vocabularySize - 2]);
      expect([tokenizer.pieceOf(ids[0]), tokenizer.pieceOf(ids[1])]).toEqual(["[gMASK]", "sop"]);
      const run = await createRunFolder(join(folder, "glm-lora"), bench.recipe);
      await saveLabels(run, TINY_LABELS);
      await saveTrained(bench, run);
    } finally {
      await bench.close();
    }
    const opened = await openTrained(join(folder, "glm-lora"));
    await opened.close();
    expect(opened.tokenizer.vocabularySize).toBe(opened.model.spec.tokenCount);
    expect(opened.model.layers[0].k.lowRank?.a).toBe(opened.model.layers[0].q.lowRank?.a);
  });

  it("does not put an adapter on another base model", async () => {
    const other = join(folder, "glm", "model", "config.json");
    await appendFile(other, " ");
    await expect(openTrained(join(folder, "glm-lora"))).rejects.toThrow(
      /glm.model: is not the model that .*glm-lora started/,
    );
  });
});

describe("a run whose recipe or labels were changed", () => {
  it("never reads more than the model's context: longer prompts are shortened and marked", async () => {
    await runWithAuto("beyond", { init: { ...INIT, maxTokens: 64 }, tokenizer: TOKENIZER }, { maxPromptTokens: 64 });
    const file = join(folder, "beyond", "recipe.yaml");
    await writeFile(file, (await readFile(file, "utf8")).replace("maxPromptTokens: 64", "maxPromptTokens: 20000"));
    const notices: string[] = [];
    const run = await openTrained(join(folder, "beyond"), { onNotice: (line) => notices.push(line) });
    try {
      expect(notices.join("\n")).toContain("prompt.maxPromptTokens is 20000, but the model was made for 64 tokens");
      const { ids, truncated } = run.renderer.renderPrompt({
        sentence: `甲${"字".repeat(500)}乙`,
        head: "甲",
        tail: "乙",
      });
      expect(truncated).toBe(true);
      expect(ids.length).toBeLessThanOrEqual(64);
    } finally {
      await run.close();
    }
  });

  it("names the labels that cannot be answered with, once", async () => {
    await runWithAuto("relabelled", { init: INIT, tokenizer: TOKENIZER }, { maxAnswerTokens: 20 });
    const file = join(folder, "relabelled", "labels.json");
    await writeFile(file, JSON.stringify({ labels: ["合作", "一个名字特别长的关系标签用来说明它会被提前检查出来"] }));
    // With its checksum, a changed file is refused before it is read.
    await rm(join(folder, "relabelled", "checksums.json"));
    await expect(openTrained(join(folder, "relabelled"))).rejects.toThrow(
      /labels\.json: the labels cannot be answered with:\n.*maxAnswerTokens is 20.*一个名字特别长的关系标签/,
    );
  });
});

describe("what a run keeps checksums of", () => {
  it("is refused by name once a bit is another one", async () => {
    await runWithAuto("sums", { init: INIT, tokenizer: TOKENIZER });
    const run = join(folder, "sums");
    const names = ["labels.json", "model/config.json", "model/tokenizer.model", "model/model.safetensors"];
    for (const name of names) {
      const bytes = await readFile(join(run, name));
      const flipped = Buffer.from(bytes);
      flipped[flipped.length - 3] ^= 1;
      await writeFile(join(run, name), flipped);
      await expect(openTrained(run)).rejects.toThrow(`${join(run, name)}: `);
      await writeFile(join(run, name), bytes);
    }
    await (await openTrained(run)).close();
  });
});
