// Prints the difference between the training losses of two runs of one recipe: node bench/compare-losses.mjs RUN RUN
// Losses are averaged over twenty equal parts of the run, because bf16 and float32 rounding make single steps differ.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const PARTS = 20;

function lossesOf(folder) {
  const lines = readFileSync(join(folder, "log.jsonl"), "utf8").split("\n").filter(Boolean);
  const losses = lines
    .map((line) => JSON.parse(line))
    .filter((entry) => entry.kind === "step")
    .map((entry) => entry.loss);
  if (losses.length < PARTS)
    throw new Error(`${folder}: ${losses.length} steps in log.jsonl, expected at least ${PARTS}.`);
  return losses;
}

function partsOf(losses) {
  return Array.from({ length: PARTS }, (_, i) => {
    const part = losses.slice(Math.floor((losses.length * i) / PARTS), Math.floor((losses.length * (i + 1)) / PARTS));
    return part.reduce((sum, loss) => sum + loss, 0) / part.length;
  });
}

const folders = process.argv.slice(2);
if (folders.length !== 2) {
  console.error("usage: node bench/compare-losses.mjs RUN RUN");
  process.exit(1);
}
const [first, second] = folders.map(lossesOf);
if (first.length !== second.length)
  throw new Error(`${first.length} and ${second.length} steps, expected as many in both runs.`);
const [a, b] = [partsOf(first), partsOf(second)];
const differences = a.map((loss, i) => Math.abs(b[i] / loss - 1));
console.log(
  `${first.length} steps; mean losses of ${PARTS} parts: ${a[0].toFixed(4)} … ${a.at(-1).toFixed(4)} and ${b[0].toFixed(4)} … ${b.at(-1).toFixed(4)}`,
);
console.log(`largest difference ${(100 * Math.max(...differences)).toFixed(3)} %`);
