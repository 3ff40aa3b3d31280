// Counts validation and test sentences of the relation data sets that share 18 characters with the text of a pretraining recipe.
// node bench/corpus-overlap.mjs FOLDER [RECIPE]      FOLDER is the recipe's data.folder (corpus/ and data/ in it); exit code 1 if there are any.
import { resolve } from "node:path";
import { openDataset } from "../dist/data/dataset.js";
import { readDocuments } from "../dist/pretrain/documents.js";
import { createOverlapIndex, OVERLAP_CHARACTERS } from "../dist/pretrain/overlap.js";
import { readPretrainRecipe } from "../dist/pretrain/recipe.js";

const [folder, recipeFile = "recipes/base-zh.yaml"] = process.argv.slice(2);
if (folder === undefined) {
  console.error("usage: node bench/corpus-overlap.mjs FOLDER [RECIPE]");
  process.exit(1);
}
const recipe = await readPretrainRecipe(recipeFile, [`data.folder=${JSON.stringify(resolve(folder))}`]);
const sources = Object.entries(recipe.data.sources);

const evaluated = [];
for (const [name, { format, path }] of sources) {
  if (format !== "relations") continue;
  const dataset = await openDataset(path);
  for (const split of dataset.splitNames.filter((one) => one !== "train")) {
    const { examples } = await dataset.split(split);
    evaluated.push({ name: `${name} ${split}`, sentences: [...new Set(examples.map(({ sentence }) => sentence))] });
  }
}
const index = createOverlapIndex(evaluated.flatMap(({ sentences }) => sentences));
const overlapping = new Map(evaluated.map(({ name }) => [name, new Set()]));

console.log(`Documents with a run of ${OVERLAP_CHARACTERS} characters of a validation or test sentence:`);
let total = 0;
for (const [name, source] of sources) {
  let documents = 0;
  let characters = 0;
  let found = 0;
  for await (const document of readDocuments(source)) {
    documents++;
    characters += document.length;
    if (!index.sharesRun(document)) continue;
    found++;
    const there = createOverlapIndex([document]);
    for (const { name: split, sentences } of evaluated) {
      for (const sentence of sentences) if (there.sharesRun(sentence)) overlapping.get(split).add(sentence);
    }
  }
  total += found;
  console.log(`  ${name}: ${found} of ${documents} (${characters} characters)`);
}
console.log("Validation and test sentences that share such a run with the text:");
for (const { name, sentences } of evaluated) {
  console.log(`  ${name}: ${overlapping.get(name).size} of ${sentences.length}`);
}
process.exitCode = total === 0 ? 0 : 1;
