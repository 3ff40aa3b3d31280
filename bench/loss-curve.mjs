// The difference between the losses of two instruction sets, from the same weights, at many places of one run:
//   node bench/loss-curve.mjs RECIPE DATA [amx] [avx2] [STEPS BETWEEN] [STEPS OF A WINDOW]
// Two whole runs drift apart whatever the rounding (so does a learning rate changed by 0.01 %: docs/measurements.md). This script stops the first
// level's run every few hundred steps, lets a copy of it continue at the second level, and compares the losses of the same steps.
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const cli = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
const [recipe, data, first = "amx", second = "avx2", between = "200", window = "40"] = process.argv.slice(2);
if (recipe === undefined || data === undefined || !(Number(between) >= Number(window)) || !(Number(window) >= 1)) {
  console.error(
    "usage: node bench/loss-curve.mjs RECIPE DATA [amx] [avx2] [STEPS BETWEEN >= WINDOW] [STEPS OF A WINDOW >= 1]",
  );
  process.exit(1);
}

/** Losses by step number. */
function lossesOf(run) {
  const file = join(run, "log.jsonl");
  if (!existsSync(file)) return new Map();
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  const entries = lines.map((line) => JSON.parse(line)).filter((entry) => entry.kind === "step");
  return new Map(entries.map((entry) => [entry.step, entry.loss]));
}

/** Trains `run` at `level` until it has `steps` steps, then stops it as Ctrl-C does. True: the run is complete. */
async function trainTo(run, level, steps) {
  const start = existsSync(run) ? ["--resume"] : ["--data", data, "--set", "train.validateEvery=0"];
  const process_ = spawn("node", [cli, "train", recipe, "--run", run, ...start], {
    env: { ...process.env, CRE_CPU: level },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let messages = "";
  process_.stderr.on("data", (text) => {
    messages = (messages + text).slice(-2000);
  });
  let code;
  const ended = new Promise((resolve) => {
    process_.on("exit", (exitCode, signal) => {
      code = exitCode ?? signal;
      resolve();
    });
  });
  while (code === undefined && lossesOf(run).size < steps) await Promise.race([ended, sleep(100)]);
  const complete = code === 0;
  if (code === undefined) process_.kill("SIGINT");
  await ended;
  if (!complete && lossesOf(run).size < steps) throw new Error(`cre train ended with ${code}: ${messages.trim()}`);
  return complete;
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const folder = mkdtempSync(join(tmpdir(), "loss-curve-"));
const [run, copy] = [join(folder, "first"), join(folder, "second")];
const windows = [];
let largest = 0;
try {
  console.log(`${"steps".padEnd(14)}${first.padStart(10)}${second.padStart(10)}  difference`);
  for (let done = false, at = 0; !done; ) {
    // The copy begins at the run's last step, with its weights, moments and order of the rows.
    rmSync(copy, { recursive: true, force: true });
    if (existsSync(run)) cpSync(run, copy, { recursive: true });
    const copyDone = await trainTo(copy, second, at + Number(window));
    const theirs = lossesOf(copy);
    done = (await trainTo(run, first, at + Number(between))) || copyDone;
    const ours = lossesOf(run);
    const steps = [...theirs.keys()].filter((step) => step > at && step <= at + Number(window) && ours.has(step));
    if (steps.length > 0) {
      const [a, b] = [ours, theirs].map((losses) => mean(steps.map((step) => losses.get(step))));
      windows.push([a, b]);
      largest = Math.max(largest, Math.abs(b / a - 1));
      console.log(
        `${`${steps[0]}–${steps.at(-1)}`.padEnd(14)}${a.toFixed(4).padStart(10)}${b.toFixed(4).padStart(10)}  ${(100 * (b / a - 1)).toFixed(2)} %`,
      );
    }
    at = ours.size;
  }
  const [a, b] = [0, 1].map((side) => mean(windows.map((losses) => losses[side])));
  console.log(
    `${windows.length} windows of ${window} steps: largest difference ${(100 * largest).toFixed(2)} %, of the means ${(100 * Math.abs(b / a - 1)).toFixed(2)} %`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
