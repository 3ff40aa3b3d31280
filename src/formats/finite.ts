import { showValue, UserError } from "../base/errors.ts";
import { DTYPE_BYTES, type StoredTensor, type TensorDtype } from "./tensor-source.ts";

/** The exponent bits of two narrow elements or of one float32, and what carries out of them when they are all ones. */
const EXPONENTS: Readonly<Record<TensorDtype, { mask: number; one: number }>> = {
  F32: { mask: 0x7f800000, one: 0x00800000 },
  F16: { mask: 0x7c007c00, one: 0x04000400 },
  BF16: { mask: 0x7f807f80, one: 0x00800080 },
};

/** Whether none of whole elements is NaN or infinite. */
export function allFinite(dtype: TensorDtype, bytes: Uint8Array): boolean {
  const { mask, one } = EXPONENTS[dtype];
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >>> 2);
  let carried = 0;
  for (let i = 0; i < words.length; i++) carried |= (words[i] & mask) + one;
  const isOdd = aligned.byteLength % 4 !== 0;
  const last = isOdd ? aligned[aligned.byteLength - 2] | (aligned[aligned.byteLength - 1] << 8) : 0;
  return ((carried | ((last & mask) + one)) & signsOf(dtype)) === 0;
}

const signsOf = (dtype: TensorDtype) => (dtype === "F32" ? 0x80000000 : 0x80008000);

/** The error for bytes with a number that is NaN or infinite; `firstElement` is the number of the first one. */
export function notFinite(
  { file, name }: StoredTensor,
  dtype: TensorDtype,
  bytes: Uint8Array,
  firstElement: number,
): UserError {
  const { index, what } = firstBad(bytes, dtype);
  return new UserError(
    `${file}: tensor ${showValue(name, 200)} holds ${what} at element ${firstElement + index}, expected finite numbers.`,
    { hint: "The file is damaged, or the training that wrote it diverged." },
  );
}

function firstBad(bytes: Uint8Array, dtype: TensorDtype): { index: number; what: string } {
  const elementBytes = DTYPE_BYTES[dtype];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const exponent = EXPONENTS[dtype].mask & (dtype === "F32" ? -1 : 0xffff);
  for (let index = 0; index * elementBytes < bytes.byteLength; index++) {
    const at = index * elementBytes;
    const bits = elementBytes === 4 ? view.getUint32(at, true) : view.getUint16(at, true);
    if ((bits & exponent) !== exponent) continue;
    const fraction = bits & ~exponent & (elementBytes === 4 ? 0x7fffffff : 0x7fff);
    return { index, what: fraction === 0 ? "an infinity" : "NaN" };
  }
  throw new Error(`No element of ${bytes.byteLength} bytes is NaN or infinite.`);
}
