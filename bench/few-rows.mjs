// Prints what products of a few rows cost, by processor time of one thread: CRE_THREADS=1 node bench/few-rows.mjs
// The weights are larger together than any cache, so that they are read from memory as in decoding.
import { openBackend } from "../dist/compute/open.js";

const [INPUTS, OUTPUTS, WEIGHTS, TURNS] = [448, 1216, 60, 6];
const backend = openBackend("auto", (line) => console.error(line));
const numbers = (count) => Float32Array.from({ length: count }, (_, i) => ((i * 2654435761) % 1000) / 1000 - 0.5);
const values = numbers(OUTPUTS * INPUTS);
const weights = Array.from({ length: WEIGHTS }, (_, i) =>
  backend.weight({ name: `w${i}`, rows: OUTPUTS, columns: INPUTS, storage: "float32", trainable: false }, values),
);
await backend.sync();
console.log(`${backend.description}; ${INPUTS} inputs, ${OUTPUTS} outputs, the least of ${TURNS} turns`);
console.log("| rows | µs | GB/s of weights | GFLOP/s |\n|---|---|---|---|");
for (const rows of [1, 2, 4, 8, 16, 32, 64, 256]) {
  const x = backend.tensor(numbers(rows * INPUTS), rows, INPUTS);
  let least = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < TURNS; turn++) {
    const before = process.cpuUsage();
    for (const weight of weights) backend.free(backend.matmul(x, weight));
    await backend.sync();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / WEIGHTS);
  }
  backend.free(x);
  const speeds = [(4 * INPUTS * OUTPUTS) / least / 1e3, (2 * rows * INPUTS * OUTPUTS) / least / 1e3];
  console.log(`| ${[rows, least.toFixed(0), ...speeds.map((speed) => speed.toFixed(1))].join(" | ")} |`);
}
await backend.close();
