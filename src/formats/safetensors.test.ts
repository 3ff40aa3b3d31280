import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { openSafetensors, writeSafetensors } from "./safetensors.ts";
import { createTensorChecks } from "./tensor-checks.ts";
import { decodeElements, encodeElements, type TensorDtype, type TensorToWrite } from "./tensor-source.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "cre-safetensors-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);
const toWrite = (
  name: string,
  shape: number[],
  values: ArrayLike<number>,
  dtype: TensorDtype = "F32",
): TensorToWrite => ({ name, dtype, shape, values: async () => values });

/** A file with the given header and a number of bytes after it. */
function putFile(header: unknown, dataBytes: number, claimedBytes?: bigint): string {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claimedBytes ?? BigInt(json.length));
  writeFileSync(path("x.safetensors"), Buffer.concat([length, json, Buffer.alloc(dataBytes, 1)]));
  return path("x.safetensors");
}

async function problemOf(file: string): Promise<string> {
  try {
    const opened = await openSafetensors(file);
    try {
      for (const name of opened.tensors.keys()) await opened.read(name);
    } finally {
      await opened.close();
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    expect(error.message.startsWith(`${file}: `)).toBe(true);
    return error.message.slice(file.length + 2);
  }
  return "";
}

const bitsOf = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
const entry = (start: number, end: number, shape = [(end - start) / 4], dtype = "F32") => ({
  dtype,
  shape,
  data_offsets: [start, end],
});

/** Lets NaN and infinities pass. */
const ANY_NUMBER = { ...createTensorChecks(), values: () => {} };

// From test/golden/make/formats.py: safetensors 0.8.0, torch 2.15.0.
describe("against the format's own library", () => {
  const golden = new URL("../../test/golden/formats/types.safetensors", import.meta.url).pathname;
  const read = async (name: string) => {
    const file = await openSafetensors(golden, ANY_NUMBER);
    try {
      return await file.read(name);
    } finally {
      await file.close();
    }
  };

  it("lists names, types, shapes and metadata", async () => {
    const file = await openSafetensors(golden);
    const listed = [...file.tensors.values()].map(({ name, dtype, shape }) => `${name} ${dtype} [${shape}]`).sort();
    expect(listed).toEqual([
      "bfloat16 BF16 [200,2]",
      "bfloat16_as_float32 F32 [90]",
      "bfloat16_words BF16 [90]",
      "empty F32 [0,3]",
      "float16 F16 [200,2]",
      "float16_as_float32 F32 [320]",
      "float16_words F16 [320]",
      "scalar F32 []",
      "values F32 [200,2]",
    ]);
    expect(file.metadata.format).toBe("pt");
    expect(await file.read("empty")).toHaveLength(0);
    expect(Array.from(await file.read("scalar"))).toEqual([2.5]);
    await expect(file.read("absent")).rejects.toThrow(`${golden}: tensor "absent" is missing.`);
    await file.close();
  });

  it.each(["float16", "bfloat16"])("reads %s bit by bit", async (type) => {
    const got = await read(`${type}_words`);
    const wanted = await read(`${type}_as_float32`);
    for (const [i, value] of got.entries()) {
      // Sign and payload of a NaN may differ between libraries; that of ours is tested below.
      if (Number.isNaN(wanted[i])) expect(value).toBeNaN();
      else expect({ i, bits: bitsOf(got)[i] }).toEqual({ i, bits: bitsOf(wanted)[i] });
    }
  });

  it.each(["F16", "BF16"] as const)("rounds float32 to %s as PyTorch does", async (dtype) => {
    const values = await read("values");
    const wanted = encodeElements(await read(dtype === "F16" ? "float16" : "bfloat16"), dtype);
    const got = encodeElements(values, dtype);
    const words = (bytes: Uint8Array) => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    for (const [i, word] of words(got).entries()) {
      expect({ i, value: values[i], word }).toEqual({ i, value: values[i], word: words(wanted)[i] });
    }
  });
});

describe("element types", () => {
  it.each(["F16", "BF16"] as const)("keep every bit pattern of %s, NaN payloads included", (dtype) => {
    const words = Uint16Array.from({ length: 65536 }, (_, word) => word);
    const bytes = new Uint8Array(words.buffer);
    expect(Buffer.compare(encodeElements(decodeElements(bytes, dtype), dtype), bytes)).toBe(0);
  });

  it("keep NaN where its payload does not fit", () => {
    const bits = Uint32Array.of(0x7f800001, 0xff800001, 0x7fc00000);
    const values = new Float32Array(bits.buffer);
    expect(Array.from(new Uint16Array(encodeElements(values, "BF16").buffer))).toEqual([0x7fc0, 0xffc0, 0x7fc0]);
    expect(Array.from(new Uint16Array(encodeElements(values, "F16").buffer))).toEqual([0x7e00, 0xfe00, 0x7e00]);
  });

  it("are read at any offset in memory", () => {
    const shifted = new Uint8Array([0, 0x80, 0x3f, 0x00, 0xc0]).subarray(1);
    expect(Array.from(decodeElements(shifted, "BF16"))).toEqual([1, -2]);
  });
});

describe("writing and reading", () => {
  it("keeps names, shapes, order and bits", async () => {
    const file = path("round.safetensors");
    const bits = Uint32Array.of(
      0,
      0x80000000,
      1,
      0x807fffff,
      0x7f800000,
      0xff800000,
      0x7fc12345,
      0xffa00001,
      0x3f800000,
    );
    const values = new Float32Array(bits.buffer);
    const tensors = [
      toWrite("z.权重", [3, 3], values),
      toWrite("__proto__", [2], [1, 2], "BF16"),
      toWrite("constructor", [1, 1, 1], [-3], "F16"),
      toWrite('quote " and \\', [0], []),
      toWrite("7", [], [5]),
    ];
    await writeSafetensors(file, tensors, { metadata: { format: "pt", note: "a" } });
    expect(readFileSync(file).readBigUInt64LE(0) % 8n).toBe(0n);
    const opened = await openSafetensors(file, ANY_NUMBER);
    expect([...opened.tensors.keys()].sort()).toEqual(tensors.map(({ name }) => name).sort());
    for (const { name, dtype, shape } of tensors)
      expect(opened.tensors.get(name)).toMatchObject({ dtype, shape, file });
    expect(Array.from(bitsOf(await opened.read("z.权重")))).toEqual(Array.from(bits));
    expect(Array.from(await opened.read("__proto__"))).toEqual([1, 2]);
    expect(Array.from(await opened.read("constructor"))).toEqual([-3]);
    expect(Array.from(await opened.read("7"))).toEqual([5]);
    expect(opened.metadata).toEqual({ format: "pt", note: "a" });
    await opened.close();
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });

  it("refuses to write what does not fit its shape, or a name twice, and leaves nothing", async () => {
    const file = path("refused/x.safetensors");
    await expect(writeSafetensors(file, [toWrite("a", [3], [1, 2])])).rejects.toThrow('"a" has 2 values, expected [3]');
    await expect(writeSafetensors(file, [toWrite("a", [1], [1]), toWrite("a", [1], [1])])).rejects.toThrow("twice");
    await expect(openSafetensors(file)).rejects.toThrow(/cannot be read \(ENOENT.*expected a safetensors file/);
  });
});

describe("a damaged file", () => {
  it("is refused when cut at any byte", async () => {
    const file = path("whole.safetensors");
    await writeSafetensors(file, [toWrite("a", [2], [1, 2]), toWrite("b", [2, 2], [1, 2, 3, 4], "BF16")]);
    const whole = readFileSync(file);
    const cut = path("cut.safetensors");
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(cut, whole.subarray(0, length));
      expect(await problemOf(cut)).not.toBe("");
    }
    writeFileSync(cut, Buffer.concat([whole, Buffer.alloc(1)]));
    expect(await problemOf(cut)).toBe("1 bytes after the last tensor belong to no tensor.");
  });

  it("is refused or read, whatever bytes were changed", async () => {
    const file = path("whole.safetensors");
    await writeSafetensors(file, [toWrite("a", [2], [1, 2]), toWrite("b", [2, 2], [1, 2, 3, 4], "F16")]);
    const whole = readFileSync(file);
    const changed = path("changed.safetensors");
    let refused = 0;
    const change = fc.record({ at: fc.nat(whole.length - 1), byte: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const bytes = Buffer.from(whole);
        for (const { at, byte } of changes) bytes[at] = byte;
        writeFileSync(changed, bytes);
        if ((await problemOf(changed)) !== "") refused++;
      }),
      { numRuns: 600, seed: 5 },
    );
    expect(refused).toBeGreaterThan(200);
  });

  it("is refused or read, whatever its header says", async () => {
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom("F32", "F64", [2], [0, 8], [2 ** 53, 0], -1, 1e308));
    const tensor = fc.oneof(
      fc.record({ dtype: value, shape: value, data_offsets: value }, { requiredKeys: [] }),
      fc.jsonValue(),
    );
    const name = fc.oneof(fc.string(), fc.constantFrom("__metadata__", "__proto__", "a"));
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, tensor, { maxKeys: 4 }), async (header) => {
        await problemOf(putFile(header, 8));
      }),
      { numRuns: 400, seed: 6 },
    );
  });
});

describe("what a header may not claim", () => {
  it("a length beyond the file or the limit", async () => {
    const claimed = (bytes: bigint) => problemOf(putFile("{}", 0, bytes));
    expect(await claimed(3n)).toBe("the header claims 3 bytes, but the file has 10 (limit 100000000).");
    expect(await claimed(2n ** 63n)).toMatch(/^the header claims 9223372036854776000 bytes/);
    expect(await claimed(2n ** 64n - 1n)).toMatch(/^the header claims/);
    expect(await claimed(0n)).toMatch(/^the header is not JSON/);
  });

  it("something else than an object", async () => {
    expect(await problemOf(putFile("[1]", 0))).toBe("the header is [1], expected a JSON object.");
    expect(await problemOf(putFile("null", 0))).toBe("the header is null, expected a JSON object.");
    expect(await problemOf(putFile("{", 0))).toMatch(/^the header is not JSON/);
    expect(await problemOf(putFile({ __metadata__: { a: 1 } }, 0))).toBe(
      '"__metadata__" is {"a":1}, expected an object of strings.',
    );
    expect(await problemOf(putFile({}, 0))).toBe("");
  });

  it.each([
    [{ a: 3 }, 'tensor "a" is 3, expected dtype, shape and data_offsets.'],
    [{ a: entry(0, 4, [1], "I64") }, 'tensor "a" has element type "I64", expected one of F32, F16, BF16.'],
    [{ a: entry(0, 4, [1], "toString") }, 'tensor "a" has element type "toString", expected one of F32, F16, BF16.'],
    [{ a: { ...entry(0, 4), shape: 1 } }, 'tensor "a" has shape 1, expected at most 8 sizes.'],
    [{ a: entry(0, 4, [-1, -1]) }, 'tensor "a" has shape [-1,-1], expected at most 8 sizes.'],
    [{ a: entry(0, 4, [0.5]) }, 'tensor "a" has shape [0.5], expected at most 8 sizes.'],
    [{ a: entry(0, 4, new Array(9).fill(1)) }, 'tensor "a" has shape [1,1,1,1,1,1,1,1,1], expected at most 8 sizes.'],
    [{ a: { ...entry(0, 4), data_offsets: [0] } }, 'tensor "a" has offsets [0], expected [start, end].'],
    [{ a: entry(-4, 0, [1]) }, 'tensor "a" has offsets [-4,0], expected [start, end].'],
    [{ a: entry(4, 0, [1]) }, 'tensor "a" spans -4 bytes, but F32 [1] needs 4.'],
    [{ a: entry(0, 8, [1]) }, 'tensor "a" spans 8 bytes, but F32 [1] needs 4.'],
    [{ a: entry(0, 12) }, 'tensor "a" ends at byte 12, but the file holds 8 bytes of tensors.'],
    [{ a: entry(0, 8), b: entry(4, 8) }, 'tensors "a" and "b" overlap.'],
    [{ a: entry(0, 8), b: entry(0, 8) }, 'tensors "a" and "b" overlap.'],
    [{ a: entry(4, 8) }, 'bytes 0 to 4 before tensor "a" belong to no tensor.'],
    [{ a: entry(0, 4) }, "4 bytes after the last tensor belong to no tensor."],
    [{}, "8 bytes after the last tensor belong to no tensor."],
  ])("%j", async (header, problem) => {
    expect(await problemOf(putFile(header, 8))).toBe(problem);
  });

  it("a size that overflows", async () => {
    const huge = 2 ** 52;
    expect(await problemOf(putFile({ a: entry(0, 8, [huge, huge, huge]) }, 8))).toMatch(/needs 3\.6\d+e\+47\.$/);
    expect(await problemOf(putFile({ a: entry(0, 8, [huge, huge, huge, 0]) }, 8))).toMatch(/needs 0\.$/);
  });

  it("a key twice", async () => {
    const text = JSON.stringify(entry(0, 8));
    expect(await problemOf(putFile(`{"a": ${text}, "a": ${text}}`, 8))).toBe('the header has "a" twice.');
    expect(await problemOf(putFile(`{"a": ${text}, "\\u0061": ${text}}`, 8))).toBe('the header has "a" twice.');
    expect(
      await problemOf(putFile('{"a": {"dtype": "F32", "shape": [2], "shape": [2], "data_offsets": [0, 8]}}', 8)),
    ).toBe('the header has "shape" twice.');
    expect(
      await problemOf(
        putFile(
          '{"__metadata__": {"shape": "x,\\"a\\": {}"}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
          8,
        ),
      ),
    ).toBe("");
  });

  it("a value nested without end", async () => {
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    expect(await problemOf(putFile(`{"a": {"dtype": "F32", "shape": ${deep}, "data_offsets": [0, 8]}}`, 8))).toBe(
      'tensor "a" has shape a value of type object, expected at most 8 sizes.',
    );
  });

  it("is no file", async () => {
    await expect(openSafetensors(folder)).rejects.toThrow(`${folder}: is not a file, expected a safetensors file.`);
  });
});
