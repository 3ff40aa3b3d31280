/** Round numbers that cover a range, at most `most` of them, at least two. */
export function ticksOf(from: number, to: number, most: number): number[] {
  const range = to - from;
  if (!(range > 0) || !Number.isFinite(range)) return [from, from + 1];
  const rough = range / Math.max(1, most - 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999) ?? 10 * power;
  const first = Math.floor(from / step) * step;
  const last = Math.ceil(to / step - 1e-9) * step;
  const count = Math.round((last - first) / step);
  return Array.from({ length: count + 1 }, (_, i) => Number((first + i * step).toPrecision(12)));
}

/** The path of a line through points. */
export function pathOf(points: readonly (readonly [number, number])[]): string {
  return points.map(([x, y], i) => `${i === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}
