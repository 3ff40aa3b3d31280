import type { Values, Weight, WeightSpec, WeightStorage } from "../backend.ts";
import { roundToBfloat16 } from "../backend.ts";
import type { WeightOperand } from "../kernels.ts";
import { roundToInt8, roundToNf4 } from "../quantize.ts";
import { type ByteCodes, toByteCodes, valuesOfCodes, WEIGHT_CODES } from "../quantize-bytes.ts";
import type { Matrix } from "./products.ts";

export interface TrainingParts {
  gradient: Values;
  moment1: Values;
  moment2: Values;
}

/** The numbers of a weight. */
export interface WeightNumbers {
  /** The value at full precision. */
  readonly value: Values;
  /** The copy that products read: `value` itself, or rounded as the storage says. */
  readonly product: Values;
  /** Of a matrix with the storage w8a8, for products forward. */
  bytes: ByteCodes | null;
  /** Null for a frozen weight. */
  readonly training: TrainingParts | null;
}

export type ReferenceWeight = WeightOperand<WeightNumbers>;

/** Zeros. */
export function newWeight(spec: WeightSpec, zeros: (count: number) => Values): WeightNumbers {
  const count = spec.rows * spec.columns;
  const value = zeros(count);
  // A frozen weight is kept once, rounded.
  const product = spec.trainable && isRounded(spec) ? zeros(count) : value;
  const bytes = isRounded(spec) && spec.storage === "w8a8" ? bytesOf(spec, value) : null;
  if (!spec.trainable) return { value, product, bytes, training: null };
  return { value, product, bytes, training: { gradient: zeros(count), moment1: zeros(count), moment2: zeros(count) } };
}

/** Replaces the value and renews the copy that products read. */
export function setValue(spec: WeightSpec | Weight, numbers: WeightNumbers, values: ArrayLike<number>): void {
  const { value, product } = numbers;
  if (values !== value) value.set(values);
  const { storage, rows, columns } = spec;
  if (!isRounded(spec)) return;
  if (storage === "w8a8") {
    numbers.bytes = bytesOf(spec, value);
    product.set(valuesOfCodes(numbers.bytes));
  } else if (storage === "int8") product.set(roundToInt8(value, rows, columns));
  else if (storage === "nf4") product.set(roundToNf4(value, rows, columns));
  else for (let i = 0; i < product.length; i++) product[i] = roundToBfloat16(value[i]);
}

const bytesOf = ({ rows, columns }: WeightSpec | Weight, value: Values): ByteCodes =>
  toByteCodes(value, rows, columns, WEIGHT_CODES);

/** w[O,I] as products read it. */
export function productOf({ rows, columns, data }: ReferenceWeight): Matrix {
  return { rows, columns, data: data.product };
}

/** Gradient and moments; the shell lets only trainable weights through. */
export function trainingOf({ name, data }: ReferenceWeight): TrainingParts {
  if (data.training) return data.training;
  throw new Error(`reference: weight "${name}" is frozen, expected a trainable weight.`);
}

export function weightBytes({ value, product, bytes, training }: WeightNumbers): number {
  const codes = bytes ? bytes.codes.byteLength + bytes.scales.byteLength : 0;
  const own = value.byteLength + (product === value ? 0 : product.byteLength) + codes;
  return own + (training ? 3 * value.byteLength : 0);
}

/** Matrices are rounded as their storage says; vectors (norms, biases) have full precision. */
function isRounded({ storage, rows }: { storage: WeightStorage; rows: number }): boolean {
  return storage !== "float32" && rows > 1;
}
