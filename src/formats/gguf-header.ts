import { showValue, UserError } from "../base/errors.ts";

/** A value of a GGUF file's metadata, at most the first 262,144 items of an array. A 64-bit integer is a bigint only where a number would not be exact. */
export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

/** A tensor as the header describes it: `sizes` with the fastest first, `offset` from the start of the data. */
export interface GgufTensorHeader {
  name: string;
  sizes: readonly number[];
  typeCode: number;
  offset: number;
}

export interface GgufHeader {
  version: number;
  metadata: ReadonlyMap<string, GgufValue>;
  tensors: readonly GgufTensorHeader[];
  headerBytes: number;
}

export const GGUF_MAGIC = 0x46554747;
const MAX_TENSORS = 100_000;
const MAX_KEYS = 10_000;
const MAX_KEY_BYTES = 65_535;
/** The limit of ggml is 64; files for adapters and images have longer names. */
const MAX_NAME_BYTES = 512;
const MAX_DIMENSIONS = 4;
const MAX_ARRAY_DEPTH = 4;
/** In all arrays together; the largest vocabulary has some 800,000 tokens and merges. */
const MAX_VALUES = 8_000_000;
/** Items that are kept of an array and of all arrays together, enough for real vocabularies: eight million texts take seconds and gigabytes. */
const KEPT_ITEMS = 1 << 18;
const ALL_KEPT_ITEMS = 1 << 20;

/** The numbers of the metadata types (github.com/ggml-org/ggml, docs/gguf.md). */
export const GGUF_VALUE = {
  uint8: 0,
  int8: 1,
  uint16: 2,
  int16: 3,
  uint32: 4,
  int32: 5,
  float32: 6,
  bool: 7,
  string: 8,
  array: 9,
  uint64: 10,
  int64: 11,
  float64: 12,
} as const;

/** The minimum size of a value of each type, in bytes. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];

/** The header continues after the given bytes. */
export class MoreBytesNeeded extends Error {}

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * Reads the header of a GGUF file (version 2 or 3, little-endian) from the file's first bytes. Throws MoreBytesNeeded when they end before
 * the header does, and a UserError that names the item and its bound when the header is broken.
 */
export function readGgufHeader(bytes: Uint8Array, file: string, fileBytes: number): GgufHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  let valuesLeft = MAX_VALUES;
  let keptLeft = ALL_KEPT_ITEMS;
  const fail = (message: string): UserError => new UserError(`${file}, byte ${at}: ${message}.`);
  const take = (count: number): number => {
    if (count > fileBytes - at) throw fail(`${count} bytes are needed, the file has ${fileBytes - at} more`);
    if (count > bytes.length - at) throw new MoreBytesNeeded();
    at += count;
    return at - count;
  };
  const uint32 = () => view.getUint32(take(4), true);
  const count64 = (what: string, limit: number): number => {
    const from = take(8);
    // Without a bigint for each of millions of texts.
    const value = view.getUint32(from + 4, true) * 2 ** 32 + view.getUint32(from, true);
    if (value <= limit) return value;
    throw fail(`${what} is ${view.getBigUint64(from, true)}, expected at most ${limit}`);
  };
  const text = (what: string, limit: number): string => {
    const length = count64(`the length of ${what}`, limit);
    const from = take(length);
    try {
      return decoder.decode(bytes.subarray(from, at));
    } catch {
      throw fail(`${what} is not UTF-8`);
    }
  };
  const exact = (value: bigint) => (Number.isSafeInteger(Number(value)) ? Number(value) : value);
  const readValue = (type: number, key: string, depth: number): GgufValue => {
    switch (type) {
      case GGUF_VALUE.uint8:
        return view.getUint8(take(1));
      case GGUF_VALUE.int8:
        return view.getInt8(take(1));
      case GGUF_VALUE.uint16:
        return view.getUint16(take(2), true);
      case GGUF_VALUE.int16:
        return view.getInt16(take(2), true);
      case GGUF_VALUE.uint32:
        return uint32();
      case GGUF_VALUE.int32:
        return view.getInt32(take(4), true);
      case GGUF_VALUE.float32:
        return view.getFloat32(take(4), true);
      case GGUF_VALUE.bool:
        return view.getUint8(take(1)) !== 0;
      case GGUF_VALUE.string:
        return text(`a text of ${key}`, fileBytes);
      case GGUF_VALUE.uint64:
        return exact(view.getBigUint64(take(8), true));
      case GGUF_VALUE.int64:
        return exact(view.getBigInt64(take(8), true));
      case GGUF_VALUE.float64:
        return view.getFloat64(take(8), true);
      case GGUF_VALUE.array: {
        const { itemType, count } = arrayStart(key, depth);
        const kept = Math.min(count, KEPT_ITEMS, keptLeft);
        keptLeft -= kept;
        const items: GgufValue[] = [];
        for (let i = 0; i < kept; i++) items.push(readValue(itemType, key, depth + 1));
        skipValues(itemType, count - kept, key, depth + 1);
        return items;
      }
      default:
        throw fail(`${key} has a value of type ${type}, expected 0 to 12`);
    }
  };

  const arrayStart = (key: string, depth: number): { itemType: number; count: number } => {
    if (depth === MAX_ARRAY_DEPTH) throw fail(`${key} is nested deeper than ${MAX_ARRAY_DEPTH} arrays`);
    const itemType = uint32();
    if (VALUE_BYTES[itemType] === undefined) throw fail(`${key} has a value of type ${itemType}, expected 0 to 12`);
    const count = count64(`the length of ${key}`, valuesLeft);
    // Checked before any item is read: even the shortest items must fit into the file.
    if (count * VALUE_BYTES[itemType] > fileBytes - at) {
      throw fail(`${key} has ${count} items, the file has ${fileBytes - at} more bytes`);
    }
    valuesLeft -= count;
    return { itemType, count };
  };

  const skipValues = (type: number, count: number, key: string, depth: number): void => {
    if (type === GGUF_VALUE.string) for (let i = 0; i < count; i++) take(count64(key, fileBytes));
    else if (type === GGUF_VALUE.array) {
      for (let i = 0; i < count; i++) {
        const inner = arrayStart(key, depth);
        skipValues(inner.itemType, inner.count, key, depth + 1);
      }
    } else take(count * VALUE_BYTES[type]);
  };

  if (uint32() !== GGUF_MAGIC) {
    throw new UserError(`${file}: does not begin with "GGUF", expected a GGUF file.`);
  }
  const version = uint32();
  if (version !== 2 && version !== 3) {
    const isSwapped = version === 0x02000000 || version === 0x03000000;
    throw new UserError(
      `${file}: is ${isSwapped ? "a big-endian GGUF file" : `GGUF version ${version}`}, expected version 2 or 3, little-endian.`,
      { hint: "Convert the model again with a current llama.cpp." },
    );
  }
  const tensorCount = count64("the number of tensors", MAX_TENSORS);
  const keyCount = count64("the number of metadata entries", MAX_KEYS);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = text("a metadata key", MAX_KEY_BYTES);
    if (metadata.has(key)) throw fail(`the metadata has ${showValue(key)} twice`);
    metadata.set(key, readValue(uint32(), showValue(key), 0));
  }
  const tensors: GgufTensorHeader[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const name = text("the name of a tensor", MAX_NAME_BYTES);
    const dimensions = uint32();
    if (dimensions > MAX_DIMENSIONS) {
      throw fail(`tensor ${showValue(name)} has ${dimensions} dimensions, expected at most ${MAX_DIMENSIONS}`);
    }
    const sizes = Array.from({ length: dimensions }, () =>
      count64(`a size of ${showValue(name)}`, Number.MAX_SAFE_INTEGER),
    );
    tensors.push({ name, sizes, typeCode: uint32(), offset: count64(`the offset of ${showValue(name)}`, fileBytes) });
  }
  return { version, metadata, tensors, headerBytes: at };
}
