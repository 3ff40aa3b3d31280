/** Element types of weights. */
export type TensorDtype = "F32" | "F16" | "BF16";

export const DTYPE_BYTES: Readonly<Record<TensorDtype, number>> = { F32: 4, F16: 2, BF16: 2 };

/** Element types in files, which include GGUF's blocks of few bits; reading expands these. */
export type StoredDtype = TensorDtype | "Q8_0" | "Q4_0" | "Q5_0" | "Q4_K" | "Q5_K" | "Q6_K";

export interface TensorInfo {
  name: string;
  dtype: StoredDtype;
  shape: readonly number[];
  /** File that holds it, for messages. */
  file: string;
}

/** Memory for chunk `index`, at least `bytes` of it, which chunk `index + 2` uses again. */
export type ChunkBuffers = (index: number, bytes: number) => Uint8Array;

/** A matrix that is read in chunks. */
export interface TensorRows {
  dtype: TensorDtype;
  /**
   * Rows from `start` to before `end`, little-endian, row-major, in chunks of whole rows: a multiple of 32 rows in every chunk but the last.
   * A chunk is valid until the second one after it is requested. Throws a UserError when the file was cut short.
   */
  chunks(start: number, end: number, buffers: ChunkBuffers): AsyncGenerator<Uint8Array>;
}

/** Checksums by what they are of: a tensor by its name, a file's header by `FILE#header`. Eight hexadecimal digits each. */
export type Checksums = Readonly<Record<string, string>>;

/** The stored bytes of a tensor. */
export interface StoredTensor {
  file: string;
  name: string;
  sizeBytes: number;
}

/**
 * Checks the bytes of a model's files while they are read: computes the CRC-32 of headers and of tensors that are read whole and in order,
 * and compares it with what is expected. Reading is what takes the time: a second pass over a large model would cost as much as the first.
 */
export interface TensorChecks {
  /** The sums so far. */
  readonly sums: Checksums;
  /**
   * Expects these sums from now on, and of what was read already; what has no expected sum passes. Throws a UserError for a header or tensor
   * with another sum, as do `header` and `part` later. `hint` says what the reader of the message can do.
   */
  expect(expected: Checksums, hint: string): void;
  /** The header of a file was read. */
  header(file: string, bytes: Uint8Array): void;
  /** A part of a tensor was read, `startByte` bytes after its first one. */
  part(tensor: StoredTensor, startByte: number, bytes: Uint8Array): void;
  /** Throws a UserError for an element that is NaN or infinite; `firstElement` is the number of the first one in `bytes`. */
  values(tensor: StoredTensor, dtype: TensorDtype, bytes: Uint8Array, firstElement?: number): void;
}

/** Named tensors of any file format, read one at a time. */
export interface TensorSource {
  /** All tensors by name, without their values. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The values, row-major. Throws a UserError when the name is missing or the file was cut short. */
  read(name: string): Promise<Float32Array>;
  /** A matrix row by row; null, or no such function, where the file does not hold its rows in order. */
  rows?(name: string): TensorRows | null;
  /** Checks what is read; a number that is NaN or infinite is an error of `read` and of `rows`, too. */
  readonly checks: TensorChecks;
  close(): Promise<void>;
}

/** A tensor to write. `values` is called when the tensor is written, so that no writer holds a whole model in memory. */
export interface TensorToWrite {
  name: string;
  dtype: TensorDtype;
  shape: readonly number[];
  values(): Promise<ArrayLike<number>>;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Decodes little-endian elements into float32; every bit pattern of a narrow type survives, NaN payloads included. */
export function decodeElements(bytes: Uint8Array, dtype: TensorDtype): Float32Array {
  const count = bytes.byteLength / DTYPE_BYTES[dtype];
  const out = new Float32Array(count);
  if (dtype === "F32") {
    new Uint8Array(out.buffer).set(bytes);
    return out;
  }
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  const words = new Uint16Array(aligned.buffer, aligned.byteOffset, count);
  const bits = new Uint32Array(out.buffer);
  const table = dtype === "F16" ? float16Bits() : null;
  for (let i = 0; i < count; i++) bits[i] = table ? table[words[i]] : words[i] << 16;
  return out;
}

/** Encodes numbers as little-endian elements, rounding to nearest even. */
export function encodeElements(values: ArrayLike<number>, dtype: TensorDtype): Uint8Array {
  const float = values instanceof Float32Array ? values : Float32Array.from(values);
  if (dtype === "F32") return new Uint8Array(float.buffer, float.byteOffset, float.byteLength);
  const words = new Uint16Array(float.length);
  const bits = new Uint32Array(float.buffer, float.byteOffset, float.length);
  const narrow = dtype === "BF16" ? toBfloat16 : toFloat16;
  for (let i = 0; i < bits.length; i++) words[i] = narrow(bits[i]);
  return new Uint8Array(words.buffer);
}

const INFINITY_BITS = 0x7f800000;

/** Bits of a float32 → bits of the nearest bfloat16. */
function toBfloat16(bits: number): number {
  // A NaN's payload is cut; it must not become 0, which would be infinity.
  if ((bits & 0x7fffffff) > INFINITY_BITS) return (bits >>> 16) | (bits & 0x7f0000 ? 0 : 0x40);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Bits of a float32 → bits of the nearest float16 (IEEE 754 binary16). */
function toFloat16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > INFINITY_BITS) return sign | 0x7c00 | ((magnitude >>> 13) & 0x3ff || 0x200);
  // 65520 is halfway between the largest finite value and the next power of two: from there on infinity is nearest.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // The exponent's bias goes from 127 to 15; a mantissa that rounds up carries into the exponent, as it should.
    const rebiased = magnitude - (112 << 23);
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  // Below 2^−14: a multiple of 2^−24.
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return sign;
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const quotient = mantissa >>> shift;
  const rest = mantissa - (quotient << shift);
  const half = 1 << (shift - 1);
  const up = rest > half || (rest === half && (quotient & 1) === 1);
  return sign | (quotient + (up ? 1 : 0));
}

let float16Table: Uint32Array | null = null;

/** For each float16 word the bits of the same float32 value. */
function float16Bits(): Uint32Array {
  if (float16Table) return float16Table;
  const table = new Uint32Array(65536);
  const subnormal = new Float32Array(1);
  const subnormalBits = new Uint32Array(subnormal.buffer);
  for (let word = 0; word < 65536; word++) {
    const sign = (word & 0x8000) << 16;
    const exponent = (word >>> 10) & 31;
    const fraction = word & 1023;
    if (exponent === 31) table[word] = sign | INFINITY_BITS | (fraction << 13);
    else if (exponent > 0) table[word] = sign | ((exponent + 112) << 23) | (fraction << 13);
    else {
      subnormal[0] = fraction * 2 ** -24;
      table[word] = sign | subnormalBits[0];
    }
  }
  float16Table = table;
  return table;
}
