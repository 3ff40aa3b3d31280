import { decodeElements, encodeElements } from "./tensor-source.ts";

// Writing of Q4_K and Q6_K as ggml's reference does it without an importance matrix (ggml-quants.c: quantize_row_q4_K_ref, quantize_row_q6_K_ref).
// Sums are float64 here: a value that is as near to one number as to the next may be rounded the other way.

const BLOCK = 256;
/** Groups whose largest magnitude is below this are zeros. */
const TINY = 1e-15;
/** Adding and subtracting it rounds half to even. */
const ROUNDING = 1.5 * 2 ** 52;
const nearest = (value: number): number => value + ROUNDING - ROUNDING;
const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

const halfBytes = (value: number): Uint8Array => encodeElements([value], "F16");
const asHalf = (value: number): number => decodeElements(halfBytes(value), "F16")[0];

/** The scale and the offset by which numbers from 0 to `most` come nearest to x, weighted: x ≈ scale · l − offset. */
function scaleAndOffset(x: Float32Array, weights: Float64Array, most: number): { scale: number; offset: number } {
  let [low, high, sumW, sumX] = [Math.min(0, x[0]), x[0], 0, 0];
  for (let i = 0; i < x.length; i++) {
    low = Math.min(low, x[i]);
    high = Math.max(high, x[i]);
    sumW += weights[i];
    sumX += weights[i] * x[i];
  }
  if (high === low) return { scale: 0, offset: -low };
  const errorOf = (inverse: number, scale: number, offset: number) => {
    let error = 0;
    for (let i = 0; i < x.length; i++) {
      const l = clamp(nearest(inverse * (x[i] - low)), 0, most);
      error += weights[i] * (scale * l + offset - x[i]) ** 2;
    }
    return error;
  };
  let best = { scale: (high - low) / most, offset: low };
  let bestError = errorOf(most / (high - low), best.scale, low);
  for (let step = 0; step <= 20; step++) {
    // As there: counted from the offset found so far.
    const inverse = (-1 + 0.1 * step + most) / (high - low);
    let [sumL, sumLL, sumXL] = [0, 0, 0];
    for (let i = 0; i < x.length; i++) {
      const l = clamp(nearest(inverse * (x[i] - low)), 0, most);
      sumL += weights[i] * l;
      sumLL += weights[i] * l * l;
      sumXL += weights[i] * l * x[i];
    }
    const determinant = sumW * sumLL - sumL * sumL;
    if (determinant <= 0) continue;
    let scale = (sumW * sumXL - sumX * sumL) / determinant;
    let offset = (sumLL * sumX - sumL * sumXL) / determinant;
    if (offset > 0) [scale, offset] = [sumXL / sumLL, 0];
    const error = errorOf(inverse, scale, offset);
    if (error >= bestError) continue;
    [best, bestError] = [{ scale, offset }, error];
    low = offset;
  }
  return { scale: best.scale, offset: -best.offset };
}

/** Blocks of 256: eight groups with a scale and an offset of six bits each, elements of four bits. */
export function encodeQ4K(values: Float32Array): Uint8Array {
  const bytes = 144;
  const out = new Uint8Array((values.length / BLOCK) * bytes);
  const weights = new Float64Array(32);
  for (let block = 0; block < values.length / BLOCK; block++) {
    const x = values.subarray(block * BLOCK, (block + 1) * BLOCK);
    const to = out.subarray(block * bytes, (block + 1) * bytes);
    const groups = Array.from({ length: 8 }, (_, g) => {
      const group = x.subarray(32 * g, 32 * g + 32);
      const mean = Math.sqrt(group.reduce((sum, value) => sum + value * value, 0) / 32);
      for (let i = 0; i < 32; i++) weights[i] = mean + Math.abs(group[i]);
      return scaleAndOffset(group, weights, 15);
    });
    const mostScale = Math.max(0, ...groups.map(({ scale }) => scale));
    const mostOffset = Math.max(0, ...groups.map(({ offset }) => offset));
    const steps = (value: number, most: number) => (most > 0 ? Math.min(63, nearest((63 / most) * value)) : 0);
    const [d, dmin] = [mostScale / 63, mostOffset / 63];
    to.set(halfBytes(d), 0);
    to.set(halfBytes(dmin), 2);
    const [step, base] = [asHalf(d), asHalf(dmin)];
    for (const [g, group] of groups.entries()) {
      const [scale, offset] = [steps(group.scale, mostScale), steps(group.offset, mostOffset)];
      if (g < 4) {
        to[4 + g] |= scale;
        to[8 + g] |= offset;
      } else {
        to[8 + g] = (scale & 15) | ((offset & 15) << 4);
        to[g] |= (scale >> 4) << 6;
        to[4 + g] |= (offset >> 4) << 6;
      }
      const width = step * scale;
      if (width === 0) continue;
      const at = 16 + 32 * (g >> 1);
      for (let i = 0; i < 32; i++) {
        const l = clamp(nearest((x[32 * g + i] + base * offset) / width), 0, 15);
        to[at + i] |= l << (4 * (g & 1));
      }
    }
  }
  return out;
}

/** The scale by which whole numbers from −32 to 31 come nearest to x, weighted by x². */
function scaleOf(x: Float32Array): number {
  let largest = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(largest)) largest = value;
  if (Math.abs(largest) < TINY) return 0;
  let [scale, best] = [0, 0];
  for (const step of [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
    const inverse = -(32 + 0.1 * step) / largest;
    let [sumXL, sumLL] = [0, 0];
    for (const value of x) {
      const l = clamp(nearest(inverse * value), -32, 31);
      sumXL += value * value * value * l;
      sumLL += value * value * l * l;
    }
    if (sumLL > 0 && (step === 0 || sumXL * sumXL > best * sumLL)) [scale, best] = [sumXL / sumLL, sumXL ** 2 / sumLL];
  }
  return scale;
}

/** Blocks of 256: sixteen groups with a scale of eight bits each, elements of six bits. */
export function encodeQ6K(values: Float32Array): Uint8Array {
  const bytes = 210;
  const out = new Uint8Array((values.length / BLOCK) * bytes);
  for (let block = 0; block < values.length / BLOCK; block++) {
    const x = values.subarray(block * BLOCK, (block + 1) * BLOCK);
    const to = out.subarray(block * bytes, (block + 1) * bytes);
    const scales = Array.from({ length: 16 }, (_, g) => scaleOf(x.subarray(16 * g, 16 * g + 16)));
    let largest = 0;
    for (const scale of scales) if (Math.abs(scale) > Math.abs(largest)) largest = scale;
    if (Math.abs(largest) < TINY) continue;
    const d = largest / -128;
    to.set(halfBytes(d), 208);
    const step = asHalf(d);
    for (const [g, own] of scales.entries()) {
      const scale = Math.min(127, nearest(own / d));
      to[192 + g] = scale & 255;
      const width = step * scale;
      for (let i = 16 * g; i < 16 * g + 16; i++) {
        const l = width === 0 ? 0 : clamp(nearest(x[i] / width), -32, 31) + 32;
        const [part, group] = [i >> 7, (i >> 5) & 3];
        to[part * 64 + (group & 1) * 32 + (i & 31)] |= (l & 15) << ((group >> 1) * 4);
        to[128 + part * 32 + (i & 31)] |= (l >> 4) << (group * 2);
      }
    }
  }
  return out;
}
