#!/usr/bin/env node
// Steps of two or more built checkouts of this project in turn, so that a noisy machine treats them alike.
//
//   node bench/compare-builds.mjs CHECKOUT CHECKOUT… [--turns N] [-- options of `cre bench train-step`]
//
// One process of each checkout stays alive (`cre bench train-step --on-request`); in every turn each makes one step, in the opposite order
// every second turn. The table has the least, the lower quartile and the median of the steps, and for each checkout the median and the
// quartiles of its time relative to the first one's in the same turn.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const usage =
  "usage: node bench/compare-builds.mjs CHECKOUT CHECKOUT… [--turns N] [-- options of cre bench train-step]";
/** Time for the threads of the process that ran before to fall asleep. */
const PAUSE_MS = 50;

function fail(message) {
  console.error(message);
  process.exit(1);
}

const given = process.argv.slice(2);
const split = given.includes("--") ? given.indexOf("--") : given.length;
const options = given.slice(split + 1);
let parsed;
try {
  parsed = parseArgs({
    args: given.slice(0, split),
    allowPositionals: true,
    options: { turns: { type: "string", default: "20" } },
  });
} catch (error) {
  fail(`${error.message}\n${usage}`);
}
const checkouts = parsed.positionals;
const turns = Number(parsed.values.turns);
if (checkouts.length < 2) fail(`${checkouts.length} checkouts, expected two or more.\n${usage}`);
if (!Number.isInteger(turns) || turns < 1) fail(`--turns is "${parsed.values.turns}", expected a whole number from 1.`);
for (const checkout of checkouts) {
  if (!existsSync(join(checkout, "dist/cli.js")))
    fail(`${checkout}: no dist/cli.js, expected a built checkout (npm ci).`);
}

/** A `cre bench train-step` that stays alive; each call of `next` asks for a step and returns its line. */
async function open(checkout) {
  const args = [join(checkout, "dist/cli.js"), "bench", "train-step", ...options, "--on-request"];
  const child = spawn("node", args, { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.on("error", () => {}); // the end of its output says it
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const read = async () => {
    const { value, done } = await lines.next();
    if (done) fail(`${checkout}: cre bench train-step ended (a checkout before --on-request cannot be compared).`);
    return JSON.parse(value);
  };
  await read();
  return {
    checkout,
    next() {
      child.stdin.write("step\n");
      return read();
    },
    close: () => child.stdin.end(),
  };
}

const processes = [];
for (const checkout of checkouts) processes.push(await open(checkout));
const seconds = new Map(checkouts.map((checkout) => [checkout, []]));
for (let turn = 0; turn < turns; turn++) {
  for (const bench of turn % 2 === 0 ? processes : [...processes].reverse()) {
    seconds.get(bench.checkout).push((await bench.next()).seconds);
    await sleep(PAUSE_MS);
  }
  const shown = checkouts.map((checkout) => seconds.get(checkout)[turn].toFixed(3));
  console.error(`turn ${turn + 1} of ${turns}: ${shown.join(" ")} s`);
}
for (const bench of processes) bench.close();

const at = (values, share) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
};
console.log("| checkout | least | lower quartile | median | of the first, median | quartiles |");
console.log("|---|---|---|---|---|---|");
const first = seconds.get(checkouts[0]);
for (const checkout of checkouts) {
  const steps = seconds.get(checkout);
  const ratios = steps.map((value, turn) => value / first[turn]);
  const milliseconds = [Math.min(...steps), at(steps, 0.25), at(steps, 0.5)].map((s) => `${(s * 1000).toFixed(0)} ms`);
  const relative = [0.5, 0.25, 0.75].map((share) => at(ratios, share).toFixed(3));
  console.log(`| ${[checkout, ...milliseconds, relative[0], `${relative[1]} – ${relative[2]}`].join(" | ")} |`);
}
