// Makes what bench/compare.mjs compares: two short trainings on the same rows, the prompts as token ids, and files for other programs.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { openDataset } from "../../dist/data/dataset.js";
import { labelSetToJson } from "../../dist/data/label-set.js";
import { readRecipe } from "../../dist/recipe/read.js";
import { openRenderer } from "../../dist/runs/open.js";

const ROOT = join(import.meta.dirname, "..", "..");
const CLI = join(ROOT, "dist", "cli.js");
const RECIPE = join(ROOT, "recipes", "finre-base.yaml");
const BASE = join(ROOT, "models", "base-zh");
const VALIDATION_ROWS = 20;
/** Token limits that suit the shipped base, which reads 1,024 tokens. */
const LIMITS = { maxPromptTokens: 384, maxAnswerTokens: 64 };

function cre(...command) {
  const { status } = spawnSync(process.execPath, [CLI, ...command], { stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error(`cre ${command[0]} ended with ${status}.`);
}

/** A short training: only speed and the equality of answers are compared, so that the answers need the right form only. */
function train(run, data, settings) {
  if (existsSync(join(run, "done.json"))) return;
  const values = [
    ...["data.format=jsonl", "adapter.targets=all", "adapter.dropout=0", "train.epochs=2", "train.validateEvery=2"],
    ...["decode.bothDirections=false", "decode.companion=0", ...settings],
  ];
  const begin = [RECIPE, "--data", data, ...values.flatMap((value) => ["--set", value])];
  cre("train", ...(existsSync(join(run, "recipe.yaml")) ? ["--resume"] : begin), "--run", run);
}

function writeRows(file, examples) {
  const lines = examples.map(({ sentence, head, tail, relations }) =>
    JSON.stringify({ sentence, head, tail, relations }),
  );
  writeFileSync(file, `${lines.join("\n")}\n`);
}

/** Paths of all that the contenders read; `ggufTypes` are the types of llama.cpp's files. */
export async function prepare({ data, into, rows, trainRows, ggufTypes, needs }) {
  const folder = resolve(into);
  const share = join(folder, `data-${trainRows}`);
  mkdirSync(share, { recursive: true });
  const dataset = await openDataset(data);
  const read = async (name, count) => (await dataset.split(name)).examples.slice(0, count);
  const [training, validation, test] = [
    await read("train", trainRows),
    await read("valid", VALIDATION_ROWS),
    await read("test", rows),
  ];
  const labels = labelSetToJson(dataset.labels);
  writeFileSync(join(share, "labels.json"), JSON.stringify(labels));
  writeRows(join(share, "train.jsonl"), training);
  writeRows(join(share, "valid.jsonl"), validation);
  const [paper, marked] = ["paper", "marked"].map((style) => join(folder, `${style}-${trainRows}`));
  const templates = { paper: ["prompt.style=paper", "prompt.template=default"], marked: [] };
  if (needs.has("paper")) train(paper, share, templates.paper);
  if (needs.has("marked")) train(marked, share, templates.marked);

  const base = await readRecipe(RECIPE);
  const local = { model: { ...base.model, path: BASE }, data: { ...base.data, path: share, format: "jsonl" } };
  const published = await readRecipe(join(ROOT, "recipes", "finre-llama2-lora.yaml"));
  const paperRecipe = {
    ...published,
    ...local,
    prompt: { ...published.prompt, ...LIMITS },
    train: { ...published.train, recompute: false },
  };
  const recipes = { trainPaper: paperRecipe, trainMarked: { ...base, ...local } };
  const paths = Object.fromEntries(
    Object.entries(recipes).map(([name, recipe]) => {
      const file = join(folder, `${name}.yaml`);
      writeFileSync(file, JSON.stringify(recipe, null, 2)); // JSON is YAML
      return [name, file];
    }),
  );

  const opened = await openRenderer(paperRecipe, dataset.labels);
  const { renderer, tokenizer } = opened;
  const work = {
    ...{ base: BASE, adapter: paper, eosId: renderer.eosId, maxNewTokens: LIMITS.maxAnswerTokens, labels },
    rows: test.map((example) => ({ example, promptIds: renderer.renderPrompt(example).ids })),
    trainRows: training.map((example) => ({ example, ...renderer.renderExample(example) })),
    training: {
      ...{ rank: paperRecipe.adapter.rank, alpha: paperRecipe.adapter.alpha, dropout: paperRecipe.adapter.dropout },
      ...{ targets: ["q_proj", "v_proj"], clipNorm: paperRecipe.train.clipNorm },
      ...{ batchExamples: paperRecipe.train.batchExamples, accumulation: paperRecipe.train.accumulation },
      learningRate: paperRecipe.train.learningRate,
    },
  };
  const file = join(folder, "work.json");
  writeFileSync(file, JSON.stringify(work));
  const ggufs = {};
  for (const type of ggufTypes) ggufs[type] = exported(paper, join(folder, `gguf-${trainRows}`), type);
  /** The labels that an answer names. */
  const labelsOf = (text, i) => renderer.parse(text, test[i]).relations.join(",");
  const labelsOfIds = (ids, i) => labelsOf(tokenizer.decode(ids), i);
  return { paths: { ...paths, work: file, paper, marked, ggufs }, labelsOf, labelsOfIds };
}

function exported(run, folder, type) {
  const find = () => (existsSync(folder) ? readdirSync(folder) : []).find((name) => name.endsWith(`-${type}.gguf`));
  if (!find()) cre("export", run, "--to", "gguf", "--type", type, "--output", folder, "--no-measure");
  return join(folder, find());
}
