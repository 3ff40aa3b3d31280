import { mkdtempSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { openGguf } from "./gguf.ts";
import { openHuggingFaceFolder, saveHuggingFaceFolder } from "./hf-folder.ts";
import { openPytorchBin } from "./pytorch-bin.ts";
import { createChunkBuffers, rowsOfValues } from "./row-chunks.ts";
import { openSafetensors, writeSafetensors } from "./safetensors.ts";
import { decodeElements, encodeElements, type TensorDtype, type TensorRows } from "./tensor-source.ts";

const GOLDEN = join(import.meta.dirname, "..", "..", "test", "golden", "formats");
const folder = mkdtempSync(join(tmpdir(), "cre-rows-"));
afterAll(() => rmSync(folder, { recursive: true }));

function randomValues(count: number): Float32Array {
  const random = createRandom(count);
  return Float32Array.from({ length: count }, () => random.uniform() - 0.5);
}

/** All bytes of the chunks, and the rows of each chunk. */
async function gather(rows: TensorRows | null | undefined, start: number, end: number, rowBytes: number) {
  const parts: Buffer[] = [];
  const memory = new Set<ArrayBufferLike>();
  for await (const chunk of (rows as TensorRows).chunks(start, end, createChunkBuffers())) {
    parts.push(Buffer.from(chunk));
    memory.add(chunk.buffer);
  }
  return { bytes: Buffer.concat(parts), rows: parts.map(({ length }) => length / rowBytes), buffers: memory.size };
}

describe("rows of a file", () => {
  it.each([
    ["BF16", 4096],
    ["F16", 4096],
    ["F32", 2048],
  ] as const)("%s come in chunks that fit together, in two buffers", async (dtype, chunkRows) => {
    const [count, columns] = [9000, 512];
    const values = randomValues(count * columns);
    const file = join(folder, `${dtype}.safetensors`);
    const tensor = (name: string, shape: number[]) => ({ name, dtype, shape, values: async () => values });
    await writeSafetensors(file, [tensor("w", [count, columns]), tensor("flat", [count * columns])]);
    const source = await openSafetensors(file);
    const bytes = Buffer.from(encodeElements(values, dtype));
    const rowBytes = bytes.length / count;
    const whole = await gather(source.rows?.("w"), 0, count, rowBytes);
    expect(source.rows?.("w")?.dtype).toBe(dtype);
    expect(whole.bytes.equals(bytes)).toBe(true);
    expect(whole.buffers).toBe(2);
    expect(whole.rows.slice(0, 2)).toEqual([chunkRows, chunkRows]);
    const part = await gather(source.rows?.("w"), 37, 8000, rowBytes);
    expect(part.bytes.equals(bytes.subarray(37 * rowBytes, 8000 * rowBytes))).toBe(true);
    expect(part.rows.slice(0, -1).every((rows) => rows % 32 === 0)).toBe(true);
    expect(source.rows?.("flat")).toBeNull();
    expect(source.rows?.("nothing")).toBeNull();
    truncateSync(file, 1000);
    await expect(gather(source.rows?.("w"), 0, 32, rowBytes)).rejects.toThrow(`${file}: ends at byte 1000, expected `);
    await source.close();
  });

  it("a row wider than a chunk comes with 31 others", async () => {
    const columns = 100_000;
    const rows = rowsOfValues(new Float32Array(70 * columns).fill(1), columns);
    expect((await gather(rows, 0, 70, 4 * columns)).rows).toEqual([32, 32, 6]);
  });

  it("come from the shard that has them", async () => {
    const values = randomValues(24);
    const make = (name: string, dtype: TensorDtype) => ({ name, dtype, shape: [6, 4], values: async () => values });
    const directory = join(folder, "shards");
    await saveHuggingFaceFolder(directory, {}, [make("a", "F32"), make("b", "BF16")], { maxShardBytes: 96 });
    const { source } = await openHuggingFaceFolder(directory);
    for (const name of ["a", "b"]) {
      const rows = source.rows?.(name) as TensorRows;
      const { bytes } = await gather(rows, 0, 6, 1);
      expect(decodeElements(bytes, rows.dtype)).toEqual(await source.read(name));
    }
    expect(source.rows?.("c")).toBeNull();
    await source.close();
  });

  it("come from a GGUF file in every type, blocks as numbers", async () => {
    const source = await openGguf(join(GOLDEN, "types.gguf"));
    const dtypes = new Set<string>();
    for (const [name, { dtype, shape }] of source.tensors) {
      const rows = source.rows?.(name);
      if (shape.length !== 2) expect(rows).toBeNull();
      if (!rows) continue;
      dtypes.add(dtype);
      const { bytes } = await gather(rows, 1, shape[0], 1);
      expect(decodeElements(bytes, rows.dtype)).toEqual((await source.read(name)).slice(shape[1]));
    }
    expect([...dtypes].sort()).toEqual(["BF16", "F16", "F32", "Q4_0", "Q4_K", "Q5_0", "Q5_K", "Q6_K", "Q8_0"]);
    await source.close();
  });

  it("come from a PyTorch file where they are in order", async () => {
    const source = await openPytorchBin(join(GOLDEN, "protocol-2.bin"));
    for (const name of ["rows", "half", "brain", "columns_dense"]) {
      const rows = source.rows?.(name) as TensorRows;
      const [count, columns] = source.tensors.get(name)?.shape ?? [];
      const { bytes } = await gather(rows, 1, count, 1);
      expect(decodeElements(bytes, rows.dtype)).toEqual((await source.read(name)).slice(columns));
    }
    for (const name of ["columns", "part", "cube", "scalar", "nothing"]) expect(source.rows?.(name)).toBeNull();
    await source.close();
  });
});
