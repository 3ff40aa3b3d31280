import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CHECKED_NUMBERS, nativeByteChecks } from "../compute/native/byte-checks.ts";
import { byteChecks, plainByteChecks, useByteChecks } from "../formats/byte-checks.ts";
import { DTYPE_BYTES, type TensorDtype } from "../formats/tensor-source.ts";
import { useNativeByteChecks } from "./byte-checks.ts";

const native = nativeByteChecks();
if (native === null) console.warn("byte-checks.test.ts: skipped, the native addon is not built");
const DTYPES = Object.keys(CHECKED_NUMBERS) as TensorDtype[];
/** Exponents of all ones: infinity and NaN of both signs. */
const BAD: Record<TensorDtype, number[]> = {
  F32: [0x7f800000, 0xff800000, 0x7f800001, 0xffc00000],
  F16: [0x7c00, 0xfc00, 0x7c01, 0xfe00],
  BF16: [0x7f80, 0xff80, 0x7f81, 0xffc0],
};

/** Random bytes at an odd place in memory, without NaN and infinities of a type. */
function finiteBytes(dtype: TensorDtype, offset: number, random: Uint8Array): Uint8Array {
  const width = DTYPE_BYTES[dtype];
  const bytes = new Uint8Array(offset + random.length).subarray(offset);
  bytes.set(random);
  // The second bit of the exponent is 0.
  for (let at = width - 1; at < bytes.length; at += width) bytes[at] &= 0xdf;
  return bytes;
}

describe.skipIf(native === null)("the native checks of bytes", () => {
  const sums = native as NonNullable<typeof native>;

  it("give zlib's CRC-32 for any length, place and sum before", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 3000, size: "max" }),
        fc.nat(64),
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        (random, offset, before) => {
          const bytes = finiteBytes("F32", offset, random);
          const wanted = plainByteChecks.sum(bytes, before);
          expect(sums.sumOfBytes(bytes, before)).toBe(wanted);
          expect(sums.sumByTables(bytes, before)).toBe(wanted);
        },
      ),
      { seed: 3, numRuns: 500 },
    );
    for (let length = 0; length < 1200; length++) {
      const bytes = Uint8Array.from({ length }, (_, i) => (i * 167 + length) & 255);
      expect(sums.sumOfBytes(bytes, length)).toBe(plainByteChecks.sum(bytes, length));
    }
  });

  it.each(DTYPES)("see every number that is not finite: %s", (dtype) => {
    const width = DTYPE_BYTES[dtype];
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 400, size: "max" }),
        fc.nat(9),
        fc.nat(),
        fc.nat(3),
        (random, offset, at, which) => {
          const bytes = finiteBytes(dtype, offset, random.subarray(random.length % width));
          const both = () => [sums.allFinite(bytes, CHECKED_NUMBERS[dtype]), plainByteChecks.allFinite(dtype, bytes)];
          expect(both()).toEqual([true, true]);
          const count = Math.floor(bytes.length / width);
          if (count === 0) return;
          const view = new DataView(bytes.buffer, bytes.byteOffset);
          const place = (at % count) * width;
          if (width === 4) view.setUint32(place, BAD[dtype][which], true);
          else view.setUint16(place, BAD[dtype][which], true);
          expect(both()).toEqual([false, false]);
        },
      ),
      { seed: 4, numRuns: 500 },
    );
  });

  it("refuse what are no bytes", () => {
    expect(() => sums.sumOfBytes(new Float32Array(2) as unknown as Uint8Array, 0)).toThrow("a Uint8Array");
    expect(() => sums.sumOfBytes(new Uint8Array(2), "0" as unknown as number)).toThrow("the sum of the bytes before");
    expect(() => sums.allFinite(new Uint8Array(2), 3)).toThrow();
  });

  it("are used for files once a model is opened, and are several times as fast", () => {
    try {
      useNativeByteChecks();
      expect(byteChecks()).not.toBe(plainByteChecks);
      const bytes = finiteBytes("BF16", 0, new Uint8Array(4 << 20).fill(0x5a));
      const spent = (checks: typeof plainByteChecks): number => {
        const start = process.cpuUsage();
        for (let i = 0; i < 20; i++) {
          checks.sum(bytes, i);
          checks.allFinite("BF16", bytes);
        }
        const { user, system } = process.cpuUsage(start);
        return user + system;
      };
      const ratios = [0, 1, 2].map(() => spent(plainByteChecks) / spent(byteChecks()));
      expect(Math.max(...ratios)).toBeGreaterThan(2);
    } finally {
      useByteChecks(plainByteChecks);
    }
  });
});
