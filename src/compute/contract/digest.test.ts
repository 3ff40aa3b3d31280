import { expect, it } from "vitest";
import { openReference } from "../reference/backend.ts";
import { openWasm } from "../wasm/open.ts";
import { recordReads } from "./digest.contract.ts";

const taken = recordReads();

/** Reads tensors of one row, all at once, from one backend. */
async function digestOf(...rows: number[][]): Promise<string> {
  const backend = openWasm();
  const tensors = rows.map((row) => backend.tensor(row, 1, row.length, { wide: true }));
  await Promise.all(tensors.map((tensor) => backend.read(tensor)));
  await backend.close();
  const { reads, values, digest } = await taken();
  expect({ reads, values }).toEqual({ reads: rows.length, values: rows.flat().length });
  return digest;
}

it("the digest of reads differs with a bit, their order and their lengths, and with nothing else", async () => {
  const digest = await digestOf([1, 0], [3]);
  expect(await digestOf([1, 0], [3])).toBe(digest);
  const others = [await digestOf([1, -0], [3]), await digestOf([3], [1, 0]), await digestOf([1], [0, 3])];
  expect(new Set([digest, ...others]).size).toBe(4);
});

it("weights and reads that are rejected count, reads of the reference do not", async () => {
  const backend = openWasm();
  const w = backend.weight({ name: "w", rows: 2, columns: 3, storage: "float32", trainable: true });
  await backend.readWeight(w, "gradient");
  await backend.close();
  await expect(backend.readWeight(w)).rejects.toThrow("closed");
  expect(await taken()).toMatchObject({ reads: 2, values: 6 });

  const reference = openReference();
  await reference.read(reference.zeros(2, 2));
  expect(await taken()).toMatchObject({ reads: 0, values: 0 });
});
