// Extraction and training of this project for bench/compare.mjs, a turn for every line "step" of standard input:
//   node bench/compare/ours.mjs --work FILE --task extract --run RUN --method labels|generate --precision auto|float|int8
//   node bench/compare/ours.mjs --work FILE --task train --recipe FILE --steps 2
// With CRE_THREADS and CRE_CPU as everywhere.
import { readFileSync } from "node:fs";
import { fail, options, serveTurns, stopwatch, wholeNumber } from "./protocol.mjs";

const given = options({
  work: { type: "string" },
  task: { type: "string" },
  run: { type: "string" },
  method: { type: "string", default: "labels" },
  precision: { type: "string", default: "auto" },
  recipe: { type: "string" },
  steps: { type: "string", default: "2" },
});
for (const name of ["work", "task"]) if (given[name] === undefined) fail(`--${name} is missing.`);
const work = JSON.parse(readFileSync(given.work, "utf8"));

async function extract() {
  if (given.run === undefined) fail("--run is missing.");
  const { openRun } = await import("../../dist/runs/run.js");
  const { noTokens } = await import("../../dist/decode/label-trie.js");
  const { method, precision } = given;
  const run = await openRun(given.run, { decode: { method, precision, bothDirections: false, companion: 0 } });
  const examples = work.rows.map(({ example }) => example);
  const { labels } = run.labels;
  // The label alone, without the weight of "no relation" and further relations: what greedy text says where it is a label.
  const likeliest = (values) => labels[values.indexOf(Math.max(...values))];
  await run.extractor.extract(examples.slice(0, 16));
  const arithmetic = run.extractor.arithmetic;
  await serveTurns({ versions: { node: process.versions.node }, precision: arithmetic }, async (turn) => {
    const before = { ...noTokens(), ...run.extractor.tokens };
    const read = stopwatch();
    const extractions = await run.extractor.extract(examples);
    const result = { rows: examples.length, ...read() };
    const computedTokens = (run.extractor.tokens.computed - before.computed) / examples.length;
    if (turn > 1) return result;
    const texts = extractions.map(({ generated }) => generated?.text ?? null);
    const found = extractions.map(({ modelProbabilities }) => likeliest(modelProbabilities));
    return { ...result, computedTokens, ...(method === "generate" ? { texts } : { labels: found }) };
  });
  await run.close();
}

async function train() {
  if (given.recipe === undefined) fail("--recipe is missing.");
  const steps = wholeNumber("--steps", given.steps);
  const { createLabelSet } = await import("../../dist/data/label-set.js");
  const { readRecipe } = await import("../../dist/recipe/read.js");
  const { passRoom } = await import("../../dist/runs/memory.js");
  const { openForTraining } = await import("../../dist/runs/open.js");
  const { encodeExamples } = await import("../../dist/runs/train-run.js");
  const { planSteps } = await import("../../dist/train/batches.js");
  const { train: trainingSteps } = await import("../../dist/train/train.js");
  const recipe = await readRecipe(given.recipe);
  const opened = await openForTraining(recipe, createLabelSet(work.labels, "labels"));
  const { encoded } = encodeExamples(
    opened,
    work.trainRows.map(({ example }) => example),
  );
  const settings = opened.recipe.train;
  // More epochs than anybody waits for; the learning rate hardly falls.
  const plan = planSteps(encoded.length, { ...settings, epochs: 1000 }, opened.recipe.seed);
  const { room } = passRoom(opened);
  const made = trainingSteps(opened.model, opened.groups, encoded, plan, settings, opened.recipe.seed, 0, room);
  await made.next();
  await serveTurns({ versions: { node: process.versions.node }, precision: opened.extractor.arithmetic }, async () => {
    const read = stopwatch();
    for (let i = 0; i < steps; i++) await made.next();
    return { rows: steps * settings.batchExamples * settings.accumulation, ...read() };
  });
  await opened.close();
}

if (given.task === "extract") await extract();
else if (given.task === "train") await train();
else fail(`--task is "${given.task}", expected extract or train.`);
