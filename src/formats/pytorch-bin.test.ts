import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { openHuggingFaceFolder } from "./hf-folder.ts";
import { openPytorchBin } from "./pytorch-bin.ts";
import type { TensorSource } from "./tensor-source.ts";

// Files of torch.save (test/golden/make/pytorch_bin.py, torch 2.15.0).
const GOLDEN = join(import.meta.dirname, "..", "..", "test", "golden", "formats");
const folder = mkdtempSync(join(tmpdir(), "cre-pytorch-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function readAll(source: TensorSource): Promise<Record<string, number[]>> {
  try {
    const values: Record<string, number[]> = {};
    for (const name of source.tensors.keys()) values[name] = Array.from(await source.read(name));
    return values;
  } finally {
    await source.close();
  }
}

async function attempt(bytes: Uint8Array): Promise<unknown> {
  const file = join(folder, "attempt.bin");
  writeFileSync(file, bytes);
  try {
    return await readAll(await openPytorchBin(file));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error;
  }
}

describe.each(["protocol-2.bin", "protocol-4.bin"])("openPytorchBin of %s", (name) => {
  const file = join(GOLDEN, name);

  it("reads what torch wrote", async () => {
    const source = await openPytorchBin(file);
    const { tensors } = source;
    expect(tensors.get("half")).toMatchObject({ name: "half", dtype: "F16", shape: [3, 4], file });
    expect(tensors.get("brain")).toMatchObject({ dtype: "BF16", shape: [3, 4] });
    expect(tensors.get("columns")).toMatchObject({ dtype: "F32", shape: [4, 3] });
    expect(tensors.get("scalar")?.shape).toEqual([]);
    const values = await readAll(source);
    const rows = Array.from({ length: 12 }, (_, i) => i / 4 - 1);
    expect(values.rows).toEqual(rows);
    expect(values.tied).toEqual(rows);
    expect(values.half).toEqual(rows.map((value) => value * 3));
    expect(values.brain).toEqual(rows.map((value) => value * 5));
    expect(values.scalar).toEqual([2.5]);
    expect(values.empty).toEqual([]);
  });

  it("lays out views as torch does", async () => {
    const values = await readAll(await openPytorchBin(file));
    for (const view of ["columns", "part", "cube"]) expect(values[view]).toEqual(values[`${view}_dense`]);
    expect(values.part).toEqual([0.25, 0.5, 1.25, 1.5]);
  });
});

describe("openPytorchBin", () => {
  const whole = readFileSync(join(GOLDEN, "protocol-2.bin"));

  it("builds tensors and nothing else", async () => {
    await expect(openPytorchBin(join(GOLDEN, "evil.bin"))).rejects.toThrow(
      /evil\.bin: data\.pkl, byte \d+: asks for "posix\.system", which a state dict does not need\./,
    );
    await expect(openPytorchBin(join(GOLDEN, "whole-numbers.bin"))).rejects.toThrow(/asks for "torch\.LongStorage"/);
    await expect(openPytorchBin(join(GOLDEN, "nested.bin"))).rejects.toMatchObject({
      problems: ['"model" is a dict of 1, expected a tensor', '"step" is 3, expected a tensor'],
    });
  });

  it("does not let a small file claim a large tensor", async () => {
    await expect(openPytorchBin(join(GOLDEN, "repeated.bin"))).rejects.toThrow(
      "a tensor [1000000,1000] with strides [0,0] from element 0 on does not fit the 1 elements of storage 0.",
    );
  });

  it("says what other files are", async () => {
    await expect(openPytorchBin(join(GOLDEN, "legacy.bin"))).rejects.toMatchObject({
      message: expect.stringContaining("is in PyTorch's format from before version 1.6"),
      hint: expect.stringContaining("torch.save(torch.load("),
    });
    expect(await attempt(Buffer.from("version https://git-lfs.github.com/spec/v1\n"))).toMatchObject({
      hint: "Run: git lfs pull",
    });
    expect(await attempt(Buffer.from("hello"))).toMatchObject({
      message: expect.stringContaining("is no zip archive"),
    });
    expect(await attempt(Buffer.alloc(0))).toBeInstanceOf(UserError);
  });

  it("is refused when cut anywhere", async () => {
    for (let length = 0; length < whole.length; length += 13) {
      expect(await attempt(whole.subarray(0, length))).toBeInstanceOf(UserError);
    }
  });

  it("is refused or read, whatever bytes were changed", async () => {
    const change = fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of changes) bytes[at] = value;
        await attempt(bytes);
      }),
      { numRuns: 400 },
    );
  });

  it("is refused or read, whatever its pickle says", async () => {
    const start = whole.indexOf(Buffer.from([0x80, 2]));
    const opcodes = fc.constantFrom(...Buffer.from("}()(uesabRQtjhq\x85\x86\x87\x94\x8a\x8c\x93\x95KMJXc.N", "latin1"));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(400), opcodes), { minLength: 1, maxLength: 30 }), async (changes) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of changes) bytes[start + 2 + at] = value;
        await attempt(bytes);
      }),
      { numRuns: 400 },
    );
  });
});

describe("a folder of PyTorch files", () => {
  it("is read from one file or from shards", async () => {
    writeFileSync(join(folder, "config.json"), "{}");
    copyFileSync(join(GOLDEN, "protocol-2.bin"), join(folder, "pytorch_model.bin"));
    const single = await openHuggingFaceFolder(folder);
    const values = await readAll(single.source);
    rmSync(join(folder, "pytorch_model.bin"));
    copyFileSync(join(GOLDEN, "protocol-2.bin"), join(folder, "shard-1.bin"));
    const weightMap = Object.fromEntries(Object.keys(values).map((name) => [name, "shard-1.bin"]));
    const put = (map: unknown) =>
      writeFileSync(join(folder, "pytorch_model.bin.index.json"), JSON.stringify({ weight_map: map }));
    put(weightMap);
    expect(await readAll((await openHuggingFaceFolder(folder)).source)).toEqual(values);
    put({ ...weightMap, absent: "shard-1.bin" });
    await expect(openHuggingFaceFolder(folder)).rejects.toThrow(
      /the shards do not fit pytorch_model\.bin\.index\.json:\n.*"absent" is not in shard-1\.bin/,
    );
    put({ rows: "../shard-1.bin" });
    await expect(openHuggingFaceFolder(folder)).rejects.toThrow(/expected a bin file next to the index/);
  });
});
