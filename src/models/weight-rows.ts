import type { RotaryLayout } from "./spec.ts";

/**
 * Reorders the rows of a query or key weight [heads · headWidth, columns] (or of a bias, with one column) from one layout to the other:
 * rows 2i and 2i + 1 of an interleaved head are rows i and i + headWidth / 2 of one in halves.
 */
export function reorderRotaryRows(
  values: ArrayLike<number>,
  heads: number,
  headWidth: number,
  to: RotaryLayout,
): Float32Array {
  const columns = values.length / (heads * headWidth);
  const half = headWidth / 2;
  const source = values instanceof Float32Array ? values : Float32Array.from(values);
  const out = new Float32Array(source.length);
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < headWidth; i++) {
      const inHalves = head * headWidth + i;
      const interleaved = head * headWidth + (i % half) * 2 + Math.floor(i / half);
      const [from, into] = to === "interleaved" ? [inHalves, interleaved] : [interleaved, inHalves];
      out.set(source.subarray(from * columns, (from + 1) * columns), into * columns);
    }
  }
  return out;
}

/** Puts matrices of equal width one below the other. */
export function joinRows<T extends ArrayLike<number>>(parts: readonly T[]): T | Float32Array {
  if (parts.length === 1) return parts[0];
  const values = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let start = 0;
  for (const part of parts) {
    values.set(part, start);
    start += part.length;
  }
  return values;
}
