/** Where the two rows of a rotary pair stand in a head: side by side, or one in each half of it. */
export type RotaryLayout = "interleaved" | "halves";

/**
 * Turns the rows of a query or key weight [heads · headWidth, columns] (or of a bias, with one column) from one layout into the other: rows
 * 2i and 2i + 1 of a head on one side are its rows i and i + headWidth / 2 on the other.
 */
export function turnRotaryRows(
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
      const apart = head * headWidth + i;
      const beside = head * headWidth + (i % half) * 2 + Math.floor(i / half);
      const [from, into] = to === "interleaved" ? [apart, beside] : [beside, apart];
      out.set(source.subarray(from * columns, (from + 1) * columns), into * columns);
    }
  }
  return out;
}
