#!/usr/bin/env node
// Steps of two or more built checkouts of this project in turn, so that a noisy machine treats them alike.
//
//   node bench/compare-builds.mjs CHECKOUT CHECKOUT… [--turns N] [-- options of `cre bench train-step`]
//
// Each turn runs `cre bench train-step` once in every checkout, in a fresh process, in the opposite order every second turn. The table has the
// least, the lower quartile and the median of all measured steps, and each checkout's median relative to the first one's.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const usage =
  "usage: node bench/compare-builds.mjs CHECKOUT CHECKOUT… [--turns N] [-- options of cre bench train-step]";

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
    options: { turns: { type: "string", default: "4" } },
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

const seconds = new Map(checkouts.map((checkout) => [checkout, []]));
for (let turn = 0; turn < turns; turn++) {
  for (const checkout of turn % 2 === 0 ? checkouts : [...checkouts].reverse()) {
    const run = spawnSync("node", [join(checkout, "dist/cli.js"), "bench", "train-step", ...options, "--json"], {
      encoding: "utf8",
    });
    if (run.status !== 0) fail(`${checkout}: cre bench train-step ended with ${run.status}.\n${run.stderr}`);
    const result = JSON.parse(run.stdout);
    seconds.get(checkout).push(...result.seconds);
    console.error(`turn ${turn + 1} of ${turns}, ${checkout}: ${result.seconds.map((s) => s.toFixed(3)).join(" ")} s`);
  }
}

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
const first = at(
  [...seconds.get(checkouts[0])].sort((a, b) => a - b),
  0.5,
);
console.log("| checkout | steps | least | lower quartile | median | of the first |");
console.log("|---|---|---|---|---|---|");
for (const [checkout, all] of seconds) {
  const sorted = all.sort((a, b) => a - b);
  const cells = [sorted[0], at(sorted, 0.25), at(sorted, 0.5)].map((s) => `${(1000 * s).toFixed(0)} ms`);
  console.log(`| ${checkout} | ${sorted.length} | ${cells.join(" | ")} | ${(at(sorted, 0.5) / first).toFixed(3)} |`);
}
