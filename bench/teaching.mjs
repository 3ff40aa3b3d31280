// What a small model learns from a noisy annotator:
//   node bench/teaching.mjs [--answers 1,3] [--seeds 1,2] [--recipe FILE] [--epochs 8] [--targets soft|majority] [--right 0.8] [--systematic 0] [--set KEY=VALUE]… [--folder DIR] [--check]
// bench/annotator-server.mjs answers for a large model: right in 80 % of its answers. cre label asks it about the training sentences of the demonstration
// set, cre train learns the labels with the default recipe (or another), and both are scored on the test rows: the annotator by one answer and by the
// majority of its answers, the small model whole, without its linear companion, and the companion alone. A seed is that of the answers and of the
// training. --check ends with 1 where a small model is not better than one answer of the annotator. --targets majority removes the soft labels: the most frequent answer alone is learned.
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openDataset } from "../dist/data/dataset.js";
import { computeMetrics } from "../dist/evaluate/metrics.js";

const { values } = parseArgs({
  options: {
    answers: { type: "string", default: "1,3" },
    seeds: { type: "string", default: "1" },
    recipe: { type: "string" },
    epochs: { type: "string", default: "8" },
    targets: { type: "string", default: "soft" },
    right: { type: "string", default: "0.8" },
    systematic: { type: "string", default: "0" },
    set: { type: "string", multiple: true, default: [] },
    folder: { type: "string" },
    check: { type: "boolean", default: false },
  },
});
const settings = values.set.flatMap((value) => ["--set", value]);
const recipe = values.recipe === undefined ? [] : [values.recipe];
if (!["soft", "majority"].includes(values.targets)) {
  console.error(`--targets ${values.targets}: expected soft or majority`);
  process.exit(1);
}
/** Answers of different seeds share none. */
const SEEDS_APART = 100;
const root = join(import.meta.dirname, "..");
const demo = join(root, "demo");
const folder = values.folder ?? mkdtempSync(join(tmpdir(), "cre-teaching-"));
const cre = (...words) =>
  execFileSync(process.execPath, [join(root, "dist", "cli.js"), ...words], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
const rowsOf = (file) =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
const percent = (value) => (100 * value).toFixed(1);

const gold = ["train", "test"].flatMap((split) => ["--gold", join(demo, `${split}.jsonl`)]);
const server = spawn(process.execPath, [
  join(root, "bench", "annotator-server.mjs"),
  ...gold,
  ...["--labels", join(demo, "labels.json"), "--right", values.right, "--systematic", values.systematic],
]);
const endpoint = await new Promise((done) => server.stdout.once("data", (text) => done(String(text).trim())));

const { labels } = await openDataset(demo);
const keyOf = ({ sentence, head, tail }) => JSON.stringify([sentence, head, tail]);
const test = rowsOf(join(demo, "test.jsonl"));

function label(input, answers, seed, output) {
  const path = join(folder, `${output}-${answers}-${seed}`);
  const words = ["--labels", join(demo, "labels.json"), "--endpoint", endpoint, "--model", "annotator"];
  const first = 1 + SEEDS_APART * (seed - 1);
  cre("label", input, ...words, "--answers", String(answers), "--seed", String(first), "--output", path);
  return path;
}

/** A copy of a labelled folder without the soft labels. */
function majorityOf(path) {
  const copy = `${path}-majority`;
  mkdirSync(copy, { recursive: true });
  copyFileSync(join(path, "labels.json"), join(copy, "labels.json"));
  const rows = rowsOf(join(path, "train.jsonl")).map(({ softLabels: _, ...row }) => row);
  writeFileSync(join(copy, "train.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return copy;
}

/** F1 of the annotator's answers to the test rows; a row that could not be read has the label of no relation. */
function annotatorF1(answers, seed) {
  const path = label(join(demo, "test.jsonl"), answers, seed, "test");
  const given = new Map(rowsOf(join(path, "train.jsonl")).map((row) => [keyOf(row), row]));
  const rows = test.map((row) => {
    const predicted = given.get(keyOf(row))?.relations ?? [labels.noRelation];
    return { gold: row.relations, predicted, argmax: predicted[0], group: row.sentence };
  });
  return computeMetrics(rows, labels);
}

/** Share of the training rows whose label is one of the row's own. */
function rightLabels(directory) {
  const truth = new Map(rowsOf(join(demo, "train.jsonl")).map((row) => [keyOf(row), row.relations]));
  const rows = rowsOf(join(directory, "train.jsonl"));
  return rows.filter((row) => truth.get(keyOf(row)).includes(row.relations[0])).length / rows.length;
}

const microOf = ({ conventions }) => percent(conventions.micro.f1);
const line = (cells) => console.log(`| ${cells.join(" | ")} |`);
try {
  console.log(
    `Micro F1 on the ${test.length} test rows, in %; the annotator is right in ${percent(Number(values.right))} % of its answers; ${values.epochs} epochs; ${values.targets} targets.`,
  );
  line([
    ...["seed", "answers a row", "right labels of training rows", "annotator, one answer", "annotator, all answers"],
    ...["small model", "of it, language model alone", "linear companion alone", "training, s"],
  ]);
  line(Array(9).fill("---"));
  for (const seed of values.seeds.split(",").map(Number)) {
    const single = annotatorF1(1, seed);
    for (const answers of values.answers.split(",").map(Number)) {
      const labelled = label(demo, answers, seed, "labelled");
      const data = values.targets === "majority" ? majorityOf(labelled) : labelled;
      const run = join(folder, `run-${answers}-${seed}`);
      const words = ["--data", data, "--run", run, "--set", `seed=${seed}`, "--set", `train.epochs=${values.epochs}`];
      const start = performance.now();
      cre("train", ...recipe, ...words, ...settings);
      const seconds = Math.round((performance.now() - start) / 1e3);
      const scoreOf = (...more) => {
        const json = cre("evaluate", run, "--data", demo, "--split", "test", "--json", "-", ...more);
        return microOf(JSON.parse(json));
      };
      const whole = scoreOf();
      if (values.check && Number(whole) <= Number(microOf(single))) process.exitCode = 1;
      const together = answers === 1 ? single : annotatorF1(answers, seed);
      line([
        ...[seed, answers, percent(rightLabels(data)), microOf(single), microOf(together)],
        ...[whole, scoreOf("--companion", "0"), scoreOf("--companion", "1"), seconds],
      ]);
    }
  }
} finally {
  server.kill();
}
