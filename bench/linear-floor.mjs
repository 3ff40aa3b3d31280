// Prints the scores of the linear companion alone: node bench/linear-floor.mjs FOLDER
// FOLDER has finre/, sanwen/ and persons/. A set without a test split is only cross-validated (five folds by sentence).
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDataset } from "../dist/data/dataset.js";
import { foldsBySentence } from "../dist/data/folds.js";
import { computeMetrics } from "../dist/evaluate/metrics.js";
import { saveLinear } from "../dist/linear/file.js";
import { linearProbabilities } from "../dist/linear/model.js";
import { trainLinear } from "../dist/linear/train.js";

const FOLDS = 5;
const SEED = 1;

const [folder, ...names] = process.argv.slice(2);
if (folder === undefined) {
  console.error("usage: node bench/linear-floor.mjs FOLDER [finre|sanwen|persons|demo …]");
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

function timed(work) {
  const start = process.cpuUsage();
  const value = work();
  const { user, system } = process.cpuUsage(start);
  return { value, seconds: (user + system) / 1e6 };
}

function printRow(name, rows, labels, seconds, megabytes) {
  const { paper, micro, "micro-argmax": argmax } = computeMetrics(rows, labels, { bootstrap: null }).conventions;
  const scores = [paper, micro, argmax].map(({ f1 }) => (100 * f1).toFixed(1));
  console.log(`| ${[name, rows.length, ...scores, seconds.toFixed(1), megabytes].join(" | ")} |`);
}

console.log("F1 in %; seconds of processor time of one training.");
console.log("| set | rows scored | paper | micro | micro-argmax | seconds | MB |");
console.log("|---|---|---|---|---|---|---|");
for (const name of sets) {
  const dataset = await openDataset(name === "demo" ? demo : join(folder, name));
  const { labels } = dataset;
  const { examples } = await dataset.split("train");
  if (dataset.splitNames.includes("test")) {
    const { value: model, seconds } = timed(() => trainLinear(examples, labels, { seed: SEED }));
    const file = join(scratch, `${name}.bin`);
    await saveLinear(model, file);
    const test = await dataset.split("test");
    printRow(`${name}, test`, predict(model, test.examples), labels, seconds, (statSync(file).size / 1e6).toFixed(1));
  }
  const rows = [];
  let seconds = 0;
  let megabytes = "";
  for (const { train, held } of foldsBySentence(examples, FOLDS, SEED)) {
    const pick = (places) => places.map((place) => examples[place]);
    const fold = timed(() => trainLinear(pick(train), labels, { seed: SEED }));
    seconds += fold.seconds / FOLDS;
    const file = join(scratch, "fold.bin");
    await saveLinear(fold.value, file);
    megabytes = (statSync(file).size / 1e6).toFixed(1);
    rows.push(...predict(fold.value, pick(held)));
  }
  printRow(`${name}, ${FOLDS} folds of train`, rows, labels, seconds, megabytes);
}
rmSync(scratch, { recursive: true });
