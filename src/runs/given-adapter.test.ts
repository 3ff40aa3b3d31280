import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TINY_LABELS } from "../../test/tiny-extractor.ts";
import { randomIds, sequenceLogits } from "../../test/tiny-model.ts";
import { writeToyBase, writeToyLora } from "../../test/toy-runs.ts";
import { createRandom } from "../base/random.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Example } from "../data/example.ts";
import { labelSetToJson } from "../data/label-set.ts";
import { exportRun } from "../export/run.ts";
import { openPeftFolder } from "../formats/peft-folder.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { loadDecoder } from "../models/load.ts";
import { readRecipe, resolveRecipe } from "../recipe/read.ts";
import { openGiven } from "./given-adapter.ts";
import { continuing } from "./given-start.ts";
import { openForTraining, openTrained, saveLabels, saveTrained } from "./open.ts";
import { openRun } from "./run.ts";
import { createRunFolder } from "./run-folder.ts";

const root = mkdtempSync(join(tmpdir(), "cre-given-"));
const path = (...names: string[]) => join(root, ...names);
afterAll(() => rmSync(root, { recursive: true }));

const ROWS: Example[] = [
  { sentence: "远山收购近水", head: "远山", tail: "近水" },
  { sentence: "近水和远山合作", head: "近水", tail: "远山" },
];
const IDS = randomIds(createRandom(5), 9);
const ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors"];

/** A run whose adapter does something, and a folder with the adapter alone. */
beforeAll(async () => {
  await writeToyBase(path("base"));
  mkdirSync(path("data"));
  const recipe = writeToyLora(path("recipe.yaml"), path("data"), path("base"));
  const bench = await openForTraining(await readRecipe(recipe), TINY_LABELS);
  const random = createRandom(3);
  for (const weight of bench.trainable) {
    const values = Float32Array.from({ length: weight.rows * weight.columns }, () => 0.2 * random.normal());
    bench.backend.writeWeight(weight, values);
  }
  const run = await createRunFolder(path("run"), bench.recipe);
  await saveLabels(run, TINY_LABELS);
  await saveTrained(bench, run);
  await bench.close();
  mkdirSync(path("adapter"));
  for (const name of ADAPTER_FILES) cpSync(path("run", name), path("adapter", name));
  writeFileSync(path("labels.json"), JSON.stringify(labelSetToJson(TINY_LABELS)));
});

const SOURCE = () => ({
  adapter: path("adapter"),
  base: path("base"),
  labels: path("labels.json"),
  recipe: path("recipe.yaml"),
});

/** The adapter with the output layer trained, too, and a rank and an alpha of its own for one module. */
async function writeAdapterWithHead(directory: string): Promise<void> {
  mkdirSync(directory);
  const { tensors, close } = (await openPeftFolder(path("adapter"))).tensors;
  await close();
  const { source } = await openCheckpoint(path("base"));
  const [table] = ["lm_head.weight", "model.embed_tokens.weight"].flatMap((name) => source.tensors.get(name) ?? []);
  await source.close();
  const random = createRandom(9);
  const values = (count: number) => async () => Float32Array.from({ length: count }, () => 0.3 * random.normal());
  const shapeOf = (name: string, shape: readonly number[]) =>
    name.includes(".q_proj.") ? shape.map((size) => (size === 4 ? 2 : size)) : shape;
  const written = [...tensors.values()].map(({ name, shape }) => {
    const own = shapeOf(name, shape);
    return { name, dtype: "F32" as const, shape: own, values: values(own[0] * own[1]) };
  });
  const head = { name: "base_model.model.lm_head.weight", dtype: "F32" as const, shape: table.shape };
  await writeSafetensors(join(directory, "adapter_model.safetensors"), [
    ...written,
    { ...head, values: values(table.shape[0] * table.shape[1]) },
  ]);
  const config = JSON.parse(readFileSync(path("adapter", "adapter_config.json"), "utf8"));
  const more = { modules_to_save: ["lm_head"], rank_pattern: { q_proj: 2 }, alpha_pattern: { up_proj: 3 } };
  writeFileSync(join(directory, "adapter_config.json"), JSON.stringify({ ...config, ...more }));
}

async function logitsOf(model: string): Promise<number[]> {
  const backend = openReference({ precision: "float32" });
  const checkpoint = await openCheckpoint(model);
  try {
    const decoder = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
    return Array.from(await sequenceLogits(decoder, IDS));
  } finally {
    await checkpoint.source.close();
    await backend.close();
  }
}

describe("an adapter made elsewhere", () => {
  it("answers as the run that it is from, and nothing is written into its folder", async () => {
    const run = await openRun(path("run"));
    const wanted = await run.extract(ROWS);
    await run.close();
    const given = await openRun(SOURCE());
    expect(given.recipe.adapter).toMatchObject({ method: "lora", rank: 4, alpha: 8, targets: "all" });
    expect(given.given?.adapter).toBe(path("adapter"));
    const got = await given.extract(ROWS);
    expect(got.map(({ predictions }) => predictions)).toEqual(wanted.map(({ predictions }) => predictions));
    const examples = ROWS.map((row) => ({ ...row, relations: [TINY_LABELS.labels[0]] }));
    const { metrics, testLooks } = await given.evaluate({ data: examples, bootstrap: null });
    expect(metrics.counts.rows).toBe(2);
    expect(testLooks).toEqual([]);
    await given.close();
    expect(readdirSync(path("adapter")).sort()).toEqual(ADAPTER_FILES);
  });

  it("reads labels as a list, a data folder and a list of numbers, and has CRE-LLM's settings without a recipe", async () => {
    const { labels } = TINY_LABELS;
    writeFileSync(path("list.json"), JSON.stringify(labels));
    writeFileSync(path("ids.txt"), labels.map((label, i) => `${label}\t${i}`).join("\n"));
    mkdirSync(path("labelled"));
    cpSync(path("labels.json"), path("labelled", "labels.json"));
    for (const file of ["list.json", "ids.txt", "labelled"]) {
      const given = await openRun({ adapter: path("adapter"), base: path("base"), labels: path(file) });
      expect(given.labels.labels).toEqual(labels);
      expect(given.recipe.prompt).toMatchObject({ style: "paper", template: "default" });
      await given.close();
    }
  });

  it("says what is missing", async () => {
    const { adapter, base, labels } = SOURCE();
    await expect(openRun({ adapter, labels })).rejects.toThrow(
      `${adapter}: needs the folder of its base model (the adapter calls it ${JSON.stringify(base)}): --base DIR.`,
    );
    await expect(openRun({ adapter, base })).rejects.toThrow(
      `${adapter}: needs the labels that it answers with: --labels FILE.`,
    );
    await expect(openRun({ adapter: path("data"), base, labels })).rejects.toThrow(
      "adapter_config.json: cannot be read",
    );
    await expect(openRun({ ...SOURCE(), labels: path("none") })).rejects.toThrow(`${path("none")}: cannot be read`);
    await expect(exportRun(SOURCE(), { to: "peft" })).rejects.toThrow(`${adapter}: needs --output DIR`);
  });

  it("is exported merged and as GGUF with the logits that it has here", async () => {
    const adapter = path("head");
    await writeAdapterWithHead(adapter);
    const source = { ...SOURCE(), adapter };
    // The backend of a run may round to bfloat16; the files are compared in float32.
    const given = await openGiven(source);
    const backend = openReference({ precision: "float32" });
    const decoder = await loadDecoder(backend, given.checkpoint, { storage: "float32", trainable: false });
    await given.trained.adapter?.load(decoder, "");
    const wanted = Array.from(await sequenceLogits(decoder, IDS));
    await backend.close();
    await given.close();
    const merged = await exportRun(source, { to: "merged", output: path("merged") });
    const gguf = await exportRun(source, { to: "gguf", output: path("gguf") });
    for (const model of [merged, gguf]) {
      const got = await logitsOf(model);
      expect(Math.max(...got.map((value, i) => Math.abs(value - wanted[i])))).toBeLessThan(1e-4);
    }
    expect(wanted.some((value, i) => Math.abs(value - wanted[(i + 1) % wanted.length]) > 0.01)).toBe(true);
    await expect(exportRun(source, { to: "gguf-lora", output: path("no") })).rejects.toThrow(
      "changes weights of the base itself, which llama.cpp's adapters cannot hold",
    );
  });

  it("is exported to PEFT with the name of its base, a card, and no path", async () => {
    const output = await exportRun(SOURCE(), { to: "peft", output: path("peft"), baseName: "org/base-7b" });
    const config = JSON.parse(readFileSync(join(output, "adapter_config.json"), "utf8"));
    expect(config.base_model_name_or_path).toBe("org/base-7b");
    const card = readFileSync(join(output, "README.md"), "utf8");
    expect(card).toContain('base_model: "org/base-7b"');
    expect(card).toContain("Not measured.");
    expect(card).toContain('PeftModel.from_pretrained(model, "FOLDER")');
    expect(card).toContain(
      "vllm serve org/base-7b --generation-config vllm --enable-lora --max-lora-rank 8 --lora-modules adapter=FOLDER",
    );
    for (const name of readdirSync(output)) expect(readFileSync(join(output, name), "latin1")).not.toContain(root);
    const again = await openRun({ ...SOURCE(), adapter: output });
    await again.close();
  });
});

describe("a training from an adapter made elsewhere", () => {
  it("has the adapter's settings and the recipe's dropout, and begins with its answers", async () => {
    const source = await continuing(
      { file: path("recipe.yaml"), overrides: ["adapter.dropout=0.25"] },
      path("adapter"),
    );
    const { recipe } = await resolveRecipe(source);
    const start = path("adapter");
    expect(recipe.adapter).toMatchObject({ method: "lora", rank: 4, alpha: 8, dropout: 0.25, targets: "all", start });
    const given = await openTrained(SOURCE(), { storage: "float32" });
    const wanted = await sequenceLogits(given.model, IDS);
    await given.close();
    const opened = await openForTraining(recipe, TINY_LABELS);
    expect(await sequenceLogits(opened.model, IDS)).toEqual(wanted);
    expect(opened.trainable.length).toBeGreaterThan(0);
    await opened.close();
  });

  it("refuses settings besides, a model from nothing, and what changes the base", async () => {
    const file = path("recipe.yaml");
    await expect(continuing({ file, overrides: ["adapter.rank=2"] }, path("adapter"))).rejects.toThrow(
      "--set adapter.rank=2: does not go with --adapter",
    );
    await writeAdapterWithHead(path("head-start"));
    await expect(continuing({ file }, path("head-start"))).rejects.toThrow(
      `${path("head-start")}: changes weights of the base itself, and cannot be trained further here.`,
    );
  });
});

describe("the card of a run", () => {
  it("has what was measured, the prompt, and the recipe without paths", async () => {
    const score = { precision: 0.5, recall: 0.25, f1: 1 / 3 };
    const metrics = {
      conventions: { micro: score },
      macro: { f1: 0.2 },
      intervals: { micro: { low: 0.3, high: 0.4 } },
    };
    const facts = { ...metrics, counts: { rows: 1489 }, data: "finre", split: "test" };
    writeFileSync(path("run", "metrics.json"), JSON.stringify(facts));
    const notices: string[] = [];
    const output = await exportRun(path("run"), { to: "peft", onNotice: (line) => notices.push(line) });
    expect(notices).toEqual([expect.stringContaining('the adapter calls its base "base"')]);
    const card = readFileSync(join(output, "README.md"), "utf8");
    expect(card).toContain("On 1489 rows of finre, test");
    expect(card).toContain("| micro | 50.0 | 25.0 | 33.3 | 30.0 – 40.0 |");
    expect(card).not.toContain("linear companion");
    expect(card).toContain("甲公司");
    expect(card).toMatch(/model:\n {2}path: base\n/);
    expect(card).not.toContain(root);
    const model = { conventions: { micro: { ...score, f1: 0.31 } }, macro: { f1: 0.1 } };
    writeFileSync(path("run", "metrics.json"), JSON.stringify({ ...facts, companion: { mixture: {}, model } }));
    const mixed = readFileSync(join(await exportRun(path("run"), { to: "peft" }), "README.md"), "utf8");
    expect(mixed).toContain("| micro | 50.0 | 25.0 | 31.0 | – |");
    expect(mixed).toContain("The run mixes in its linear companion, which is no part of this folder: micro F1 33.3.");
  });
});
