/** CRC-32 of bytes (zlib's polynomial), continued from the sum of the bytes before them. It changes with every flipped bit. */
export type Crc32 = (bytes: Uint8Array, before?: number) => number;

/** In TypeScript, for browsers and older versions of Node, whose zlib has none. */
export const plainCrc32: Crc32 = (bytes, before = 0) => {
  const table = crcTable();
  let crc = ~before;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
};

/** Not imported, because browsers load this file, too. */
const zlib = globalThis.process?.getBuiltinModule?.("node:zlib");
const zlibCrc32 = (zlib as { crc32?: Crc32 } | undefined)?.crc32;

/** zlib's own forgets the sum before no bytes. */
export const crc32: Crc32 = zlibCrc32
  ? (bytes, before = 0) => (bytes.length === 0 ? before : zlibCrc32(bytes, before))
  : plainCrc32;

/** A sum as files keep it: eight hexadecimal digits. */
export const sumText = (sum: number) => sum.toString(16).padStart(8, "0");

let table: Int32Array | null = null;

function crcTable(): Int32Array {
  if (table) return table;
  table = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    table[byte] = crc;
  }
  return table;
}
