// Prints the table of tuning methods in docs/methods.md: node bench/methods.mjs --data FOLDER
//   [--rows 2000] [--epochs 4] [--valid 500] [--into runs/methods] [--only NAME,NAME]
// Trains the embedded base model with each method on the same rows of FOLDER (chosen by a seed), each in a process of its own, and scores the
// validation rows. A run that has finished is only read, one that was stopped is resumed. The test split is not looked at.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createRandom } from "../dist/base/random.js";
import { openDataset } from "../dist/data/dataset.js";
import { labelSetToJson } from "../dist/data/label-set.js";
import { openCheckpoint } from "../dist/models/checkpoint.js";
import { readSpec } from "../dist/models/families/registry.js";
import { readRecipe } from "../dist/recipe/read.js";
import { trainingNeed } from "../dist/runs/prepare.js";

const ROOT = join(import.meta.dirname, "..");
const CLI = join(ROOT, "dist", "cli.js");
const SEED = 1;
/** Value, gradient and two moments of a trained number (src/runs/memory.ts). */
const TRAINED_BYTES = 16;

/** Learning rates of the shipped recipes where there is one; the others were not searched for. */
const LORA = "rank: 8, alpha: 32, targets: all";
const METHODS = {
  full: { adapter: "{method: full}", learningRate: 3e-4 },
  freeze: { adapter: "{method: freeze, layers: 3, modules: all}", learningRate: 3e-4 },
  lora: { adapter: `{method: lora, ${LORA}, dropout: 0}`, learningRate: 1e-3 },
  rslora: {
    adapter: "{method: lora, rank: 32, alpha: 16, targets: all, scaling: rslora, dropout: 0}",
    learningRate: 1e-3,
  },
  "lora+": { adapter: `{method: lora, ${LORA}, learningRateRatio: 4, dropout: 0}`, learningRate: 5e-4 },
  dora: { adapter: `{method: dora, ${LORA}}`, learningRate: 1e-3 },
  prefix: { adapter: "{method: prefix, virtualTokens: 20}", learningRate: 3e-2 },
  "prefix encoder": { adapter: "{method: prefix, virtualTokens: 20, encoderWidth: 256}", learningRate: 5e-3 },
  "lora with noise": {
    adapter: `{method: lora, ${LORA}, dropout: 0}`,
    learningRate: 1e-3,
    more: ["train.embeddingNoise=5"],
  },
  "lora with decay": {
    adapter: `{method: lora, ${LORA}, dropout: 0}`,
    learningRate: 1e-3,
    more: ["train.layerDecay=0.85"],
  },
};

const { values: given } = parseArgs({
  options: {
    data: { type: "string" },
    rows: { type: "string", default: "2000" },
    epochs: { type: "string", default: "4" },
    valid: { type: "string", default: "500" },
    into: { type: "string", default: join("runs", "methods") },
    only: { type: "string" },
  },
});
const names = given.only?.split(",").map((name) => name.trim()) ?? Object.keys(METHODS);
const unknown = names.find((name) => !(name in METHODS));
if (given.data === undefined || unknown !== undefined) {
  console.error(
    "usage: node bench/methods.mjs --data FOLDER [--rows N] [--epochs N] [--valid N] [--into DIR] [--only NAME,NAME]",
  );
  console.error(`methods: ${Object.keys(METHODS).join(", ")}`);
  process.exit(1);
}

/** Writes a data folder with some training rows of another one, and some of its validation rows. */
async function writeShare(from, to) {
  const dataset = await openDataset(from);
  const chosen = async (name, count) => {
    const { examples } = await dataset.split(name);
    const order = createRandom(SEED).shuffle([...examples.keys()]);
    return order.slice(0, Number(count)).map((i) => examples[i]);
  };
  mkdirSync(to, { recursive: true });
  writeFileSync(join(to, "labels.json"), JSON.stringify(labelSetToJson(dataset.labels)));
  for (const [name, count] of [
    ["train", given.rows],
    ["valid", given.valid],
  ]) {
    const lines = (await chosen(name, count)).map(({ sentence, head, tail, relations }) =>
      JSON.stringify({ sentence, head, tail, relations }),
    );
    writeFileSync(join(to, `${name}.jsonl`), `${lines.join("\n")}\n`);
  }
}

function train(name, run, data) {
  const { adapter, learningRate, more = [] } = METHODS[name];
  const values = [
    "data.format=jsonl",
    `adapter=${adapter}`,
    `train.learningRate=${learningRate}`,
    `train.epochs=${given.epochs}`,
    `train.validateEvery=${given.epochs}`,
    "decode.bothDirections=false",
    ...more,
  ];
  const begin = [
    join(ROOT, "recipes", "finre-base.yaml"),
    "--data",
    data,
    ...values.flatMap((value) => ["--set", value]),
  ];
  const command = existsSync(join(run, "recipe.yaml")) ? ["--resume"] : begin;
  const { status } = spawnSync(process.execPath, [CLI, "train", ...command, "--run", run], { stdio: "inherit" });
  if (status !== 0) throw new Error(`${run}: training ended with ${status}.`);
}

/** The row of the table, from the files of a finished run. */
async function rowOf(name, run) {
  const recipe = await readRecipe(join(run, "recipe.yaml"));
  const checkpoint = await openCheckpoint(recipe.model.path);
  await checkpoint.source.close();
  const spec = readSpec(checkpoint.config, checkpoint.directory);
  const trained = trainingNeed(recipe, spec).training / TRAINED_BYTES;
  const log = readFileSync(join(run, "log.jsonl"), "utf8").split("\n").filter(Boolean);
  const lines = log.map((line) => JSON.parse(line));
  const steps = lines.filter(({ kind }) => kind === "step");
  const sum = (key) => steps.reduce((total, step) => total + step[key], 0);
  const { microF1, paperF1 } = lines.filter(({ kind }) => kind === "validation").at(-1);
  const { peakResidentBytes } = JSON.parse(readFileSync(join(run, "done.json"), "utf8"));
  const last = steps.slice(-20);
  return [
    name,
    `${METHODS[name].learningRate}`,
    trained.toLocaleString("en"),
    `${Math.round(peakResidentBytes / 1e6)} MB`,
    Math.round(sum("tokens") / sum("seconds")),
    (last.reduce((total, { loss }) => total + loss, 0) / last.length).toFixed(2),
    (100 * microF1).toFixed(1),
    (100 * paperF1).toFixed(1),
  ];
}

const data = join(given.into, "data");
if (!existsSync(join(data, "valid.jsonl"))) await writeShare(given.data, data);
const rows = [];
for (const name of names) {
  const run = join(given.into, name.replace(/[^a-z+]+/g, "-"));
  if (!existsSync(join(run, "done.json"))) train(name, run, data);
  rows.push(await rowOf(name, run));
}
const titles = [
  "method",
  "learning rate",
  "trained numbers",
  "peak memory",
  "tokens/s",
  "last loss",
  "micro F1",
  "paper F1",
];
console.log(
  `${given.rows} training rows, ${given.epochs} epochs, ${given.valid} validation rows; ${cpus().length} × ${cpus()[0].model}`,
);
for (const row of [titles, titles.map((_, i) => (i === 0 ? "---" : "---:")), ...rows])
  console.log(`| ${row.join(" | ")} |`);
