#!/usr/bin/env node
// How well more cores would be used.
//
//   node bench/cores.mjs [--shape NAME] [--layers N] [--tokens N] [--measure]
//
// Simulates the critical path of a prompt and of a LoRA step for 4 to 64 threads: the operations are those of the project's decoder and tape,
// the work items those that native/ cuts for float32, their seconds follow from rates measured here on one thread, and a region ends with a
// barrier. "Busy" is the share of the threads' time that is work. Memory is not simulated: a machine whose memory cannot feed all threads is
// slower. --measure also times real steps of the 110m shape with 1 to all threads of this machine.
import { execFileSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SHAPES, shapeSpec } from "../dist/bench/shapes.js";
import { openBackend } from "../dist/compute/open.js";
import { regionsOf } from "./cores/items.mjs";
import { makespan } from "./cores/pool.mjs";
import { extractionOperations, trainingOperations } from "./cores/trace.mjs";

const THREADS = [4, 8, 16, 32, 64];
/** A region's start and end: the gate's cache line goes to every thread (native/runtime/threads.cpp). */
const barrierSeconds = (threads) => 1e-6 + 0.15e-6 * threads;

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "llama2-7b" },
    layers: { type: "string", default: "2" },
    tokens: { type: "string", default: "2000" },
    measure: { type: "boolean" },
  },
});
if (!(values.shape in SHAPES)) {
  console.error(`--shape is "${values.shape}", expected one of ${Object.keys(SHAPES).join(", ")}.`);
  process.exit(1);
}

/** FLOP/s of a product and bytes/s of an addition on one thread of this machine. */
async function measureRates() {
  process.env.CRE_THREADS = "1";
  const backend = openBackend("float32", () => {});
  const w = backend.weight({ name: "w", rows: 1024, columns: 1024, storage: "float32", trainable: false });
  const x = backend.zeros(512, 1024);
  const best = async (work, run) => {
    let rate = 0;
    for (let round = 0; round < 12; round++) {
      const started = process.cpuUsage();
      backend.free(run());
      await backend.sync();
      const { user, system } = process.cpuUsage(started);
      rate = Math.max(rate, work / ((user + system) / 1e6));
    }
    return rate;
  };
  const flops = await best(2 * 512 * 1024 * 1024, () => backend.matmul(x, w));
  const bytes = await best(3 * 4 * 512 * 1024, () => backend.add(x, x));
  await backend.close();
  // Attention packs keys and takes exponentials between small products: about half of a product's rate (cre bench kernels).
  return { flops, attention: flops / 2, bytes };
}

/** A table: of all operations and of each kind the busy share, and with the most threads the kind's share of the time. */
function simulate(name, operations, rates) {
  const results = THREADS.map((threads) => ({ threads, ...timeOf(operations, threads, rates) }));
  const alone = timeOf(operations, 1, rates).seconds;
  const line = (cells) => console.log(`| ${cells.join(" | ")} |`);
  console.log(`\n${name}\n`);
  line(["threads", ...THREADS, `time with ${THREADS.at(-1)}`]);
  line(["---", ...THREADS.map(() => "---"), "---"]);
  line(["speed", ...results.map(({ seconds }) => `${(alone / seconds).toFixed(1)}×`), ""]);
  line(["busy", ...results.map(({ threads, work, seconds }) => percent(work / (threads * seconds))), ""]);
  for (const kind of new Set(operations.map((operation) => operation.kind))) {
    const shares = results.map(({ threads, byKind }) => {
      const { work, seconds } = byKind.get(kind);
      return percent(work / (threads * seconds));
    });
    const last = results.at(-1);
    line([kind, ...shares, `${((100 * last.byKind.get(kind).seconds) / last.seconds).toFixed(1)} %`]);
  }
}

function timeOf(operations, threads, rates) {
  let seconds = 0;
  let work = 0;
  const byKind = new Map();
  for (const operation of operations) {
    const kind = byKind.get(operation.kind) ?? { seconds: 0, work: 0 };
    byKind.set(operation.kind, kind);
    for (const items of regionsOf(operation, threads, rates)) {
      const own = items.reduce((sum, item) => sum + item, 0);
      const took = makespan(items, threads) + (threads > 1 ? barrierSeconds(threads) : 0);
      kind.seconds += took;
      kind.work += own;
      seconds += took;
      work += own;
    }
  }
  return { seconds, work, byKind };
}

const percent = (share) => `${Math.round(100 * share)} %`;

function measureThreads() {
  let first = 0;
  for (let threads = 1; threads <= availableParallelism(); threads++) {
    const cli = join(import.meta.dirname, "../dist/cli.js");
    const options = ["bench", "train-step", "--layers", "3", "--sequences", "8", "--rounds", "5", "--json"];
    const output = execFileSync("node", [cli, ...options], { env: { ...process.env, CRE_THREADS: `${threads}` } });
    const { medianSeconds, tokens } = JSON.parse(output);
    first ||= medianSeconds;
    console.log(
      `${threads} threads: ${Math.round(tokens / medianSeconds)} tokens/s, ${(first / medianSeconds).toFixed(2)}×`,
    );
  }
}

if (values.measure) measureThreads();
const rates = await measureRates();
console.log(
  `rates of one thread: ${(rates.flops / 1e9).toFixed(0)} GFLOP/s of products, ${(rates.bytes / 1e9).toFixed(1)} GB/s`,
);
const spec = shapeSpec(values.shape, Number(values.layers));
const tokens = Number(values.tokens);
simulate(
  `${values.shape}, a prompt of ${tokens} tokens, ${spec.layers} layers`,
  await extractionOperations(spec, tokens),
  rates,
);
const step = await trainingOperations(spec, { rows: 16, tokens: 180, shared: 116, answer: 12 });
simulate(
  `${values.shape}, a LoRA step of 16 rows of 180 tokens, 116 shared: ${step.tokens} computed, ${spec.layers} layers`,
  step.operations,
  rates,
);
