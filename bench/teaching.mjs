// What a small model learns from a noisy annotator: node bench/teaching.mjs [--answers 1,3] [--epochs 8] [--right 0.8] [--systematic 0] [--set train.labelSmoothing=0.1]… [--folder DIR]
// bench/annotator-server.mjs answers for a large model: right in 80 % of its answers. cre label asks it about the training sentences of the demonstration
// set, cre train learns the labels, and both are scored on the test rows: the annotator by one answer and by the majority of its answers.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openDataset } from "../dist/data/dataset.js";
import { computeMetrics } from "../dist/evaluate/metrics.js";

const { values } = parseArgs({
  options: {
    answers: { type: "string", default: "1,3" },
    epochs: { type: "string", default: "8" },
    right: { type: "string", default: "0.8" },
    systematic: { type: "string", default: "0" },
    set: { type: "string", multiple: true, default: [] },
    folder: { type: "string" },
  },
});
const settings = values.set.flatMap((value) => ["--set", value]);
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

function label(input, answers, output) {
  const path = join(folder, output);
  const words = ["--labels", join(demo, "labels.json"), "--endpoint", endpoint, "--model", "annotator"];
  cre("label", input, ...words, "--answers", String(answers), "--output", path);
  return path;
}

/** F1 of the annotator's answers to the test rows; a row that could not be read has the label of no relation. */
function annotatorF1(answers) {
  const given = new Map(
    rowsOf(join(label(join(demo, "test.jsonl"), answers, `test-${answers}`), "train.jsonl")).map((row) => [
      keyOf(row),
      row,
    ]),
  );
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
  const single = annotatorF1(1);
  console.log(
    `Micro F1 on the ${test.length} test rows, in %; the annotator is right in ${percent(Number(values.right))} % of its answers; ${values.epochs} epochs.`,
  );
  line([
    "answers a row",
    "right labels of training rows",
    "annotator, one answer",
    "annotator, all answers",
    "small model",
  ]);
  line(Array(5).fill("---"));
  for (const answers of values.answers.split(",").map(Number)) {
    const data = label(demo, answers, `labelled-${answers}`);
    const run = join(folder, `run-${answers}`);
    const recipe = join(root, "recipes", "demo.yaml");
    cre("train", recipe, "--data", data, "--run", run, "--set", `train.epochs=${values.epochs}`, ...settings);
    const metrics = JSON.parse(cre("evaluate", run, "--data", demo, "--split", "test", "--json", "-"));
    const together = answers === 1 ? single : annotatorF1(answers);
    line([answers, percent(rightLabels(data)), microOf(single), microOf(together), microOf(metrics)]);
  }
} finally {
  server.kill();
}
