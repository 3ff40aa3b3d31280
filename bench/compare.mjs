// Compares extraction and training with what people use, in turns: node bench/compare.mjs --data FOLDER
//   [--turns 6] [--rows 64] [--train-rows 400] [--steps 2] [--batch 8] [--threads N] [--only NAME,NAME] [--into runs/compare]
//   [--python FILE] [--llama-cpp DIR] [--json FILE] [--list]
// Every contender is a living process. In each turn each extracts the same --rows test rows, or makes --steps training steps, one after the other, in the
// opposite order every second turn. Peers that are not installed are left out by name. The adapters are trained shortly first (kept in --into).
// Ctrl-C prints the tables of the turns so far.
import { spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { CONTENDERS, machineText, missing } from "./compare/contenders.mjs";
import { fail, options, wholeNumber } from "./compare/protocol.mjs";
import { contenderLines, ratioLines } from "./compare/table.mjs";

const ROOT = dirname(import.meta.dirname);
/** For the threads of the last turn to fall asleep. */
const PAUSE_MS = 300;

const given = options({
  data: { type: "string" },
  turns: { type: "string", default: "6" },
  rows: { type: "string", default: "64" },
  "train-rows": { type: "string", default: "400" },
  steps: { type: "string", default: "2" },
  batch: { type: "string", default: "8" },
  threads: { type: "string", default: process.env.CRE_THREADS ?? `${availableParallelism()}` },
  only: { type: "string" },
  into: { type: "string", default: join("runs", "compare") },
  python: { type: "string", default: process.env.CRE_PYTHON ?? "python3" },
  "llama-cpp": { type: "string", default: join(ROOT, "test", "llama-cpp") },
  json: { type: "string" },
  list: { type: "boolean", default: false },
});
const numbers = Object.fromEntries(
  ["turns", "rows", "train-rows", "steps", "batch", "threads"].map((name) => [
    name,
    wholeNumber(`--${name}`, given[name]),
  ]),
);
const names = given.only?.split(",") ?? Object.keys(CONTENDERS).filter((name) => CONTENDERS[name].isDefault !== false);
for (const name of names) {
  if (!(name in CONTENDERS)) fail(`--only names "${name}", expected some of ${Object.keys(CONTENDERS).join(", ")}.`);
}

const absent = new Map();
for (const name of given.list ? Object.keys(CONTENDERS) : names) {
  const why = missing(CONTENDERS[name], given);
  if (why !== null) absent.set(name, why);
}
if (given.list) {
  for (const [name, { task, text }] of Object.entries(CONTENDERS)) {
    const state = absent.has(name) ? ` (not here: ${absent.get(name)})` : "";
    console.log(`${name.padEnd(18)}${task.padEnd(12)}${text}${state}`);
  }
  process.exit(0);
}
if (given.data === undefined) fail("--data is missing: the folder of FinRE (cre data fetch finre).");
if (!existsSync(join(ROOT, "dist", "cli.js"))) fail("dist/cli.js is missing: npm run build makes it.");
for (const [name, why] of absent) console.error(`skipped ${name}: ${why}`);
const present = names.filter((name) => !absent.has(name));
if (present.length === 0) fail("none of the contenders is installed.");

const isExtraction = (name) => CONTENDERS[name].task === "extraction";
const needs = new Set(present.filter(isExtraction).map((name) => (name.startsWith("cre-marked") ? "marked" : "paper")));
const ggufTypes = [...new Set(present.flatMap((name) => CONTENDERS[name].gguf ?? []))];
const { prepare } = await import("./compare/prepare.mjs");
const prepared = await prepare({
  ...{ data: given.data, into: given.into, rows: numbers.rows, trainRows: numbers["train-rows"] },
  ...{ ggufTypes, needs },
}).catch((error) => fail(error.message));

/** The line that says what went wrong: Node prints its stack and its version after it, Python its stack before it. */
function causeOf(errors) {
  const lines = errors.trim().split("\n");
  return lines.find((line) => /^\w*(Error|Exception)\b.*: /.test(line)) ?? lines.at(-1);
}

/** A living process; `step()` asks for a turn. What goes wrong ends it and is kept in `failed`. */
async function open(name) {
  const [program, ...rest] = CONTENDERS[name].command(prepared.paths, given);
  const env = { ...process.env, CRE_THREADS: given.threads, OMP_NUM_THREADS: given.threads };
  const child = spawn(program, rest, { stdio: ["pipe", "pipe", "pipe"], env });
  let errors = "";
  child.stderr.on("data", (chunk) => {
    errors = `${errors}${chunk}`.slice(-2000);
  });
  child.stdin.on("error", () => {}); // the end of its output says it
  child.on("error", (error) => {
    errors += error.message;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const contender = { name, turns: [], ready: null, failed: null, close: () => child.stdin.end() };
  const read = async () => {
    // Libraries may print lines of their own.
    for (;;) {
      const { value, done } = await lines.next();
      if (done) throw new Error(causeOf(errors) || "ended without a word");
      if (value.startsWith("{")) return JSON.parse(value);
    }
  };
  const attempt = async (action) => {
    if (contender.failed !== null) return;
    try {
      await action();
    } catch (error) {
      contender.failed = error.message;
      console.error(`${name} failed: ${error.message}`);
      child.kill();
    }
  };
  await attempt(async () => {
    contender.ready = await read();
  });
  contender.step = () =>
    attempt(async () => {
      child.stdin.write("step\n");
      contender.turns.push(await read());
    });
  return contender;
}

const contenders = [];
for (const name of present) {
  console.error(`opening ${name}`);
  contenders.push(await open(name));
}
/** What each row's answer says, by the first turn; null for training. */
function labelsOf({ turns }) {
  const [{ labels, texts, answerIds } = {}] = turns;
  if (labels) return labels;
  return texts?.map(prepared.labelsOf) ?? answerIds?.map(prepared.labelsOfIds) ?? null;
}

/** Prints the tables of the turns so far. */
function report(made) {
  const compared = contenders.map((contender) => ({
    ...contender,
    ...{ task: CONTENDERS[contender.name].task, isReference: CONTENDERS[contender.name].isReference === true },
    ...{ isOurs: CONTENDERS[contender.name].needs === null, labels: labelsOf(contender) },
  }));
  const versions = Object.assign({}, ...contenders.map(({ ready }) => ready?.versions ?? {}));
  const about = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  console.log(`${machineText(given.threads)}; ${about.join(", ")}; ${new Date().toISOString().slice(0, 10)}`);
  console.log(`${made} turns of ${numbers.rows} test rows, of ${numbers.steps} training steps\n`);
  for (const line of contenderLines(compared)) console.log(line);
  console.log();
  for (const line of ratioLines(compared)) console.log(line);
  if (given.json === undefined) return;
  const results = compared.map(({ name, ready, failed, turns, labels }) => ({ name, ready, failed, turns, labels }));
  writeFileSync(given.json, JSON.stringify({ machine: machineText(given.threads), versions, results }, null, 1));
}

let made = 0;
process.once("SIGINT", () => {
  report(made);
  process.exit(130);
});
for (; made < numbers.turns; made++) {
  for (const contender of made % 2 === 0 ? contenders : [...contenders].reverse()) {
    await contender.step();
    await sleep(PAUSE_MS);
  }
  const shown = contenders.map(({ name, turns }) => `${name} ${turns[made]?.seconds.toFixed(2) ?? "–"} s`);
  console.error(`turn ${made + 1} of ${numbers.turns}: ${shown.join("; ")}`);
}
for (const { close } of contenders) close();
report(made);
process.exit(contenders.some(({ failed }) => failed !== null) ? 1 : 0);
