import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { Backend } from "../backend.ts";
import type { Contract } from "./backend.contract.ts";
import { expectClose } from "./comparison.contract.ts";

// [T, I, O]: one row, groups of 128 cut short, every remainder of rows, several work items.
const shapes = [
  [1, 5, 3],
  [1, 448, 70],
  [2, 128, 32],
  [3, 129, 31],
  [5, 300, 65],
  [31, 256, 33],
  [34, 160, 40],
] as const;
const shapesOfBlocks = [
  [300, 140, 36],
  [70, 1100, 45],
  [257, 64, 33],
  [520, 70, 33],
] as const;

const GOLDEN = join(import.meta.dirname, "..", "..", "..", "test", "golden", "w8a8.json");

/** Products of 8-bit weights and activations: the storage w8a8. */
export function byteProductContract({ compare, open, openWithThreads, tolerance, hasBlocks }: Contract): void {
  it.each([...shapes, ...(hasBlocks ? shapesOfBlocks : [])])(
    "products of [%i,%i] and %i outputs quantise both factors as the reference does",
    async (rows, inputs, outputs) => {
      const c = compare(rows + inputs + outputs);
      const w = c.weight(outputs, inputs, { trainable: false, storage: "w8a8" });
      const [bias, gate] = [c.weight(1, outputs, { trainable: false }), await c.tensor(rows, outputs)];
      const low = c.weight(outputs, 8, { trainable: false });
      await c.sameWeight("value", w, "value", 1e-7);
      for (const wide of [false, true]) {
        const [x, residual] = [await c.tensor(rows, inputs, { wide }), await c.tensor(rows, outputs, { wide })];
        const between = await c.tensor(rows, 8, { wide: true });
        await c.same("plain", ({ backend, of }) => backend.matmul(of(x), of(w), { wide }));
        await c.same("bias, residual and scale", ({ backend, of }) =>
          backend.matmul(of(x), of(w), { bias: of(bias), residual: of(residual), scale: -0.5, wide }),
        );
        const plus = ({ of }: Parameters<Parameters<typeof c.same>[1]>[0]) => [
          { x: of(between), w: of(low), scale: 2 },
        ];
        await c.same("with an adapter", (side) =>
          side.backend.matmul(side.of(x), side.of(w), { plus: plus(side), bias: side.of(bias), wide }),
        );
        await c.sameAll("with an adapter and a gate", (side) =>
          side.backend.matmulSwiglu(side.of(gate), side.of(x), side.of(w), { plus: plus(side), bias: side.of(bias) }),
        );
      }
      await c.close();
    },
  );

  it("a rotated product is rotated after it", async () => {
    const c = compare(4);
    const w = c.weight(64, 70, { trainable: false, storage: "w8a8" });
    const x = await c.tensor(9, 70);
    const frequencies = Float32Array.from({ length: 16 }, (_, i) => 0.7 ** i);
    const rotary = { heads: 2, headWidth: 32, frequencies, layout: "halves" } as const;
    const positions = Int32Array.from({ length: 9 }, (_, t) => 3 * t);
    await c.same("rotated", ({ backend, of }) => backend.matmul(of(x), of(w), { rotary: { ...rotary, positions } }));
    await c.close();
  });

  it("whole sums are exact, also of the largest codes", async () => {
    const backend = open();
    const [rows, inputs, outputs] = [7, 300, 35];
    // Every group has its largest code, so that the scales are 1.
    const code = (i: number, row: number, most: number) => {
      if (i % 128 === 0 || row === 0) return most;
      return row === 1 ? -most : ((i * 7919 + row * 104729) % (2 * most + 1)) - most;
    };
    const x = Array.from({ length: rows * inputs }, (_, i) => code(i % inputs, Math.floor(i / inputs), 127));
    const w = Array.from({ length: outputs * inputs }, (_, i) => code(i % inputs, Math.floor(i / inputs), 64));
    const weight = backend.weight(spec(outputs, inputs), w);
    const got = await backend.read(backend.matmul(backend.tensor(x, rows, inputs), weight, { wide: true }));
    for (let row = 0; row < rows; row++) {
      for (let output = 0; output < outputs; output++) {
        let sum = 0;
        for (let i = 0; i < inputs; i++) sum += x[row * inputs + i] * w[output * inputs + i];
        expect(got[row * outputs + output], `[${row},${output}]`).toBe(sum);
      }
    }
    await backend.close();
  });

  it("rows of zeros and of the smallest numbers give the bias, a row with NaN or infinity gives NaN and no other row does", async () => {
    const backend = open();
    const [rows, inputs, outputs] = [6, 130, 33];
    const weight = backend.weight(spec(outputs, inputs), numbers(outputs * inputs, 1));
    const bias = backend.weight({ ...spec(1, outputs), name: "b" }, numbers(outputs, 2));
    const values = Float32Array.from(numbers(rows * inputs, 3));
    values.fill(0, 0, inputs);
    values.fill(1e-38, inputs, 2 * inputs);
    values[2 * inputs + 129] = Number.NaN;
    values[3 * inputs] = Number.NEGATIVE_INFINITY;
    values.fill(1e30, 4 * inputs, 5 * inputs);
    const x = backend.tensor(values, rows, inputs, { wide: true });
    const got = await backend.read(backend.matmul(x, weight, { bias, wide: true }));
    const row = (index: number) => Array.from(got.subarray(index * outputs, (index + 1) * outputs));
    const expected = Array.from(await backend.readWeight(bias));
    expect(row(0)).toEqual(expected);
    expect(row(1)).toEqual(expected);
    for (const broken of [2, 3]) expect(row(broken).every(Number.isNaN)).toBe(true);
    for (const whole of [4, 5]) expect(row(whole).every(Number.isFinite)).toBe(true);
    await backend.close();
  });

  it("agrees with numpy", async () => {
    const { x, w, y, rows, inputs, outputs } = JSON.parse(readFileSync(GOLDEN, "utf8"));
    const backend = open();
    const weight = backend.weight(spec(outputs, inputs), w);
    const got = backend.matmul(backend.tensor(x, rows, inputs, { wide: true }), weight, { wide: true });
    expectClose("product", await backend.read(got), Float32Array.from(y), outputs, 1e-6);
    await backend.close();
  });

  it("loses what 8 bits lose, and needs a byte and a sixteenth for a number", async () => {
    const backend = open();
    const [rows, inputs, outputs] = [20, 512, 96];
    const [x, w] = [numbers(rows * inputs, 4), numbers(outputs * inputs, 5)];
    const tensor = backend.tensor(x, rows, inputs);
    const exact = backend.weight({ ...spec(outputs, inputs), storage: "float32" }, w);
    const before = backend.memory().bytes;
    const bytes = backend.weight(spec(outputs, inputs), w);
    if (backend.name === "native") expect((backend.memory().bytes - before) / w.length).toBe(1.0625);
    const [got, expected] = await Promise.all(
      [bytes, exact].map((weight) => backend.read(backend.matmul(tensor, weight, { wide: true }))),
    );
    const error = Math.hypot(...got.map((value, i) => value - expected[i])) / Math.hypot(...expected);
    expect(error).toBeGreaterThan(0.008);
    expect(error).toBeLessThan(0.018);
    await backend.close();
  });

  it("a number that is none stays visible in the weight, new values replace it, a vector keeps its values", async () => {
    const backend = open();
    const values = Float32Array.from(numbers(3 * 140, 7));
    values[150] = Number.POSITIVE_INFINITY;
    const weight = backend.weight(spec(3, 140), values);
    expect(Number.isFinite((await backend.readWeight(weight))[150])).toBe(false);
    backend.writeWeight(weight, new Float32Array(values.length));
    expect(Array.from(await backend.readWeight(weight)).every((value) => value === 0)).toBe(true);
    const vector = backend.weight(spec(1, 140), values.subarray(0, 140));
    expect(Float32Array.from(await backend.readWeight(vector))).toEqual(values.subarray(0, 140));
    await backend.close();
  });

  it("has products forward only", async () => {
    const backend = open();
    const [weight, plain] = [backend.weight(spec(6, 40)), backend.weight({ ...spec(6, 40), storage: "float32" })];
    const dy = backend.zeros(2, 6);
    const message = /weight "w" is kept as w8a8, expected a storage with products backward/;
    expect(() => backend.matmulBackwardInput(dy, weight)).toThrow(message);
    expect(() => backend.matmulBackwardInput(dy, plain, { plus: [{ x: dy, w: weight }] })).toThrow(message);
    expect(() => backend.weight({ ...spec(6, 40), trainable: true })).toThrow(/cannot be kept as w8a8/);
    await backend.close();
  });

  it.skipIf(!openWithThreads)("gives the same bits with any number of threads", async () => {
    const results = [];
    for (const threads of [1, 2, 3]) {
      const backend = (openWithThreads as (threads: number) => Backend)(threads);
      const weight = backend.weight(spec(100, 260), numbers(100 * 260, 8));
      results.push(await backend.read(backend.matmul(backend.tensor(numbers(290 * 260, 9), 290, 260), weight)));
      await backend.close();
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });

  it("gives a row the same bits among few and among many rows", async () => {
    const backend = open();
    const [inputs, outputs] = [420, 70];
    // Scales of full precision: groups of numbers that need all bits of a float32.
    const weight = backend.weight(spec(outputs, inputs), numbers(outputs * inputs, 12));
    const values = numbers(70 * inputs, 13);
    const product = async (rows: number) => {
      const x = backend.tensor(values.slice(0, rows * inputs), rows, inputs, { wide: true });
      return backend.read(backend.matmul(x, weight, { wide: true }));
    };
    const many = await product(70);
    for (const rows of [1, 2, 8, 9, 33])
      expect(await product(rows), `${rows} rows`).toEqual(many.slice(0, rows * outputs));
    await backend.close();
  });

  it("is within its tolerance of the sums of what was kept", async () => {
    // The reference quantises in the same way; that this way is a product at all is shown against the weight's own values.
    const c = compare(11);
    const w = c.weight(40, 256, { trainable: false, storage: "w8a8" });
    const x = await c.tensor(6, 256);
    const [got, kept] = [
      await c.subject.read(c.subject.matmul(x.subject, w.subject)),
      await c.subject.readWeight(w.subject),
    ];
    const values = await c.subject.read(x.subject);
    const expected = Float64Array.from({ length: 240 }, (_, at) => {
      let sum = 0;
      for (let i = 0; i < 256; i++) sum += values[Math.floor(at / 40) * 256 + i] * kept[(at % 40) * 256 + i];
      return sum;
    });
    expectClose("product", got, expected, 40, 0.02 + tolerance);
    await c.close();
  });
}

const spec = (rows: number, columns: number) =>
  ({ name: "w", rows, columns, storage: "w8a8", trainable: false }) as const;

/** Numbers from −1 to 1 that every precision keeps nearly. */
function numbers(count: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(state / 2 ** 31 - 1);
  });
}
