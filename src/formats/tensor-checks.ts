import { showValue, UserError } from "../base/errors.ts";
import { byteChecks } from "./byte-checks.ts";
import { crc32, sumText } from "./crc32.ts";
import { notFinite } from "./finite.ts";
import type { Checksums, TensorChecks } from "./tensor-source.ts";

/** The name of a file without its folders, on every system. */
const nameOf = (file: string) => file.slice(Math.max(file.lastIndexOf("/"), file.lastIndexOf("\\")) + 1);

export const headerKey = (file: string) => `${nameOf(file)}#header`;

export function createTensorChecks(): TensorChecks {
  const sums: Record<string, string> = Object.create(null);
  const files = new Map<string, string>();
  /** Tensors of which the first bytes were read: how many, and their sum. */
  const begun = new Map<string, { bytes: number; sum: number }>();
  const expectations: { expected: Checksums; hint: string }[] = [];
  const compare = (key: string, { expected, hint }: { expected: Checksums; hint: string }) => {
    if (!Object.hasOwn(expected, key) || expected[key] === sums[key]) return;
    const file = files.get(key) as string;
    const what = key === headerKey(file) ? "the header" : `tensor ${showValue(key, 200)}`;
    throw new UserError(`${file}: ${what} is damaged: its checksum is ${sums[key]}, expected ${expected[key]}.`, {
      hint,
    });
  };
  const add = (file: string, key: string, sum: number) => {
    sums[key] = sumText(sum);
    files.set(key, file);
    for (const expectation of expectations) compare(key, expectation);
  };
  return {
    sums,
    expect(expected, hint) {
      expectations.push({ expected, hint });
      for (const key of Object.keys(sums)) compare(key, { expected, hint });
    },
    header: (file, bytes) => add(file, headerKey(file), crc32(bytes)),
    values(tensor, dtype, bytes, firstElement = 0) {
      if (!byteChecks().allFinite(dtype, bytes)) throw notFinite(tensor, dtype, bytes, firstElement);
    },
    part({ file, name, sizeBytes }, startByte, bytes) {
      const before = startByte === 0 ? { bytes: 0, sum: 0 } : begun.get(name);
      begun.delete(name);
      if (before?.bytes !== startByte) return;
      const soFar = { bytes: startByte + bytes.byteLength, sum: byteChecks().sum(bytes, before.sum) };
      if (soFar.bytes === sizeBytes) add(file, name, soFar.sum);
      else begun.set(name, soFar);
    },
  };
}
