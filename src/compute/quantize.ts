import { roundToBfloat16 } from "./backend.ts";

// Quantised storages in plain code: the reference for native/matmul/quantize.cpp, which must choose the same codes. A group is 64 inputs of
// one output.

const GROUP = 64;
const STEP_OUTPUTS = 32;
const STEP_GROUPS = 8;

/** The 16 values of the 4-bit NormalFloat (Dettmers et al. 2023, QLoRA, appendix E). */
export const NORMAL_FLOAT: readonly number[] = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
];

const { fround } = Math;

/** w[O,I] rounded by int8 storage: codes −127..127 times a bfloat16 scale per group. */
export function roundToInt8(values: ArrayLike<number>, rows: number, columns: number): Float32Array {
  const out = new Float32Array(rows * columns);
  forGroups(rows, columns, (_row, _group, start, end) => {
    const scale = roundToBfloat16(fround(largestMagnitude(values, start, end) / 127));
    for (let i = start; i < end; i++) out[i] = scale > 0 ? nearestCode(fround(values[i] / scale)) * scale : 0 * scale;
  });
  return out;
}

/**
 * w[O,I] rounded by nf4 storage: a NormalFloat times the scale of its group. Scales are quantised too: 8 bits of their distance to the
 * mean scale of the matrix, with one bfloat16 step for 32 outputs × 8 groups.
 */
export function roundToNf4(values: ArrayLike<number>, rows: number, columns: number): Float32Array {
  const groups = Math.ceil(columns / GROUP);
  const magnitudes = new Float32Array(rows * groups);
  let sum = 0;
  forGroups(rows, columns, (row, group, start, end) => {
    const largest = largestMagnitude(values, start, end);
    magnitudes[row * groups + group] = largest;
    sum += largest;
  });
  const offset = fround(sum / (rows * groups));
  const scales = scalesOf(magnitudes, rows, groups, offset);
  const out = new Float32Array(rows * columns);
  forGroups(rows, columns, (row, group, start, end) => {
    const scale = scales[row * groups + group];
    for (let i = start; i < end; i++) out[i] = scale > 0 ? nearestNormal(fround(values[i] / scale)) * scale : 0 * scale;
  });
  return out;
}

function scalesOf(magnitudes: Float32Array, rows: number, groups: number, offset: number): Float32Array {
  const scales = new Float32Array(rows * groups);
  for (let row = 0; row < rows; row += STEP_OUTPUTS) {
    for (let group = 0; group < groups; group += STEP_GROUPS) {
      const places: number[] = [];
      for (let r = row; r < Math.min(row + STEP_OUTPUTS, rows); r++) {
        for (let g = group; g < Math.min(group + STEP_GROUPS, groups); g++) places.push(r * groups + g);
      }
      const distances = places.map((place) => fround(magnitudes[place] - offset));
      const step = roundToBfloat16(fround(Math.max(...distances.map(Math.abs)) / 127));
      places.forEach((place, i) => {
        scales[place] = (step > 0 ? nearestCode(fround(distances[i] / step)) * step : 0) + offset;
      });
    }
  }
  return scales;
}

function forGroups(
  rows: number,
  columns: number,
  body: (row: number, group: number, start: number, end: number) => void,
): void {
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column += GROUP) {
      const start = row * columns + column;
      body(row, column / GROUP, start, start + Math.min(GROUP, columns - column));
    }
  }
}

function largestMagnitude(values: ArrayLike<number>, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) largest = Math.max(largest, fround(Math.abs(values[i])));
  return largest;
}

/** The nearest whole number from −127 to 127, ties to even. */
function nearestCode(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  const nearest = rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
  return Math.min(127, Math.max(-127, nearest));
}

function nearestNormal(x: number): number {
  let code = 0;
  while (code < 15 && x > fround(fround(NORMAL_FLOAT[code] + NORMAL_FLOAT[code + 1]) * 0.5)) code++;
  return NORMAL_FLOAT[code];
}
