import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { crc32, plainCrc32, sumText } from "./crc32.ts";
import { checkFolderFiles, expectFolderSums, SUMS_FILE, sumsOfTensors } from "./folder-sums.ts";
import { writeFolderSums } from "./folder-sums-write.ts";
import { createChunkBuffers } from "./row-chunks.ts";
import { openSafetensors, writeSafetensors } from "./safetensors.ts";
import { createTensorChecks } from "./tensor-checks.ts";
import type { TensorDtype, TensorSource } from "./tensor-source.ts";

const root = mkdtempSync(join(tmpdir(), "cre-checks-"));
afterAll(() => rmSync(root, { recursive: true }));

const toWrite = (name: string, shape: number[], values: ArrayLike<number>, dtype: TensorDtype = "F32") => ({
  name,
  shape,
  dtype,
  values: async () => values,
});

async function readAll(source: TensorSource): Promise<void> {
  try {
    for (const name of source.tensors.keys()) await source.read(name);
  } finally {
    await source.close();
  }
}

const errorOf = async (work: Promise<unknown>) => {
  const error = await work.catch((thrown: unknown) => thrown);
  return error instanceof UserError ? error.message : `no UserError: ${error}`;
};

describe("crc32", () => {
  it("is the CRC-32 of zlib, in one part or in two", () => {
    const bytes = Buffer.from("123456789");
    for (const sum of [crc32, plainCrc32]) {
      expect(sumText(sum(bytes))).toBe("cbf43926");
      expect(sum(bytes.subarray(4), sum(bytes.subarray(0, 4)))).toBe(0xcbf43926);
      expect(sum(new Uint8Array(0))).toBe(0);
      expect(sum(new Uint8Array(0), 7)).toBe(7);
    }
    expect(sumText(5)).toBe("00000005");
  });
});

const SINES = Float32Array.from({ length: 15 }, (_, i) => Math.sin(i));

describe("a file that carries its checksums", () => {
  const file = join(root, "state.safetensors");
  const tensors = [
    toWrite("a", [3, 5], SINES),
    toWrite("b", [7], [1, 2, 3, 4, 5, 6, 7], "BF16"),
    toWrite("empty", [0], []),
  ];

  it("has them in one entry of the metadata", async () => {
    await writeSafetensors(file, tensors, { metadata: { progress: "5" }, checksums: true });
    const opened = await openSafetensors(file);
    const { crc32: sums, ...others } = opened.metadata;
    expect(others).toEqual({ progress: "5" });
    const stored = Buffer.from(SINES.buffer);
    expect(sums.split("-").slice(1)).toEqual([
      sumText(crc32(stored)),
      expect.stringMatching(/^[0-9a-f]{8}$/),
      "00000000",
    ]);
    expect(await opened.read("b")).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6, 7));
    await readAll(opened);
  });

  it("is refused by name for every single flipped bit", async () => {
    await writeSafetensors(file, tensors, { metadata: { progress: "5" }, checksums: true });
    const whole = readFileSync(file);
    const missed: number[] = [];
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const flipped = Buffer.from(whole);
      flipped[bit >> 3] ^= 1 << (bit & 7);
      writeFileSync(file, flipped);
      const message = await errorOf(openSafetensors(file).then(readAll));
      if (!message.startsWith(`${file}: `)) missed.push(bit);
    }
    expect(missed).toEqual([]);
  });

  it("names the tensor that is damaged, also when it is read in chunks of rows", async () => {
    await writeSafetensors(file, [toWrite("w", [70, 2], new Float32Array(140).fill(1))], { checksums: true });
    const whole = readFileSync(file);
    whole[whole.length - 1] ^= 1;
    writeFileSync(file, whole);
    const opened = await openSafetensors(file);
    const rows = opened.rows?.("w");
    const read = async (start: number, end: number) => {
      for await (const _ of rows?.chunks(start, end, createChunkBuffers()) ?? []);
    };
    await read(0, 32);
    expect(await errorOf(read(32, 70))).toMatch(
      /state\.safetensors: tensor "w" is damaged: its checksum is [0-9a-f]{8}, expected [0-9a-f]{8}\.$/,
    );
    // Rows that are not read in order have no sum.
    await read(32, 70);
    await opened.close();
  });
});

describe("a number that is not finite", () => {
  const file = join(root, "numbers.safetensors");
  const VALUES: [string, number][] = [
    ["NaN", Number.NaN],
    ["an infinity", Number.POSITIVE_INFINITY],
    ["an infinity", Number.NEGATIVE_INFINITY],
  ];

  it.each(["F32", "F16", "BF16"] as const)("is named with its place, in %s", async (dtype) => {
    for (const [what, value] of VALUES) {
      for (const at of [0, 1, 128, 134]) {
        const values = Float32Array.from({ length: 135 }, (_, i) =>
          i === at ? value : dtype === "F16" ? 65504 : 3e38,
        );
        await writeSafetensors(file, [toWrite("good", [1], [-0]), toWrite("w", [45, 3], values, dtype)]);
        const opened = await openSafetensors(file);
        const message = `${file}: tensor "w" holds ${what} at element ${at}, expected finite numbers.`;
        expect(await errorOf(opened.read("w"))).toBe(message);
        const all = (async () => {
          for await (const _ of opened.rows?.("w")?.chunks(0, 45, createChunkBuffers()) ?? []);
        })();
        expect(await errorOf(all)).toBe(message);
        expect(Array.from(await opened.read("good"))).toEqual([-0]);
        await opened.close();
      }
    }
  });
});

describe("checksums of a folder", () => {
  const tensors = [toWrite("w", [2, 2], [1, 2, 3, 4])];

  it("notice a change of any file, and let an unknown one pass", async () => {
    const file = join(root, "model.safetensors");
    await writeSafetensors(file, tensors);
    writeFileSync(join(root, "labels.json"), "[1]");
    const first = await openSafetensors(file);
    await writeFolderSums(root, ["labels.json", "absent.json"], await sumsOfTensors(first));
    await first.close();
    const open = async () => {
      const source = await openSafetensors(file);
      await expectFolderSums(nodeFolder(root), source);
      await readAll(source);
    };
    await checkFolderFiles(nodeFolder(root));
    await open();
    writeFileSync(join(root, "labels.json"), "[2]");
    expect(await errorOf(checkFolderFiles(nodeFolder(root)))).toMatch(
      /labels\.json: is damaged or was changed: its checksum is/,
    );
    const whole = readFileSync(file);
    for (const at of [20, whole.length - 3]) {
      const flipped = Buffer.from(whole);
      flipped[at] ^= 4;
      writeFileSync(file, flipped);
      expect(await errorOf(open())).toContain(`${file}: `);
    }
    await writeSafetensors(file, [toWrite("other", [2], [1, 2])]);
    expect(await errorOf(open())).toContain("the header is damaged");
    writeFileSync(join(root, SUMS_FILE), '{"files": 1, "weights": {}}');
    expect(await errorOf(open())).toContain(`${join(root, SUMS_FILE)}: has 1, expected checksums by name.`);
    rmSync(join(root, SUMS_FILE));
    await open();
  });

  it("that are expected late count for what was read before", () => {
    const checks = createTensorChecks();
    checks.part({ file: "m/x.bin", name: "a", sizeBytes: 1 }, 0, Uint8Array.of(7));
    expect(() => checks.expect({ a: "00000000" }, "do this")).toThrow('m/x.bin: tensor "a" is damaged');
    checks.expect({ a: checks.sums.a, b: "00000000" }, "do this");
  });
});
