#!/usr/bin/env node
// Processor time of one command on two or more instruction levels, in turns, so that other programs on the machine hardly count (Linux).
//
//   node bench/compare-levels.mjs LEVEL LEVEL… [--turns N] [--steps N] [--skip N] -- COMMAND OF CRE
//
// Every turn runs `cre COMMAND` once a level with one thread (or CRE_THREADS), in the opposite order every second turn. The word RUN in the
// command becomes a new folder. With --steps, the time is that of N training steps after the first ones (--skip), and the command is
// ended then; without it, that of the whole command.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const usage = "usage: node bench/compare-levels.mjs LEVEL LEVEL… [--turns N] [--steps N] [--skip N] -- COMMAND OF CRE";
const split = process.argv.indexOf("--");
const command = split < 0 ? [] : process.argv.slice(split + 1);
const { positionals: levels, values } = parseArgs({
  args: process.argv.slice(2, split < 0 ? undefined : split),
  allowPositionals: true,
  options: {
    turns: { type: "string", default: "5" },
    steps: { type: "string", default: "0" },
    skip: { type: "string", default: "3" },
  },
});
const [turns, steps, skip] = [values.turns, values.steps, values.skip].map(Number);
if (levels.length < 2 || command.length === 0 || !(turns >= 1) || !(steps >= 0) || !(skip >= 0)) {
  console.error(usage);
  process.exit(1);
}

const cli = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "compare-levels-"));
const preload = join(folder, "preload.mjs");
writeFileSync(
  preload,
  `import { appendFileSync } from "node:fs";
process.on("exit", (code) => {
  const { user, system } = process.cpuUsage();
  appendFileSync(process.env.COMPARE_LEVELS, JSON.stringify({ code, seconds: (user + system) / 1e6 }) + "\\n");
});
`,
);

/** Step entries of a run's log. */
function stepsOf(run) {
  const file = join(run, "log.jsonl");
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line)).filter((entry) => entry.kind === "step");
}

/** Processor seconds of a process so far. */
function processorSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Processor seconds of the command, or of a step, and the tokens of a step. */
async function measure(level) {
  const run = join(folder, "run");
  rmSync(run, { recursive: true, force: true });
  const result = join(folder, "result");
  rmSync(result, { force: true });
  const child = spawn(process.execPath, [cli, ...command.map((word) => (word === "RUN" ? run : word))], {
    env: {
      ...process.env,
      CRE_CPU: level,
      CRE_THREADS: process.env.CRE_THREADS ?? "1",
      COMPARE_LEVELS: result,
      NODE_OPTIONS: `--import ${pathToFileURL(preload).href}`,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let messages = "";
  child.stderr.on("data", (text) => {
    messages = (messages + text).slice(-2000);
  });
  let ended = false;
  const end = new Promise((resolve) =>
    child.on("exit", () => {
      ended = true;
      resolve();
    }),
  );
  if (steps > 0) {
    let begin = null;
    while (!ended) {
      const entries = stepsOf(run);
      if (begin === null && entries.length >= skip)
        begin = { seconds: processorSeconds(child.pid), entries: entries.length };
      if (begin !== null && entries.length >= begin.entries + steps) {
        const seconds = processorSeconds(child.pid) - begin.seconds;
        const measured = entries.slice(begin.entries);
        child.kill("SIGKILL");
        await end;
        const tokens = measured.reduce((sum, entry) => sum + entry.tokens, 0);
        return { seconds: seconds / measured.length, perSecond: tokens / seconds };
      }
      await sleep(20);
    }
  }
  await end;
  const { code, seconds } = existsSync(result) ? JSON.parse(readFileSync(result, "utf8").split("\n")[0]) : { code: 1 };
  if (code !== 0 || steps > 0)
    throw new Error(`${level}: cre ${command.join(" ")} ended with ${code}: ${messages.trim()}`);
  return { seconds };
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];
const results = new Map(levels.map((level) => [level, []]));
try {
  for (let turn = 0; turn < turns; turn++) {
    for (const level of turn % 2 === 0 ? levels : [...levels].reverse()) results.get(level).push(await measure(level));
    const shown = levels.map((level) => results.get(level)[turn].seconds.toFixed(3));
    console.error(`turn ${turn + 1} of ${turns}: ${shown.join(" ")} processor seconds`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(
  `| level | processor seconds${steps > 0 ? " a step | tokens a processor second" : ""} | speed, median of the turns | least – most |`,
);
console.log(`|---|---|${steps > 0 ? "---|" : ""}---|---|`);
const first = results.get(levels[0]);
for (const level of levels) {
  const own = results.get(level);
  const ratios = own.map(({ seconds }, turn) => first[turn].seconds / seconds).sort((a, b) => a - b);
  const cells = [level, median(own.map(({ seconds }) => seconds)).toFixed(3)];
  if (steps > 0) cells.push(median(own.map(({ perSecond }) => perSecond)).toFixed(0));
  cells.push(`${median(ratios).toFixed(2)}×`, `${ratios[0].toFixed(2)} – ${ratios.at(-1).toFixed(2)}`);
  console.log(`| ${cells.join(" | ")} |`);
}
