import { UserError } from "../base/errors.ts";

/** Element types that weights come in. */
export type TensorDtype = "F32" | "F16" | "BF16";

export const DTYPE_BYTES: Readonly<Record<TensorDtype, number>> = { F32: 4, F16: 2, BF16: 2 };

export interface TensorInfo {
  name: string;
  dtype: TensorDtype;
  shape: readonly number[];
  /** File that holds it, for messages. */
  file: string;
}

/** Named tensors that are read one at a time, whatever file format they come from. */
export interface TensorSource {
  /** All tensors by name, without their values. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The values, row-major; throws a UserError when the name is missing or the file was cut short. */
  read(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/** A tensor to be written; `values` is called when its turn comes, so that a whole model is never held at once. */
export interface TensorToWrite {
  name: string;
  dtype: TensorDtype;
  shape: readonly number[];
  values(): Promise<ArrayLike<number>>;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Decodes little-endian elements into float32. */
export function decodeElements(bytes: Uint8Array, dtype: TensorDtype): Float32Array {
  const count = bytes.byteLength / DTYPE_BYTES[dtype];
  if (dtype === "F32") {
    const out = new Float32Array(count);
    new Uint8Array(out.buffer).set(bytes);
    return out;
  }
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  const words = new Uint16Array(aligned.buffer, aligned.byteOffset, count);
  const out = new Float32Array(count);
  if (dtype === "BF16") {
    const bits = new Uint32Array(out.buffer);
    for (let i = 0; i < count; i++) bits[i] = words[i] << 16;
  } else {
    const table = float16Table();
    for (let i = 0; i < count; i++) out[i] = table[words[i]];
  }
  return out;
}

/** Encodes numbers as little-endian elements, rounding to nearest even. */
export function encodeElements(values: ArrayLike<number>, dtype: TensorDtype): Uint8Array {
  const float = values instanceof Float32Array ? values : Float32Array.from(values);
  if (dtype === "F32") return new Uint8Array(float.buffer, float.byteOffset, float.byteLength);
  const words = new Uint16Array(float.length);
  const bits = new Uint32Array(float.buffer, float.byteOffset, float.length);
  for (let i = 0; i < float.length; i++) words[i] = dtype === "BF16" ? bfloat16Bits(bits[i]) : float16Bits(float[i]);
  return new Uint8Array(words.buffer);
}

function bfloat16Bits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // NaN stays NaN
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function float16Bits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (magnitude >= 65520) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | roundHalfEven(magnitude * 2 ** 24);
  let exponent = Math.floor(Math.log2(magnitude));
  if (2 ** exponent > magnitude) exponent--;
  // A mantissa that rounds up to 1024 carries into the exponent, as it should.
  return sign | (((exponent + 15) << 10) + roundHalfEven((magnitude / 2 ** exponent - 1) * 1024));
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

let float16Values: Float32Array | null = null;
function float16Table(): Float32Array {
  if (float16Values) return float16Values;
  const table = new Float32Array(65536);
  for (let word = 0; word < 65536; word++) {
    const sign = word & 0x8000 ? -1 : 1;
    const exponent = (word >>> 10) & 31;
    const fraction = word & 1023;
    if (exponent === 31) table[word] = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    else if (exponent === 0) table[word] = sign * fraction * 2 ** -24;
    else table[word] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  float16Values = table;
  return table;
}

/** The information of a tensor that must be there. */
export function requireTensor(source: TensorSource, name: string, where: string): TensorInfo {
  const info = source.tensors.get(name);
  if (!info) throw new UserError(`${where}: tensor "${name}" is missing.`, { hint: "Is the folder complete?" });
  return info;
}
