// Storage w8a8 in plain code: the reference for native/matmul/quantize_w8a8.cpp, which must choose the same codes. A group is 128 inputs of
// one output of a weight, or of one row of an activation.

export const BYTE_GROUP = 128;
/** The largest code of a weight: one bit less than int8, so that 16-bit sums of products with unsigned bytes never saturate. */
export const WEIGHT_CODES = 64;
/** The largest code of an activation. */
export const ACTIVATION_CODES = 127;
/** Significant bits of a weight's scale: its product with 3 · 2^22 is then exact, which products on AMX tiles use. */
const SCALE_BITS = 22;
/** A group whose numbers are all smaller is zero. */
const LEAST_MAGNITUDE = 1e-30;

const { fround } = Math;

/** Whole numbers, and a factor for each group of each row. */
export interface ByteCodes {
  rows: number;
  columns: number;
  codes: Int8Array; // [rows, columns]
  scales: Float32Array; // [rows, groups]
  groups: number;
}

/** The nearest number of SCALE_BITS bits, ties away from zero. */
function shortened(scale: number): number {
  const words = new Uint32Array(Float32Array.of(scale).buffer);
  const dropped = 2 ** (24 - SCALE_BITS);
  words[0] = Math.floor((words[0] + dropped / 2) / dropped) * dropped;
  return new Float32Array(words.buffer)[0];
}

/**
 * Codes −limit..limit of float32 numbers: the nearest whole number (ties to even) to x · (limit / largest magnitude of the group). A group
 * with NaN or infinity has the scale NaN and the codes 0.
 */
export function toByteCodes(values: ArrayLike<number>, rows: number, columns: number, limit: number): ByteCodes {
  const groups = Math.ceil(columns / BYTE_GROUP);
  const made = { rows, columns, codes: new Int8Array(rows * columns), scales: new Float32Array(rows * groups), groups };
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < groups; group++) {
      const start = row * columns + group * BYTE_GROUP;
      const end = Math.min(start + BYTE_GROUP, (row + 1) * columns);
      const scale = quantizeGroup(values, start, end, limit, made.codes);
      made.scales[row * groups + group] = limit === WEIGHT_CODES ? shortened(scale) : scale;
    }
  }
  return made;
}

function quantizeGroup(values: ArrayLike<number>, start: number, end: number, limit: number, codes: Int8Array): number {
  let largest = 0;
  for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(fround(values[i])));
  if (!Number.isFinite(largest)) return Number.NaN;
  if (largest < fround(LEAST_MAGNITUDE)) return 0;
  const factor = fround(limit / largest);
  // The product of two float32 numbers is exact in float64.
  for (let i = start; i < end; i++) codes[i] = nearestEven(fround(values[i]) * factor);
  return fround(largest / limit);
}

/** The numbers that codes mean. */
export function valuesOfCodes({ rows, columns, codes, scales, groups }: ByteCodes): Float32Array {
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < values.length; i++) {
    values[i] = codes[i] * scales[Math.floor(i / columns) * groups + Math.floor((i % columns) / BYTE_GROUP)];
  }
  return values;
}

function nearestEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}
