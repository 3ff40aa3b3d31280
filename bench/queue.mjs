// Prints the speed of a queue alone, and what a second worker brings:
//   node bench/queue.mjs claims --store postgres://… [--documents 20000] [--batch 32] [--workers 4]    documents claimed and committed a second
//   node bench/queue.mjs claims --store DIR                                                            the same of the embedded database, one worker
//   node bench/queue.mjs workers RUN FILE NAMES --store postgres://…                          documents a second of 1 and of 2 workers
// Each makes a queue of its own and removes it.
import { spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { addDocuments } from "../dist/queue/add.js";
import { createQueue, openQueues, removeQueue } from "../dist/queue/queues.js";
import { work } from "../dist/queue/worker.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    store: { type: "string" },
    documents: { type: "string", default: "20000" },
    batch: { type: "string", default: "32" },
    workers: { type: "string" },
  },
});
const [what, ...rest] = positionals;
if (!["claims", "workers"].includes(what) || !values.store || (what === "workers" && rest.length !== 3)) {
  console.error("usage: node bench/queue.mjs claims | workers RUN FILE NAMES, with --store postgres://…");
  process.exit(1);
}
const CLI = new URL("../dist/cli.js", import.meta.url).pathname;
const name = `bench-${process.pid}`;
const settings = {
  entities: [],
  overlap: "longest",
  window: 1,
  maxPairs: 1,
  minProbability: 0,
  precision: null,
  types: null,
};

async function claims() {
  const queues = await openQueues(values.store);
  const usual = queues.store.isShared ? "4" : "1";
  const [documents, batch, workers] = [values.documents, values.batch, values.workers ?? usual].map(Number);
  const queue = { name, kind: "rows", settings: { ...settings, batch } };
  await createQueue(queues, queue, []);
  try {
    async function* additions() {
      for (let i = 0; i < documents; i++) {
        yield { key: String(i), payload: JSON.stringify({ line: i, text: "文".repeat(200) }) };
      }
    }
    let start = performance.now();
    await addDocuments(queues, queue, additions(), { maxWaiting: Number.POSITIVE_INFINITY });
    console.log(`added: ${Math.round(documents / ((performance.now() - start) / 1e3))} documents/s`);
    // Gives one line a document and computes nothing.
    const extraction = { extract: async (tasks) => ({ lines: tasks.map(() => "{}\n"), counts: {} }) };
    const options = { batch, leaseSeconds: 60, untilEmpty: true, patienceSeconds: 10, arithmetic: "none" };
    start = performance.now();
    // One process has the embedded database open.
    const own = await Promise.all(
      Array.from({ length: workers }, () => (queues.store.isShared ? openQueues(values.store) : queues)),
    );
    await Promise.all(own.map((one) => work(one, queue, extraction, options)));
    for (const one of own) if (one !== queues) await one.close();
    const rate = documents / ((performance.now() - start) / 1e3);
    const { user, system } = process.cpuUsage();
    console.log(
      `${workers} ${workers === 1 ? "worker" : "workers"}, ${batch} documents a claim: ${Math.round(rate)} documents/s, ${Math.round(rate / batch)} claims/s; ${((user + system) / 1e6).toFixed(1)} s of processor time in this process, with adding`,
    );
  } finally {
    await removeQueue(queues, queue, 0);
    await queues.close();
  }
}

function cre(...command) {
  const child = spawn(process.execPath, [CLI, ...command, "--store", values.store], {
    env: { ...process.env, CRE_THREADS: "1" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let text = "";
  child.stderr.on("data", (chunk) => {
    text += chunk;
  });
  return new Promise((done, fail) => {
    child.on("close", (code) => (code === 0 ? done() : fail(new Error(text))));
  });
}

/** Documents a second of some workers with one thread each, from the first batch to the last. */
async function rateOf(count) {
  const [run, file, names] = rest;
  const own = `${name}-${count}`;
  await cre("queue", "create", own, "--entities", names, "--batch", values.batch);
  await cre("queue", "add", own, file);
  await Promise.all(Array.from({ length: count }, () => cre("worker", run, "--queue", own, "--until-empty")));
  const queues = await openQueues(values.store);
  const [row] = await queues.store.query(
    `select sum(documents) as documents, extract(epoch from max(finished_at) - min(finished_at - seconds * interval '1 second')) as seconds
     from cre.batch where queue = $1`,
    [own],
  );
  await queues.close();
  await cre("queue", "remove", own, "--yes");
  return Number(row.documents) / Number(row.seconds);
}

if (what === "claims") await claims();
else {
  const one = await rateOf(1);
  const two = await rateOf(2);
  console.log(`1 worker ${one.toFixed(1)} documents/s, 2 workers ${two.toFixed(1)}: ${(two / one).toFixed(2)} times`);
}
