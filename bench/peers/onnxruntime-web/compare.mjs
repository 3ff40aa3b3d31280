/**
 * Products in WebAssembly: ours against onnxruntime-web, in turns in one process. Both run the same chain of products of base-zh's shapes,
 * [rows, 448] · [448, 1216] · [1216, 448] · …, so that the copies of the first input and the last output count little.
 *
 * usage: npm run build && cd bench/peers/onnxruntime-web && npm install && node compare.mjs [--threads 2] [--rows 1024] [--turns 15]
 */
import * as ort from "onnxruntime-web";
import { openWasm } from "../../../dist/compute/wasm/open.js";

const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
const [threads, rows, turns] = [option("threads", 2), option("rows", 1024), option("turns", 15)];
const WIDTHS = [448, 1216, 448, 1216, 448, 1216, 448, 1216, 448];
const layers = WIDTHS.slice(1).map((outputs, i) => ({ inputs: WIDTHS[i], outputs }));
const flops = layers.reduce((sum, { inputs, outputs }) => sum + 2 * rows * inputs * outputs, 0);

let state = 1;
const randoms = (count, spread) =>
  Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state / 2 ** 31) * spread;
  });
const x = randoms(rows * WIDTHS[0], 1);
/** [inputs, outputs], row-major. */
const weights = layers.map(({ inputs, outputs }) => randoms(inputs * outputs, (3 / inputs) ** 0.5));

// ---- the model as ONNX's protocol buffer: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

const varint = (value) => {
  const bytes = [];
  let left = value;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) | 128);
  return Buffer.from([...bytes, left]);
};
const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field, value) => {
  const content = Buffer.isBuffer(value) ? value : Buffer.from(value);
  return Buffer.concat([varint(field * 8 + 2), varint(content.length), content]);
};
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));
const FLOAT = 1;
const valueInfo = (field, name, dims) => {
  const shape = message(2, ...dims.map((dim) => message(1, number(1, dim))));
  return message(field, bytes(1, name), message(2, message(1, number(1, FLOAT), shape)));
};
const nodes = layers.map((_, i) =>
  message(1, bytes(1, `x${i}`), bytes(1, `w${i}`), bytes(2, `x${i + 1}`), bytes(4, "MatMul")),
);
const initializers = layers.map(({ inputs, outputs }, i) => {
  const raw = Buffer.from(weights[i].buffer);
  return message(5, number(1, inputs), number(1, outputs), number(2, FLOAT), bytes(8, `w${i}`), bytes(9, raw));
});
const graph = message(
  7,
  ...nodes,
  bytes(2, "chain"),
  ...initializers,
  valueInfo(11, "x0", [rows, WIDTHS[0]]),
  valueInfo(12, `x${layers.length}`, [rows, WIDTHS[layers.length]]),
);
const model = Buffer.concat([number(1, 8), message(8, number(2, 17)), graph]);

// ---- both sides

ort.env.wasm.numThreads = threads;
const session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
const input = new ort.Tensor("float32", x, [rows, WIDTHS[0]]);
const runTheirs = async () => (await session.run({ x0: input }))[`x${layers.length}`].data;

const backend = openWasm({ threads });
const ws = layers.map(({ inputs, outputs }, i) => {
  const transposed = new Float32Array(inputs * outputs);
  for (let o = 0; o < outputs; o++)
    for (let k = 0; k < inputs; k++) transposed[o * inputs + k] = weights[i][k * outputs + o];
  return backend.weight(
    { name: `w${i}`, rows: outputs, columns: inputs, storage: "float32", trainable: false },
    transposed,
  );
});
const runOurs = async () => {
  let at = backend.tensor(x, rows, WIDTHS[0]);
  for (const w of ws) {
    const next = backend.matmul(at, w);
    backend.free(at);
    at = next;
  }
  const values = await backend.read(at);
  backend.free(at);
  return values;
};

const [theirs, ours] = [await runTheirs(), await runOurs()];
const largest = theirs.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const worst = theirs.reduce((most, value, i) => Math.max(most, Math.abs(value - ours[i])), 0);
if (!(worst <= 1e-4 * largest)) throw new Error(`results differ by ${worst} of ${largest}`);

const speeds = { "onnxruntime-web": [], ours: [] };
const time = async (name, run) => {
  const started = performance.now();
  await run();
  speeds[name].push(flops / (performance.now() - started) / 1e6);
};
for (let warm = 0; warm < 5; warm++) {
  await runTheirs();
  await runOurs();
}
for (let turn = 0; turn < turns; turn++) {
  const both = [() => time("ours", runOurs), () => time("onnxruntime-web", runTheirs)];
  for (const one of turn % 2 === 0 ? both : both.reverse()) await one();
}
await backend.close();
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
for (const [name, values] of Object.entries(speeds)) {
  const { length } = values;
  console.log(
    `${name}: median ${median(values).toFixed(0)} GFLOP/s, best ${Math.max(...values).toFixed(0)} of ${length}`,
  );
}
const ratios = speeds.ours.map((speed, i) => speed / speeds["onnxruntime-web"][i]);
console.log(`ours / theirs within a turn: median ${median(ratios).toFixed(2)}; ${threads} threads, ${rows} rows`);
process.exit(0);
