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

/** Reads values once for several uses, one after the other, and forgets them after the last. */
export function sharedBy(uses: number, values: () => Promise<ArrayLike<number>>): () => Promise<ArrayLike<number>> {
  let kept: Promise<ArrayLike<number>> | null = null;
  let left = uses;
  return () => {
    const whole = kept ?? values();
    kept = --left > 0 ? whole : null;
    return whole;
  };
}

/** Rows divided by their lengths (torch.nn.functional.normalize: by 1e-12 at least). */
export function normalizedRows(values: ArrayLike<number>, columns: number): Float32Array {
  const out = Float32Array.from(values);
  for (let start = 0; start < out.length; start += columns) {
    const row = out.subarray(start, start + columns);
    const length = Math.max(Math.sqrt(row.reduce((sum, value) => sum + value * value, 0)), 1e-12);
    for (let i = 0; i < columns; i++) row[i] /= length;
  }
  return out;
}
