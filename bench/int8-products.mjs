/**
 * Products with 8-bit weights and activations against products in float32, in turns: node bench/int8-products.mjs
 * Prints 10⁹ operations for a second of processor time (the best of five rounds), which other programs on the machine change little. One thread.
 */

import { createRandom } from "../dist/base/random.js";
import { openNative } from "../dist/compute/native/open.js";
import { byteInstructions } from "../dist/compute/open.js";

/** [rows, inputs, outputs]: the base model's, and Llama-2-7B's. */
const SHAPES = [
  [1024, 448, 448],
  [1024, 448, 1216],
  [1024, 1216, 448],
  [64, 4096, 4096],
  [256, 4096, 11008],
  [256, 11008, 4096],
  [1, 4096, 4096],
];
const ROUNDS = 5;
/** Multiplications of a round, at least. */
const ROUND = 1.5e9;

const backend = openNative({ threads: 1 });
console.log(`${backend.description}; 8-bit products: ${byteInstructions()}`);
console.log("rows  inputs  outputs  float  int8  ratio");
const random = createRandom(1);
const numbers = (count) => Float32Array.from({ length: count }, () => random.uniform() - 0.5);

for (const [rows, inputs, outputs] of SHAPES) {
  const values = numbers(inputs * outputs);
  const spec = { name: "w", rows: outputs, columns: inputs, trainable: false };
  const weights = ["float32", "w8a8"].map((storage) => backend.weight({ ...spec, storage }, values));
  const x = backend.tensor(numbers(rows * inputs), rows, inputs);
  const count = Math.max(1, Math.round(ROUND / (rows * inputs * outputs)));
  const best = [0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, w] of weights.entries()) {
      await backend.sync();
      const usage = process.cpuUsage();
      for (let n = 0; n < count; n++) backend.free(backend.matmul(x, w));
      await backend.sync();
      const { user, system } = process.cpuUsage(usage);
      best[i] = Math.max(best[i], (2 * rows * inputs * outputs * count) / (user + system) / 1e3);
    }
  }
  const [float, int8] = best;
  console.log([rows, inputs, outputs, float.toFixed(1), int8.toFixed(1), (int8 / float).toFixed(2)].join("  "));
  for (const w of weights) backend.freeWeight(w);
  backend.free(x);
}
await backend.close();
