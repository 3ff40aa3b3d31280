// Prints the scores of the linear companion alone: node bench/linear-floor.mjs FOLDER [--folds 5] [finre|sanwen|persons|demo …]
// FOLDER has finre/, sanwen/ and persons/. The folds are over training rows, by sentence; a test split is scored too.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openDataset } from "../dist/data/dataset.js";
import { foldsBySentence } from "../dist/data/folds.js";
import { computeMetrics } from "../dist/evaluate/metrics.js";
import { trainCompanion } from "../dist/linear/companion.js";
import { saveLinear } from "../dist/linear/file.js";
import { linearProbabilities } from "../dist/linear/model.js";

const SEED = 1;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { folds: { type: "string" } } });
const [folder, ...names] = positionals;
const foldCount = Number(values.folds ?? 5);
if (folder === undefined || !(foldCount >= 0)) {
  console.error("usage: node bench/linear-floor.mjs FOLDER [--folds 5] [finre|sanwen|persons|demo …]");
  process.exit(1);
}
const demo = join(import.meta.dirname, "..", "demo");
const sets = names.length > 0 ? names : ["finre", "sanwen", "persons", "demo"];
const scratch = mkdtempSync(join(tmpdir(), "linear-floor-"));

/** Rows for scoring: the most probable label of each. */
function predict(model, examples) {
  return linearProbabilities(model, examples).map((probabilities, row) => {
    const best = model.labels[probabilities.indexOf(Math.max(...probabilities))];
    return { gold: examples[row].relations, predicted: [best], group: examples[row].sentence };
  });
}

async function trainedOn(examples, labels) {
  const start = process.cpuUsage();
  const { model, choice } = await trainCompanion(examples, labels, SEED);
  const { user, system } = process.cpuUsage(start);
  const file = join(scratch, "companion.bin");
  await saveLinear(model, file);
  const { groupWeights, minRows, l2 } = choice.best;
  const chosen = `${groupWeights.head}, ${minRows}, ${Number(l2.toFixed(3))}`;
  return { model, seconds: (user + system) / 1e6, megabytes: statSync(file).size / 1e6, chosen };
}

function printRow(name, rows, labels, trained) {
  const { paper, micro, "micro-argmax": argmax } = computeMetrics(rows, labels, { bootstrap: null }).conventions;
  const scores = [paper, micro, argmax].map(({ f1 }) => (100 * f1).toFixed(1));
  const meanOf = (key) => (trained.reduce((sum, one) => sum + one[key], 0) / trained.length).toFixed(1);
  const chosen = [...new Set(trained.map((one) => one.chosen))].join("; ");
  console.log(`| ${[name, rows.length, ...scores, meanOf("seconds"), meanOf("megabytes"), chosen].join(" | ")} |`);
}

console.log("F1 in %; mean seconds of processor time and megabytes of a training;");
console.log("settings chosen: weight of the names, rows that an n-gram needs, L2.");
console.log("| set | rows scored | paper | micro | micro-argmax | seconds | MB | chosen |");
console.log("|---|---|---|---|---|---|---|---|");
for (const name of sets) {
  const dataset = await openDataset(name === "demo" ? demo : join(folder, name));
  const { labels } = dataset;
  const { examples } = await dataset.split("train");
  if (dataset.splitNames.includes("test")) {
    const trained = await trainedOn(examples, labels);
    const test = await dataset.split("test");
    printRow(`${name}, test`, predict(trained.model, test.examples), labels, [trained]);
  }
  if (foldCount === 0) continue;
  const rows = [];
  const folds = [];
  for (const { train, held } of foldsBySentence(examples, foldCount, SEED)) {
    const pick = (places) => places.map((place) => examples[place]);
    const trained = await trainedOn(pick(train), labels);
    folds.push(trained);
    rows.push(...predict(trained.model, pick(held)));
  }
  printRow(`${name}, ${foldCount} folds of train`, rows, labels, folds);
}
rmSync(scratch, { recursive: true });
