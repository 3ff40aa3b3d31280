import { showValue, UserError } from "../base/errors.ts";
import { crc32, sumText } from "./crc32.ts";
import type { Checksums } from "./tensor-source.ts";

// A file of this program that no other tool rewrites (a checkpoint) carries its own checksums, as one entry of its metadata: the sum of the
// header with the digits of the entry set to 0, then one sum for each tensor in the order of their bytes.

const KEY = "crc32";
const SUMS = /^[0-9a-f]{8}(-[0-9a-f]{8})+$/;

/** The entry that a header is written with before the sums are known. */
export function emptySums(tensors: number): Record<string, string> {
  return { [KEY]: new Array(tensors + 1).fill("00000000").join("-") };
}

/** The bytes of a header (with the length before it) with the sums in the place of the zeros, and the sum of the header itself. */
export function fillSums(header: Uint8Array, tensorSums: readonly number[]): Uint8Array {
  const zeros = emptySums(tensorSums.length)[KEY];
  const at = Buffer.from(header.buffer, header.byteOffset, header.byteLength).indexOf(zeros);
  const filled = Buffer.from(header);
  filled.write([crc32(header), ...tensorSums].map(sumText).join("-"), at, "latin1");
  return filled;
}

/**
 * The sums of the tensors of a file whose header carries sums, checked against the header; null for any other file. `names` are the tensors
 * in the order of their bytes. Throws a UserError for a header that does not have the sum it names.
 */
export function readSums(
  header: Uint8Array,
  metadata: Readonly<Record<string, string>>,
  names: readonly string[],
  file: string,
): Checksums | null {
  // Found by its name or by its form: one flipped bit cannot hide both.
  const [, text] = Object.entries(metadata).find(([key, value]) => key === KEY || SUMS.test(value)) ?? [];
  if (text === undefined) return null;
  const sums = text.split("-");
  const zeroed = Buffer.from(header);
  const at = zeroed.indexOf(text);
  if (at >= 0) zeroed.fill("0", at, at + text.length).write(emptySums(names.length)[KEY], at, "latin1");
  const own = sumText(crc32(zeroed));
  if (!SUMS.test(text) || sums.length !== names.length + 1 || sums[0] !== own) {
    throw new UserError(`${file}: the header is damaged: its checksum is ${own}, expected ${showValue(sums[0])}.`);
  }
  return Object.fromEntries(names.map((name, i) => [name, sums[i + 1]]));
}
