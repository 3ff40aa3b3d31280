#!/usr/bin/env node
// Products of the WebAssembly modules in turn, on shapes of the embedded base: node bench/wasm-modules.mjs [--turns 21] [--threads 2]
// The table has the median GFLOP/s of each module that this engine runs, and the median of the ratios within a turn.
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { KERNELS_FILES, openWasm } from "../dist/compute/wasm/open.js";

const { values } = parseArgs({
  options: { turns: { type: "string", default: "21" }, threads: { type: "string", default: "2" } },
});
const SHAPES = [
  [1024, 448, 448],
  [1024, 448, 1216],
  [1024, 1216, 448],
];
const PRODUCTS = 4;
const files = [...KERNELS_FILES].reverse();
const numbers = (count) => Float32Array.from({ length: count }, (_, i) => ((i * 2654435761) % 1000) / 1000 - 0.5);
const median = (all) => [...all].sort((a, b) => a - b)[all.length >> 1];
const backends = files.map((file) => openWasm({ file, threads: Number(values.threads) }));
console.log(`Node ${process.versions.node}, ${values.threads} threads; GFLOP/s, medians of ${values.turns} turns`);
console.log(`| rows, inputs, outputs | ${files.map((file) => basename(file)).join(" | ")} | ratio |`);
console.log(`|---|${files.map(() => "---|").join("")}---|`);
for (const [rows, inputs, outputs] of SHAPES) {
  const factors = backends.map((backend) => {
    const x = backend.tensor(numbers(rows * inputs), rows, inputs);
    const about = { name: "w", rows: outputs, columns: inputs, storage: "float32", trainable: false };
    return { x, w: backend.weight(about, numbers(inputs * outputs)) };
  });
  const spent = backends.map(() => []);
  for (let turn = -1; turn < Number(values.turns); turn++) {
    for (const [i, backend] of backends.entries()) {
      const start = performance.now();
      for (let k = 0; k < PRODUCTS; k++) backend.free(backend.matmul(factors[i].x, factors[i].w));
      await backend.sync();
      if (turn >= 0) spent[i].push((performance.now() - start) / PRODUCTS);
    }
  }
  const speeds = spent.map((all) => ((2 * rows * inputs * outputs) / median(all) / 1e6).toFixed(1));
  const ratio = median(spent[0].map((ms, turn) => ms / spent.at(-1)[turn]));
  console.log(`| ${rows}, ${inputs}, ${outputs} | ${speeds.join(" | ")} | ${ratio.toFixed(2)} |`);
}
for (const backend of backends) await backend.close();
