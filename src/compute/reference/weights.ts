import type { Values, Weight, WeightSpec, WeightStorage } from "../backend.ts";
import { roundToBfloat16 } from "../backend.ts";
import type { WeightOperand } from "../kernels.ts";
import { roundToInt8, roundToNf4 } from "../quantize.ts";
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
  if (!spec.trainable) return { value, product, training: null };
  return { value, product, training: { gradient: zeros(count), moment1: zeros(count), moment2: zeros(count) } };
}

/** Replaces the value and renews the copy that products read. */
export function setValue(
  spec: WeightSpec | Weight,
  { value, product }: WeightNumbers,
  values: ArrayLike<number>,
): void {
  if (values !== value) value.set(values);
  const { storage, rows, columns } = spec;
  if (!isRounded(spec)) return;
  if (storage === "int8") product.set(roundToInt8(value, rows, columns));
  else if (storage === "nf4") product.set(roundToNf4(value, rows, columns));
  else for (let i = 0; i < product.length; i++) product[i] = roundToBfloat16(value[i]);
}

/** w[O,I] as products read it. */
export function productOf({ rows, columns, data }: ReferenceWeight): Matrix {
  return { rows, columns, data: data.product };
}

/** Gradient and moments; the shell lets only trainable weights through. */
export function trainingOf({ name, data }: ReferenceWeight): TrainingParts {
  if (data.training) return data.training;
  throw new Error(`reference: weight "${name}" is frozen, expected a trainable weight.`);
}

export function weightBytes({ value, product, training }: WeightNumbers): number {
  const own = value.byteLength + (product === value ? 0 : product.byteLength);
  return own + (training ? 3 * value.byteLength : 0);
}

/** Matrices are rounded as their storage says; vectors (norms, biases) have full precision. */
function isRounded({ storage, rows }: { storage: WeightStorage; rows: number }): boolean {
  return storage !== "float32" && rows > 1;
}
