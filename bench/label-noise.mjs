// What the ranking of doubtful labels is worth, with the linear companion: node bench/label-noise.mjs FOLDER [finre|sanwen|persons|demo …]
// FOLDER has finre/, sanwen/ and persons/. 1. F1 with all training rows, without the 2 % most suspicious, and without 2 % at random.
// 2. Of 2 % of the rows that were given a wrong label, how many are among the first rows of the ranking.
import { join } from "node:path";
import { createRandom } from "../dist/base/random.js";
import { plantWrongLabels, precisionAtK, rankByDoubt } from "../dist/crossval/doubt.js";
import { linearHeldProbabilities } from "../dist/crossval/held-probabilities.js";
import { openDataset } from "../dist/data/dataset.js";
import { foldsBySentence } from "../dist/data/folds.js";
import { compareRows } from "../dist/evaluate/compare.js";
import { linearProbabilities } from "../dist/linear/model.js";
import { trainLinear } from "../dist/linear/train.js";

const FOLDS = 5;
const SEED = 1;
const SHARE = 0.02;
const DRAWS = 2000;

const [folder, ...names] = process.argv.slice(2);
if (folder === undefined) {
  console.error("usage: node bench/label-noise.mjs FOLDER [finre|sanwen|persons|demo …]");
  process.exit(1);
}
const demo = join(import.meta.dirname, "..", "demo");
const sets = names.length > 0 ? names : ["finre", "sanwen", "persons", "demo"];

async function ranking(examples, labels) {
  const settings = { folds: FOLDS, seed: SEED, signal: new AbortController().signal, onFold: () => {} };
  return rankByDoubt(examples, await linearHeldProbabilities({ examples, labels }, settings), labels);
}

function answers(train, scored, labels) {
  const model = trainLinear(train, labels, { seed: SEED });
  return linearProbabilities(model, scored).map((probabilities, row) => {
    const best = model.labels[probabilities.indexOf(Math.max(...probabilities))];
    return { gold: scored[row].relations, predicted: [best], group: scored[row].sentence };
  });
}

/** Answers to rows after training on all rows, without the most suspicious, and without the same number at random. */
async function threeWays(train, scored, labels) {
  const ranked = await ranking(train, labels);
  const count = Math.round(SHARE * train.length);
  const suspicious = new Set(ranked.slice(0, count).map(({ place }) => place));
  const random = new Set(
    createRandom(SEED)
      .shuffle([...train.keys()])
      .slice(0, count),
  );
  const without = (places) => train.filter((_, place) => !places.has(place));
  return [train, without(suspicious), without(random)].map((rows) => answers(rows, scored, labels));
}

const percent = (value) => (100 * value).toFixed(1);
const signed = (value) => `${value < 0 ? "−" : "+"}${percent(Math.abs(value))}`;
const line = (cells) => console.log(`| ${cells.join(" | ")} |`);

console.log(`F1 in %, the most probable label of each row; ${100 * SHARE} % of the training rows left out.`);
line(["set", "rows scored", "F1", "all rows", "without the suspicious", "difference (95 %)", "without random rows"]);
line(Array(7).fill("---"));
const planted = [];
for (const name of sets) {
  const dataset = await openDataset(name === "demo" ? demo : join(folder, name));
  const { labels } = dataset;
  const { examples } = await dataset.split("train");
  const ways = [[], [], []];
  let scoredOn = "test";
  if (dataset.splitNames.includes("test")) {
    const test = await dataset.split("test");
    for (const [i, rows] of (await threeWays(examples, test.examples, labels)).entries()) ways[i] = rows;
  } else {
    scoredOn = `${FOLDS} folds`;
    const pick = (places) => places.map((place) => examples[place]);
    for (const { train, held } of foldsBySentence(examples, FOLDS, SEED)) {
      for (const [i, rows] of (await threeWays(pick(train), pick(held), labels)).entries()) ways[i].push(...rows);
    }
  }
  const [all, fewer, random] = ways;
  const { f1 } = compareRows([all], [fewer], labels, { draws: DRAWS });
  const control = compareRows([all], [random], labels, { draws: 1 }).f1;
  for (const metric of ["micro", "paper"]) {
    const { a, b, difference, interval } = f1[metric];
    const range = `${signed(difference)} (${signed(interval.low)} to ${signed(interval.high)})`;
    line([
      `${name}, ${scoredOn}`,
      all.length,
      `\`${metric}\``,
      percent(a),
      percent(b),
      range,
      percent(control[metric].b),
    ]);
  }
  const wrong = plantWrongLabels(examples, SHARE, SEED);
  planted.push({
    name,
    table: precisionAtK(await ranking(wrong.examples, labels), wrong.planted),
    count: wrong.planted.size,
  });
}

const KS = [20, 50, 100, 200];
console.log(
  `\nOf the first k rows of the ranking, those that were given a wrong label on purpose (${100 * SHARE} % of the rows), in %.`,
);
line(["set", "planted", ...KS, "k = planted"]);
line(Array(KS.length + 3).fill("---"));
for (const { name, table, count } of planted) {
  const at = (k) => {
    const found = table.find((row) => row.k === k);
    return found === undefined ? "" : percent(found.planted / k);
  };
  line([name, count, ...KS.map(at), at(count)]);
}
