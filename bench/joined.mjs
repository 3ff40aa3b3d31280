// How often a run finds a relation between entities of two sentences: node bench/joined.mjs RUN [--data DIR] [--rows N] [--seed S]
// Test rows with a relation are joined by two, as train.joinedSentences joins training rows, and two pairs are asked: that of one sentence, and one
// across both, which has none.
import { parseArgs } from "node:util";
import { drawJoined } from "../dist/data/joined.js";
import { openDataset, openRun } from "../dist/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string" },
    rows: { type: "string", default: "1000" },
    seed: { type: "string", default: "9" },
  },
});
const [directory] = positionals;
if (directory === undefined) {
  console.error("usage: node bench/joined.mjs RUN [--data DIR] [--rows 1000] [--seed 9]");
  process.exit(1);
}
const run = await openRun(directory);
const dataset = await openDataset(values.data ?? run.recipe.data.path, { format: run.recipe.data.format });
const { noRelation } = dataset.labels;
const { examples } = await dataset.split("test");
const related = examples.filter(({ relations = [] }) => relations.some((one) => one !== noRelation));
const settings = { share: 1, noRelation, seed: Number(values.seed), mostCharacters: run.recipe.prompt.maxPromptTokens };
const joined = drawJoined(related.slice(0, Number(values.rows)), settings);
const found = await run.extract(joined);
const isAcross = (row) => row.relations.length === 1 && row.relations[0] === noRelation;
const percent = (part, whole) => `${((100 * part) / Math.max(1, whole)).toFixed(1)} %`;

console.log(`${directory}: ${joined.length} pairs of joined sentences of ${dataset.directory}`);
console.log("| from probability | pairs across with a relation | own pairs with a right relation |");
console.log("|---|---|---|");
for (const least of [0, 0.5, 0.8]) {
  const counts = { across: 0, flooded: 0, own: 0, right: 0 };
  for (const [i, row] of joined.entries()) {
    const given = found[i].predictions.filter((one) => one.relation !== noRelation && one.probability >= least);
    if (isAcross(row)) {
      counts.across++;
      if (given.length > 0) counts.flooded++;
    } else {
      counts.own++;
      if (given.some(({ relation }) => row.relations.includes(relation))) counts.right++;
    }
  }
  console.log(`| ${[least, percent(counts.flooded, counts.across), percent(counts.right, counts.own)].join(" | ")} |`);
}
await run.close();
