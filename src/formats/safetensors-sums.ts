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
  return withText(header, indexOf(header, zeros), [crc32(header), ...tensorSums].map(sumText).join("-"));
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
  const at = indexOf(header, text);
  const zeros = emptySums(names.length)
    [KEY].padEnd(text.length, "0")
    .slice(0, Math.max(0, header.length - at));
  const own = sumText(crc32(at >= 0 ? withText(header, at, zeros) : header));
  if (!SUMS.test(text) || sums.length !== names.length + 1 || sums[0] !== own) {
    throw new UserError(`${file}: the header is damaged: its checksum is ${own}, expected ${showValue(sums[0])}.`);
  }
  return Object.fromEntries(names.map((name, i) => [name, sums[i + 1]]));
}

/** The place of a text of ASCII in bytes, −1 where it is not. */
function indexOf(bytes: Uint8Array, text: string): number {
  const wanted = new TextEncoder().encode(text);
  for (let at = bytes.indexOf(wanted[0]); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}

/** The bytes with a text of ASCII at a place. */
function withText(bytes: Uint8Array, at: number, text: string): Uint8Array {
  const changed = bytes.slice();
  changed.set(new TextEncoder().encode(text), at);
  return changed;
}
