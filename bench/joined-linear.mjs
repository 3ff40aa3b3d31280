// What the linear companion learns from pairs across two joined sentences: node bench/joined-linear.mjs DATA [--every 0,24,12,6]
// Three folds over training rows, by sentence. Of the pairs across two sentences (train.joinedSentences: 0.5) one in --every is learnt too, 0: none. The table
// has the F1 of the held-out rows as they are, and of held-out rows that are joined by two how often a pair across both has a relation, and how often
// a pair of one sentence has a right one.
import { parseArgs } from "node:util";
import { openDataset } from "../dist/data/dataset.js";
import { foldsBySentence } from "../dist/data/folds.js";
import { drawJoined } from "../dist/data/joined.js";
import { computeMetrics } from "../dist/evaluate/metrics.js";
import { trainCompanion } from "../dist/linear/companion.js";
import { linearProbabilities } from "../dist/linear/model.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { every: { type: "string", default: "0,24,12,6" } },
});
const [data] = positionals;
if (data === undefined) {
  console.error("usage: node bench/joined-linear.mjs DATA [--every 0,24,12,6]");
  process.exit(1);
}
const [SEED, FOLDS, CHARACTERS] = [1, 3, 320];
const dataset = await openDataset(data);
const { labels } = dataset;
const { noRelation } = labels;
const { examples } = await dataset.split("train");
const isAcross = ({ relations }) => relations.length === 1 && relations[0] === noRelation;
const percent = (part, whole) => ((100 * part) / Math.max(1, whole)).toFixed(1);

function predict(model, rows) {
  return linearProbabilities(model, rows).map((probabilities, row) => {
    const best = model.labels[probabilities.indexOf(Math.max(...probabilities))];
    return { gold: rows[row].relations, predicted: [best], group: rows[row].sentence };
  });
}

console.log(
  "| one of | rows | micro F1 | pairs across with a relation | own pairs with a right one |\n|---|---|---|---|---|",
);
for (const every of values.every.split(",").map(Number)) {
  const [plain, joined] = [[], []];
  let learnt = 0;
  for (const { train, held } of foldsBySentence(examples, FOLDS, SEED)) {
    const [own, test] = [train, held].map((places) => places.map((place) => examples[place]));
    const drawn = drawJoined(own, { share: 0.5, noRelation, seed: SEED, mostCharacters: CHARACTERS }).filter(isAcross);
    const extra = every === 0 ? [] : drawn.filter((_, i) => i % every === 0);
    learnt += extra.length;
    const { model } = await trainCompanion([...own, ...extra], labels, SEED);
    plain.push(...predict(model, test));
    const related = test.filter((row) => !isAcross(row));
    joined.push(...predict(model, drawJoined(related, { share: 1, noRelation, seed: 9, mostCharacters: CHARACTERS })));
  }
  const { micro } = computeMetrics(plain, labels, { bootstrap: null }).conventions;
  const across = joined.filter(({ gold }) => gold[0] === noRelation);
  const own = joined.filter(({ gold }) => gold[0] !== noRelation);
  const cells = [
    ...[every, (learnt / FOLDS).toFixed(0), (100 * micro.f1).toFixed(1)],
    percent(across.filter(({ predicted }) => predicted[0] !== noRelation).length, across.length),
    percent(own.filter(({ gold, predicted }) => gold.includes(predicted[0])).length, own.length),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
