#!/usr/bin/env node
// Training steps of a recipe on its own rows, by two or more built checkouts of this project in turn.
//
//   node bench/train-recipe.mjs CHECKOUT… --recipe FILE --data DIR [--set KEY=VALUE…] [--turns N]
//
// One process of each checkout opens the recipe and keeps its model; in every turn each makes one step, in the opposite order every second
// turn. All make the same steps: the recipe's seed decides the rows. The table has the tokens that a step computes, rows/s, and the processor
// time of a step with its ratio to the first checkout's in the same turn, which other programs disturb less than seconds.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const usage = "usage: node bench/train-recipe.mjs CHECKOUT… --recipe FILE --data DIR [--set KEY=VALUE…] [--turns N]";
/** The first steps pack weights and take memory from the system. */
const WARM_STEPS = 2;

function fail(message) {
  console.error(message);
  process.exit(1);
}

let parsed;
try {
  parsed = parseArgs({
    allowPositionals: true,
    options: {
      recipe: { type: "string" },
      data: { type: "string" },
      set: { type: "string", multiple: true, default: [] },
      turns: { type: "string", default: "8" },
      child: { type: "boolean" },
    },
  });
} catch (error) {
  fail(`${error.message}\n${usage}`);
}
const { recipe, data, set, child } = parsed.values;
const turns = Number(parsed.values.turns);
const checkouts = parsed.positionals.map((folder) => resolve(folder));
if (!recipe || !data || checkouts.length < 1) fail(usage);
if (!Number.isInteger(turns) || turns < 1) fail(`--turns is "${parsed.values.turns}", expected a whole number from 1.`);
for (const checkout of checkouts) {
  if (!existsSync(join(checkout, "dist/train/train.js")))
    fail(`${checkout}: no dist, expected a built checkout (npm ci).`);
}
await (child ? answerRequests(checkouts[0]) : compare());

/** Makes one step for every line of standard input and prints what it took. */
async function answerRequests(checkout) {
  const load = (file) => import(pathToFileURL(join(checkout, "dist", file)).href);
  const { readRecipe } = await load("recipe/read.js");
  const { openDataset } = await load("data/dataset.js");
  const { openForTraining } = await load("runs/open.js");
  const { encodeExamples } = await load("runs/train-run.js");
  const { planSteps } = await load("train/batches.js");
  const { train } = await load("train/train.js");
  const given = await readRecipe(recipe, [...set, `data.path=${resolve(data)}`]);
  const dataset = await openDataset(given.data.path, { format: given.data.format });
  const { examples: rows } = await dataset.split("train", { onBadRow: given.data.badRows });
  const opened = await openForTraining(given, dataset.labels);
  const { model, groups, backend } = opened;
  const { encoded } = encodeExamples(opened, rows);
  const settings = opened.recipe.train;
  const plan = planSteps(encoded.length, settings, given.seed);
  const steps = train(model, groups, encoded, plan, settings, given.seed);
  const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  say({ backend: backend.description, rows: settings.batchExamples * settings.accumulation });
  for await (const _ of createInterface({ input: process.stdin })) {
    const before = process.cpuUsage();
    const started = performance.now();
    const { value } = await steps.next();
    await backend.sync();
    const seconds = (performance.now() - started) / 1000;
    const { user, system } = process.cpuUsage(before);
    say({
      seconds,
      processor: (user + system) / 1e6,
      tokens: value.tokens,
      passes: value.passes ?? null,
      loss: value.loss,
    });
  }
  await opened.close();
}

async function open(checkout) {
  const args = [import.meta.filename, checkout, "--child", "--recipe", recipe, "--data", data];
  const process = spawn("node", [...args, ...set.flatMap((one) => ["--set", one])], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  process.stdin.on("error", () => {}); // the end of its output says it
  const lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]();
  const read = async () => {
    const { value, done } = await lines.next();
    if (done) fail(`${checkout}: its process ended.`);
    return JSON.parse(value);
  };
  const about = await read();
  const next = () => {
    process.stdin.write("step\n");
    return read();
  };
  return { checkout, about, next, close: () => process.stdin.end(), steps: [] };
}

async function compare() {
  const all = [];
  for (const checkout of checkouts) all.push(await open(checkout));
  for (let turn = -WARM_STEPS; turn < turns; turn++) {
    for (const one of turn % 2 === 0 ? all : [...all].reverse()) {
      const step = await one.next();
      if (turn >= 0) one.steps.push(step);
    }
    if (turn >= 0)
      console.error(
        `turn ${turn + 1} of ${turns}: ${all.map(({ steps }) => steps[turn].processor.toFixed(2)).join(" ")} s`,
      );
  }
  const quantile = (values, share) => [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1) + 0.5)];
  console.log(`${all[0].about.backend}; ${all[0].about.rows} rows a step; ${turns} turns; processor seconds`);
  for (const { checkout, steps, about, close } of all) {
    const of = (key) => steps.map((step) => step[key]);
    const ratios = steps.map(({ processor }, turn) => all[0].steps[turn].processor / processor);
    const tokens = of("tokens").reduce((sum, count) => sum + count, 0) / steps.length;
    console.log(
      `${checkout}: ${tokens.toFixed(0)} tokens a step in ${steps[0].passes ?? "several"} passes, ` +
        `${(about.rows / quantile(of("seconds"), 0.5)).toFixed(1)} rows/s, processor ${quantile(of("processor"), 0.5).toFixed(2)} s a step ` +
        `(${quantile(of("processor"), 0.25).toFixed(2)} to ${quantile(of("processor"), 0.75).toFixed(2)}), ` +
        `speed ${quantile(ratios, 0.5).toFixed(2)}× (${quantile(ratios, 0.25).toFixed(2)} to ${quantile(ratios, 0.75).toFixed(2)}), ` +
        `first loss ${steps[0].loss.toFixed(4)}`,
    );
    close();
  }
}
