import { html, type Markup } from "./markup.ts";

// Shared by the curves of a report: inline SVG, all of one width, lengths in its own units.
export const PLOT_WIDTH = 960;
/** Where the axes begin and end. */
export const PLOT_LEFT = 56;
export const PLOT_RIGHT = PLOT_WIDTH - 16;

/** From a value to a place on an axis. */
export type Scale = (value: number) => number;

export function linear(from: number, to: number, low: number, high: number): Scale {
  const span = to === from ? 1 : to - from;
  return (value) => low + ((value - from) / span) * (high - low);
}

/** Round numbers from at or below `from` to at or above `to`, about `count` of them. */
export function niceTicks(from: number, to: number, count: number): number[] {
  const top = to > from ? to : from + 1;
  const span = top - from;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power * count >= span) ?? 10);
  const firstTick = Math.floor(from / step);
  const lastTick = Math.max(firstTick + 1, Math.ceil(top / step));
  return Array.from({ length: lastTick - firstTick + 1 }, (_, i) => Number(((firstTick + i) * step).toPrecision(12)));
}

export function gridLine(y: number, label: string): Markup {
  return html`<line class="grid" x1="${PLOT_LEFT}" x2="${PLOT_RIGHT}" y1="${place(y)}" y2="${place(y)}"/><text class="tick" x="${PLOT_LEFT - 8}" y="${place(y + 4)}" text-anchor="end">${label}</text>`;
}

export function path<T>(points: readonly T[], x: (point: T) => number, y: (point: T) => number): string {
  return points.map((point, i) => `${i === 0 ? "M" : "L"}${place(x(point))} ${place(y(point))}`).join("");
}

export function place(value: number): string {
  return value.toFixed(1);
}

/** The steps below a plot, at the height `y`. */
export function stepTicks(first: number, last: number, x: Scale, y: number): Markup[] {
  return niceTicks(first, last, 8)
    .filter((step) => step >= first && step <= last)
    .map(
      (step) =>
        html`<text class="tick" x="${place(x(step))}" y="${y}" text-anchor="middle">${step.toLocaleString("en-US")}</text>`,
    );
}
