// How fast a model folder is loaded with the checks of its bytes in JavaScript, in the native addon, and without them:
//   node bench/load-checks.mjs DIR [ROUNDS] [STORAGE]
// Each round loads the folder once in each way, in alternating order; after the first load the files are in the system's cache. The table has
// the median and the best round, in GB of files per second of wall time and of processor time of all threads, and the speed of each check.
import { openBackend } from "../dist/compute/open.js";
import { byteChecks, plainByteChecks, useByteChecks } from "../dist/formats/byte-checks.js";
import { DTYPE_BYTES, elementCount } from "../dist/formats/tensor-source.js";
import { openCheckpoint } from "../dist/models/checkpoint.js";
import { loadDecoder } from "../dist/models/load.js";

const [directory, rounds = "5", storage = "bfloat16"] = process.argv.slice(2);
if (directory === undefined) throw new Error("Usage: node bench/load-checks.mjs DIR [ROUNDS] [STORAGE]");
const none = { sum: () => 0, allFinite: () => true };
const backend = openBackend("auto", console.error);
await (await openCheckpoint(directory)).source.close();
const ways = { "in JavaScript": plainByteChecks, native: byteChecks(), none };

async function load(checks) {
  const checkpoint = await openCheckpoint(directory);
  useByteChecks(checks);
  const [cpu, started] = [process.cpuUsage(), performance.now()];
  const model = await loadDecoder(backend, checkpoint, { storage, trainable: false }).finally(() =>
    checkpoint.source.close(),
  );
  await backend.sync();
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const tensors = [...checkpoint.source.tensors.values()];
  const gigabytes = tensors.reduce((sum, { dtype, shape }) => sum + DTYPE_BYTES[dtype] * elementCount(shape), 0) / 1e9;
  const { embedding, finalNorm, head, layers } = model;
  const weights = [embedding, finalNorm, head.weight, ...layers.flatMap((layer) => weightsIn(layer))];
  for (const weight of new Set(weights)) backend.freeWeight(weight);
  await backend.sync();
  return { wall: gigabytes / seconds, processor: gigabytes / ((user + system) / 1e6), gigabytes };
}

/** The weights of a layer, however they are nested. */
function weightsIn(value) {
  if (typeof value !== "object" || value === null) return [];
  if ("rows" in value && "columns" in value && "storage" in value) return [value];
  return Object.values(value).flatMap(weightsIn);
}

await load(none);
const speeds = new Map(Object.keys(ways).map((name) => [name, []]));
let gigabytes = 0;
for (let round = 0; round < Number(rounds); round++) {
  const order = Object.entries(ways);
  for (const [name, checks] of round % 2 ? order.reverse() : order) {
    const result = await load(checks);
    gigabytes = result.gigabytes;
    speeds.get(name).push(result);
  }
}
console.log(`${directory}: ${gigabytes.toFixed(2)} GB, ${storage}, ${backend.description}`);
const text = (values) => {
  const sorted = values.toSorted((a, b) => a - b);
  return `${sorted[sorted.length >> 1].toFixed(2)} (best ${sorted.at(-1).toFixed(2)})`;
};
for (const [name, results] of speeds) {
  const [wall, processor] = ["wall", "processor"].map((key) => text(results.map((result) => result[key])));
  console.log(`checks ${name.padEnd(14)} ${wall} GB/s, ${processor} GB a processor second`);
}

/** In GB per processor second, of 4 MB as files are read. */
function speedOf(check) {
  const bytes = new Uint8Array(4 << 20).fill(0x5a);
  const repeat = (count) => {
    for (let i = 0; i < count; i++) check(bytes);
  };
  repeat(5);
  const cpu = process.cpuUsage();
  repeat(100);
  const { user, system } = process.cpuUsage(cpu);
  return ((100 * bytes.length) / 1e3 / (user + system)).toFixed(1);
}
for (const [name, checks] of Object.entries(ways).slice(0, 2)) {
  const sum = speedOf((bytes) => checks.sum(bytes, 0));
  const finite = ["F32", "F16", "BF16"].map(
    (dtype) => `${dtype} ${speedOf((bytes) => checks.allFinite(dtype, bytes))}`,
  );
  console.log(`${name}: CRC-32 ${sum}, finite numbers ${finite.join(", ")} GB a processor second`);
}
await backend.close();
