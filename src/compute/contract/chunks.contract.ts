import { expect, it } from "vitest";
import { createRandom } from "../../base/random.ts";
import { decodeElements, encodeElements } from "../../formats/tensor-source.ts";
import type { RawMatrix, RawType, WeightSpec } from "../backend.ts";
import type { Contract } from "./backend.contract.ts";
import { expectSameBits } from "./comparison.contract.ts";

const types = ["F32", "F16", "BF16"] as const;
const storages = ["float32", "bfloat16", "int8", "nf4"] as const;

/** Raw elements at an odd address. */
function elements(type: RawType, count: number, seed: number): Uint8Array {
  const random = createRandom(seed);
  const encoded = encodeElements(
    Float32Array.from({ length: count }, () => random.normal() * 0.02),
    type,
  );
  const shifted = new Uint8Array(encoded.length + 1).subarray(1);
  shifted.set(encoded);
  return shifted;
}

/** The rows in chunks, from two alternating buffers as files are read: each chunk is overwritten as early as the contract allows. */
async function* inChunks(bytes: Uint8Array, rows: number, chunkRows: readonly number[]): AsyncGenerator<Uint8Array> {
  const rowBytes = bytes.length / rows;
  const buffers = [0, 1].map(() => new Uint8Array(rows * rowBytes));
  let start = 0;
  for (const [i, count] of chunkRows.entries()) {
    const buffer = buffers[i % 2].fill(0xff);
    buffer.set(bytes.subarray(start * rowBytes, (start + count) * rowBytes));
    start += count;
    yield buffer.subarray(0, count * rowBytes);
  }
}

const normalizedRows = (values: Float32Array, columns: number): Float32Array =>
  values.map((value, i) => {
    const row = values.subarray(i - (i % columns), i - (i % columns) + columns);
    return value / Math.sqrt(row.reduce((sum, other) => sum + other * other, 0));
  });

/** A weight from chunks of rows equals the weight from the same values. */
export function chunkContract({ open }: Contract): void {
  const spec = (rows: number, columns: number, rest: Partial<WeightSpec> = {}): WeightSpec => ({
    ...{ name: "w", rows, columns, storage: "bfloat16", trainable: false },
    ...rest,
  });

  it.each(types)("%s rows in chunks of any size give the weight of their values, in every storage", async (type) => {
    const backend = open();
    for (const storage of storages) {
      for (const [rows, columns, ...chunkRows] of [
        [100, 70, 64, 32, 4],
        [96, 33, 32, 64],
        [5, 200, 5],
        [32, 32, 32],
        [70, 577, 32, 32, 6],
      ]) {
        const bytes = elements(type, rows * columns, rows);
        const made = spec(rows, columns, { storage });
        const weight = await backend.weightFromChunks(made, { type, chunks: inChunks(bytes, rows, chunkRows) });
        const expected = backend.weight(made, decodeElements(bytes, type));
        expect(weight).toMatchObject(made);
        const what = `${storage} [${rows},${columns}]`;
        expectSameBits(what, await backend.readWeight(weight), await backend.readWeight(expected));
        const x = backend.tensor(decodeElements(elements("F32", 3 * columns, 2), "F32"), 3, columns);
        const products = [backend.matmul(x, weight), backend.matmul(x, expected)];
        expectSameBits(`${what}, a product`, await backend.read(products[0]), await backend.read(products[1]));
      }
    }
    await backend.close();
  });

  it("trainable weights and vectors too", async () => {
    const backend = open();
    for (const made of [spec(70, 40, { trainable: true }), spec(1, 70), spec(40, 70, { storage: "float32" })]) {
      const bytes = elements("BF16", made.rows * made.columns, 4);
      const chunkRows = made.rows > 32 ? [32, made.rows - 32] : [made.rows];
      const weight = await backend.weightFromChunks(made, {
        type: "BF16",
        chunks: inChunks(bytes, made.rows, chunkRows),
      });
      const expected = backend.weight(made, decodeElements(bytes, "BF16"));
      expect(await backend.readWeight(weight)).toEqual(await backend.readWeight(expected));
      if (made.trainable) {
        const moment = Array.from(await backend.readWeight(weight, "moment1"));
        expect(moment.every((value) => value === 0)).toBe(true);
      }
    }
    await backend.close();
  });

  it("numbers at the edges of float16 and bfloat16 keep their value", async () => {
    const backend = open();
    for (const type of ["F16", "BF16"] as const) {
      const words = Uint16Array.of(
        0x0000,
        0x8000,
        0x0001,
        0x83ff,
        0x0400,
        0x7bff,
        0x3c00,
        0x7c00,
        0xfc00,
        0x7e00,
        0x3555,
      );
      const bytes = new Uint8Array(words.buffer);
      const vector = await backend.weightFromChunks(spec(1, words.length), { type, chunks: inChunks(bytes, 1, [1]) });
      expect(Array.from(await backend.readWeight(vector))).toEqual(Array.from(decodeElements(bytes, type)));
    }
    await backend.close();
  });

  it("rows are divided by their length with `normalized`", async () => {
    const backend = open();
    for (const storage of ["float32", "bfloat16", "nf4"] as const) {
      const [rows, columns] = [70, 100];
      const bytes = elements("BF16", rows * columns, 5);
      bytes.fill(0, 200, 400);
      const matrix: RawMatrix = { type: "BF16", chunks: inChunks(bytes, rows, [32, 38]), normalized: true };
      const weight = await backend.weightFromChunks(spec(rows, columns, { storage }), matrix);
      const values = normalizedRows(decodeElements(bytes, "BF16"), columns).map((value) => value || 0);
      const expected = backend.weight(spec(rows, columns, { storage }), values);
      expect(await backend.readWeight(weight)).toEqual(await backend.readWeight(expected));
    }
    await backend.close();
  });

  it("wrong chunks are refused, and nothing remains of them", async () => {
    const backend = open();
    const bytes = elements("F32", 70 * 10, 6);
    const before = backend.memory();
    const matrix = (chunkRows: number[]): RawMatrix => ({ type: "F32", chunks: inChunks(bytes, 70, chunkRows) });
    const refused = async (chunkRows: number[], message: string) =>
      expect(backend.weightFromChunks(spec(70, 10, { storage: "nf4" }), matrix(chunkRows))).rejects.toThrow(message);
    await refused([32, 32], 'weightFromChunks: "w" [70,10] got 64 of its rows.');
    await refused([32, 16, 22], "gets a chunk of 16 rows, expected a multiple of 32 before the last chunk.");
    await refused([64, 32], "gets 1280 bytes after 64 rows, expected rows of 40 bytes up to row 70.");
    await refused([], "got 0 of its rows");
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 32 * 40);
      yield bytes.subarray(0, 32 * 40);
      throw new Error("the disk is gone");
    }
    const failing = backend.weightFromChunks(spec(70, 10, { storage: "nf4" }), { type: "F32", chunks: broken() });
    await expect(failing).rejects.toThrow("the disk is gone");
    const half = { type: "F32", chunks: inChunks(bytes.subarray(0, 1002), 1, [1]) } as const;
    await expect(backend.weightFromChunks(spec(70, 10), half)).rejects.toThrow("gets 1002 bytes after 0 rows");
    const trained = backend.weightFromChunks(spec(70, 10, { storage: "int8", trainable: true }), matrix([70]));
    await expect(trained).rejects.toThrow("cannot be kept as int8");
    await backend.sync();
    expect(backend.memory()).toMatchObject({ bytes: before.bytes, weights: before.weights });
    await backend.close();
  });
}
