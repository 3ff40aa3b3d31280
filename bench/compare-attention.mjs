#!/usr/bin/env node
// Processor time of attention in two or more built checkouts of this project, and of prompts that are read in both directions in the last one.
//
//   node bench/compare-attention.mjs CHECKOUT CHECKOUT… [--turns N]
//
// All backends are open in one process with one thread and take turns, in the opposite order every second turn: processor time instead of
// the clock, so that other programs on the machine hardly count. The table has medians in milliseconds, and the median of the ratio to the
// first checkout in the same turn.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const usage = "usage: node bench/compare-attention.mjs CHECKOUT CHECKOUT… [--turns N]";
const { positionals: checkouts, values } = parseArgs({
  allowPositionals: true,
  options: { turns: { type: "string", default: "60" } },
});
const turns = Number(values.turns);
if (checkouts.length < 1 || !Number.isInteger(turns) || turns < 1) {
  console.error(usage);
  process.exit(1);
}

const sequences = (count, length) =>
  Array.from({ length: count }, (_, i) => ({
    start: i * length,
    length,
    keyStart: i * length,
    position: 0,
    context: [],
  }));
const prefix = { start: 0, length: 100, position: 0 };
const answers = Array.from({ length: 40 }, (_, i) => {
  const start = prefix.length + 2 * i;
  return { start, length: 2, keyStart: start, position: prefix.length, context: [prefix] };
});
const shapes = [
  { name: "16 sequences of 96", heads: 12, keyValueHeads: 12, segments: sequences(16, 96) },
  { name: "1 sequence of 1,024", heads: 14, keyValueHeads: 2, segments: sequences(1, 1024) },
  { name: "64 sequences of 10", heads: 8, keyValueHeads: 8, segments: sequences(64, 10) },
  {
    name: "100 rows, 40 answers of 2 behind them",
    heads: 8,
    keyValueHeads: 8,
    segments: [...sequences(1, 100), ...answers],
  },
];
const HEAD_WIDTH = 64;
const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];

const backends = [];
for (const checkout of checkouts) {
  const { openNative } = await import(pathToFileURL(resolve(checkout, "dist/compute/native/open.js")).href);
  backends.push(openNative({ threads: 1 }));
}

async function processorMs(work, backend) {
  const before = process.cpuUsage();
  const made = work();
  await backend.sync();
  const { user, system } = process.cpuUsage(before);
  return { made: Object.values(made), ms: (user + system) / 1000 };
}

console.log(`| ${["rows", "pass", ...checkouts, "both directions"].join(" | ")} |`);
console.log(`|${"---|".repeat(checkouts.length + 3)}`);
for (const { name, heads, keyValueHeads, segments } of shapes) {
  const spec = { heads, keyValueHeads, headWidth: HEAD_WIDTH, scale: HEAD_WIDTH ** -0.5, slopes: null };
  const rows = segments.reduce((sum, { length }) => sum + length, 0);
  const both = segments.map((one) => (one.context.length > 0 ? one : { ...one, bidirectional: one.length }));
  const ways = [...backends.map((backend) => ({ backend, segments })), { backend: backends.at(-1), segments: both }];
  for (const way of ways) {
    const tensor = (of, seed) => {
      const columns = of * HEAD_WIDTH;
      return way.backend.tensor(
        Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(0.37 * i + seed)),
        rows,
        columns,
      );
    };
    way.inputs = { q: tensor(heads, 1), k: tensor(keyValueHeads, 2), v: tensor(keyValueHeads, 3) };
    way.dOutput = tensor(heads, 4);
    way.ms = { forward: [], backward: [] };
  }
  for (let turn = -1; turn < turns; turn++) {
    for (const { backend, inputs, dOutput, segments: own, ms } of turn % 2 === 0 ? ways : [...ways].reverse()) {
      const forward = await processorMs(() => backend.attention(inputs.q, inputs.k, inputs.v, own, spec), backend);
      const [output, logSumExp] = forward.made;
      const given = { ...inputs, output, logSumExp };
      const backward = await processorMs(() => backend.attentionBackward(given, dOutput, own, spec), backend);
      for (const made of [...forward.made, ...backward.made]) backend.free(made);
      // The first turn takes memory from the system.
      if (turn < 0) continue;
      ms.forward.push(forward.ms);
      ms.backward.push(backward.ms);
    }
  }
  for (const pass of ["forward", "backward"]) {
    const cells = ways.map(({ ms }) => {
      const ratio = median(ms[pass].map((value, turn) => value / ways[0].ms[pass][turn]));
      return `${median(ms[pass]).toFixed(2)} ms (${ratio.toFixed(2)}×)`;
    });
    console.log(`| ${[name, pass, ...cells].join(" | ")} |`);
  }
}
for (const backend of backends) await backend.close();
