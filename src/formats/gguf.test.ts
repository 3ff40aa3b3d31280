import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { openGguf } from "./gguf.ts";
import type { GgufWriteType } from "./gguf-blocks.ts";
import { writeGguf } from "./gguf-write.ts";

// Blocks and their values by the gguf package (test/golden/make/gguf_types.py, gguf 0.19.0).
const GOLDEN = join(import.meta.dirname, "..", "..", "test", "golden", "formats", "types.gguf");
const folder = mkdtempSync(join(tmpdir(), "cre-gguf-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function attempt(bytes: Uint8Array): Promise<unknown> {
  const file = join(folder, "attempt.gguf");
  writeFileSync(file, bytes);
  try {
    const gguf = await openGguf(file);
    try {
      for (const name of gguf.tensors.keys()) await gguf.read(name);
    } finally {
      await gguf.close();
    }
    return null;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error;
  }
}

const uint32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const uint64 = (value: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};
const text = (value: string) => Buffer.concat([uint64(BigInt(value.length)), Buffer.from(value)]);
const start = (tensors: bigint, keys: bigint) => [Buffer.from("GGUF"), uint32(3), uint64(tensors), uint64(keys)];

describe("openGguf", () => {
  const whole = readFileSync(GOLDEN);

  it("reads metadata of every type", async () => {
    const { metadata, close } = await openGguf(GOLDEN);
    await close();
    expect(Object.fromEntries(metadata)).toEqual({
      "general.architecture": "test",
      "a.uint8": 200,
      "a.int8": -100,
      "a.uint16": 60_000,
      "a.int16": -30_000,
      "a.uint32": 4_000_000_000,
      "a.int32": -2_000_000_000,
      "a.float32": 0.25,
      "a.bool": true,
      "a.string": "关系",
      "a.uint64": 2n ** 63n + 1n,
      "a.int64": -(2 ** 40),
      "a.float64": 0.1,
      "a.texts": ["甲", "", "乙"],
      "a.numbers": [1, -2, 3],
      "a.floats": [0.5, -0.25],
      "a.flags": [true, false],
    });
  });

  it.each(["Q8_0", "Q4_0", "Q5_0", "Q4_K", "Q5_K", "Q6_K"])("expands %s as ggml does, to the bit", async (type) => {
    const gguf = await openGguf(GOLDEN);
    expect(gguf.tensors.get(type)).toMatchObject({ dtype: type, shape: [3, 512] });
    const [got, wanted] = [await gguf.read(type), await gguf.read(`${type}_float32`)];
    await gguf.close();
    expect(wanted).toHaveLength(1536);
    // As numbers: a zero may have either sign.
    const wrong = got.findIndex((value, i) => value !== wanted[i]);
    expect(wrong < 0 ? "same" : `element ${wrong}: ${got[wrong]}, expected ${wanted[wrong]}`).toBe("same");
  });

  it("is refused when cut anywhere in its header or data", async () => {
    for (let length = 0; length < whole.length - 32; length += length < 2500 ? 7 : 997) {
      expect(await attempt(whole.subarray(0, length))).toBeInstanceOf(UserError);
    }
  });

  it("is refused or read, whatever bytes were changed", async () => {
    const change = fc.tuple(fc.nat(2500), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of changes) bytes[at] = value;
        await attempt(bytes);
      }),
      { numRuns: 400 },
    );
  });

  const tensor = (name: string, sizes: bigint[], code: number, offset: bigint) =>
    Buffer.concat([text(name), uint32(sizes.length), ...sizes.map(uint64), uint32(code), uint64(offset)]);
  const array = (...type: number[]) => [text("k"), uint32(9), ...type.map(uint32)];
  const data = Buffer.alloc(256);

  it.each<[string, Buffer[]]>([
    ['does not begin with "GGUF"', [Buffer.from("GGML"), data]],
    ["is GGUF version 1, expected version 2 or 3", [Buffer.from("GGUF"), uint32(1), data]],
    ["is a big-endian GGUF file", [Buffer.from("GGUF"), uint32(0x03000000), data]],
    ["the number of tensors is 18446744073709551615, expected at most 100000", start(2n ** 64n - 1n, 0n)],
    ["the number of metadata entries is 1000000, expected at most 10000", start(0n, 1_000_000n)],
    ["the length of a metadata key is 1099511627776, expected", [...start(0n, 1n), uint64(1n << 40n), data]],
    ['"k" has a value of type 13, expected 0 to 12', [...start(0n, 1n), text("k"), uint32(13), data]],
    [
      "bytes are needed, the file has",
      // 5,000 texts, of which only the first 1,024 are kept, and the last one is longer than the file.
      [...start(0n, 1n), ...array(8), uint64(5000n), Buffer.alloc(8 * 4999), uint64(300n), data],
    ],
    ["items, the file has", [...start(0n, 1n), ...array(10), uint64(1000n), data]],
    ["expected at most 8000000", [...start(0n, 1n), ...array(0), uint64(1n << 50n), data]],
    [
      "is nested deeper than 4 arrays",
      [
        ...start(0n, 1n),
        ...array(9),
        uint64(1n),
        ...Array.from({ length: 5 }, () => [uint32(9), uint64(1n)]).flat(),
        data,
      ],
    ],
    ['the metadata has "k" twice', [...start(0n, 2n), text("k"), uint32(0), Buffer.alloc(1), text("k"), data]],
    ['"general.alignment" is 24', [...start(0n, 1n), text("general.alignment"), uint32(4), uint32(24), data]],
    ['"t" has 5 dimensions', [...start(1n, 0n), tensor("t", [1n, 1n, 1n, 1n, 1n], 0, 0n), data]],
    ['"t" has element type Q2_K, expected one of F32', [...start(1n, 0n), tensor("t", [256n], 10, 0n), data]],
    ['"t" has element type number 77', [...start(1n, 0n), tensor("t", [256n], 77, 0n), data]],
    ["has sizes [0], expected sizes from 1 up", [...start(1n, 0n), tensor("t", [0n], 0, 0n), data]],
    ["expected sizes from 1 up", [...start(1n, 0n), tensor("t", [1n << 40n, 1n << 40n], 0, 0n), data]],
    ["has rows of 33 elements, Q8_0 needs 32s", [...start(1n, 0n), tensor("t", [33n], 8, 0n), data]],
    ["begins at byte 4 of the data, expected a multiple of 32", [...start(1n, 0n), tensor("t", [1n], 0, 4n), data]],
    ['"t" ends at byte', [...start(1n, 0n), tensor("t", [1000n], 0, 0n), data]],
    ['"t" occurs twice', [...start(2n, 0n), tensor("t", [1n], 0, 0n), tensor("t", [1n], 0, 32n), data]],
    ['"t" and "u" overlap', [...start(2n, 0n), tensor("t", [9n], 0, 0n), tensor("u", [1n], 0, 32n), data]],
  ])("says: %s", async (message, parts) => {
    const error = await attempt(Buffer.concat(parts));
    expect((error as UserError | null)?.message).toContain(message);
  });
});

describe("writeGguf", () => {
  const golden = async (name: string) => {
    const gguf = await openGguf(GOLDEN);
    try {
      return await gguf.read(name);
    } finally {
      await gguf.close();
    }
  };

  it.each<GgufWriteType>(["F16", "BF16", "Q8_0"])("encodes %s as the gguf package does, to the bit", async (type) => {
    const file = join(folder, `${type}.gguf`);
    const values = await golden("values");
    await writeGguf(file, [], [{ name: "t", type, shape: [2, 64], values: async () => values }]);
    const written = await openGguf(file);
    expect(written.tensors.get("t")).toMatchObject({ dtype: type, shape: [2, 64] });
    expect(Array.from(await written.read("t"))).toEqual(Array.from(await golden(`values_${type}`)));
    await written.close();
  });

  it("writes what it reads", async () => {
    const file = join(folder, "round.gguf");
    const one = { name: "one", type: "F32" as const, shape: [3], values: async () => [1, 2, 3] };
    const two = { name: "two", type: "F32" as const, shape: [2, 2], values: async () => [4, 5, 6, 7] };
    const fields = [
      { key: "t", type: "string" as const, value: "中" },
      { key: "l", type: "string" as const, value: ["a", "b"] },
      { key: "u", type: "uint32" as const, value: 7 },
      { key: "i", type: "int32" as const, value: [-1, 2] },
      { key: "f", type: "float32" as const, value: Float32Array.of(0.5) },
      { key: "b", type: "bool" as const, value: true },
    ];
    await writeGguf(file, fields, [one, two]);
    const gguf = await openGguf(file);
    expect(Object.fromEntries(gguf.metadata)).toEqual({ t: "中", l: ["a", "b"], u: 7, i: [-1, 2], f: [0.5], b: true });
    expect(Array.from(await gguf.read("one"))).toEqual([1, 2, 3]);
    expect(Array.from(await gguf.read("two"))).toEqual([4, 5, 6, 7]);
    await gguf.close();
  });

  it("refuses what a file cannot hold", async () => {
    const file = join(folder, "no.gguf");
    const one = { name: "one", type: "Q8_0" as const, shape: [33], values: async () => new Float32Array(33) };
    await expect(writeGguf(file, [], [one])).rejects.toThrow('"one" has rows of 33 elements, Q8_0 needs 32s.');
    const long = { ...one, name: "n".repeat(64), shape: [32] };
    await expect(writeGguf(file, [], [long])).rejects.toThrow(/has more than 63 bytes/);
    await expect(writeGguf(file, [], [{ ...one, shape: [64] }])).rejects.toThrow(/has 33 values, expected \[64\]/);
    await expect(writeGguf(file, [{ key: "k", type: "bool", value: 3 }], [])).rejects.toThrow(
      /number cannot be written/,
    );
  });
});

describe("an array of the header", () => {
  it("is passed over after its first 262,144 items, of any type and length", async () => {
    const file = join(folder, "arrays.gguf");
    const texts = Array.from({ length: 3000 }, (_, i) => `t${i}`);
    const numbers = Array.from({ length: 2_000_000 }, (_, i) => i);
    const fields = [
      { key: "texts", type: "string", value: texts },
      { key: "numbers", type: "int32", value: numbers },
      { key: "last", type: "uint32", value: 7 },
    ] as const;
    await writeGguf(file, fields, []);
    const started = performance.now();
    const { metadata, close } = await openGguf(file);
    await close();
    expect(performance.now() - started).toBeLessThan(1500);
    expect(metadata.get("texts")).toEqual(texts);
    expect(metadata.get("numbers")).toEqual(numbers.slice(0, 1 << 18));
    expect(metadata.get("last")).toBe(7);
  });

  const [TEXT, ARRAY] = [8, 9];
  const textsOf = (count: number) => Buffer.concat([uint32(TEXT), uint64(BigInt(count)), Buffer.alloc(8 * count)]);
  it.each<[string, number, Buffer]>([
    ["7.9 million texts", TEXT, Buffer.alloc(8)],
    ["3.9 million lists of one text", ARRAY, textsOf(1)],
    ["30 lists of 262,144 texts", ARRAY, textsOf(262_144)],
  ])("is read in less than two seconds of processor time: %s", async (name, type, item) => {
    const count = item.length === 8 ? 7_900_000 : item.length === 20 ? 3_900_000 : 30;
    const file = join(folder, "many.gguf");
    const head = [...start(0n, 1n), text("k"), uint32(ARRAY), uint32(type), uint64(BigInt(count))];
    writeFileSync(file, Buffer.concat([...head, Buffer.alloc(item.length * count, item)]));
    const before = process.cpuUsage();
    const { metadata, close } = await openGguf(file);
    await close();
    const { user, system } = process.cpuUsage(before);
    expect((metadata.get("k") as unknown[]).length).toBe(Math.min(count, 1 << 18));
    console.info(`${name}: ${Math.round((user + system) / 1000)} ms of processor time`);
    expect((user + system) / 1e6).toBeLessThan(2);
  });
});
