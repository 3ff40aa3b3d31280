import { html, type Markup } from "./markup.ts";
import { gridLine, linear, niceTicks, PLOT_LEFT, PLOT_RIGHT, PLOT_WIDTH, path, place, stepTicks } from "./plot.ts";

/** One validation of the training log; F1 as fractions. */
export interface ValidationPoint {
  step: number;
  paperF1: number;
  microF1: number;
}

const TOP = 12;
const BOTTOM = 172;
const HEIGHT = 212;

/** F1 on the validation split in both conventions, in percent, as one inline SVG. Null for fewer than two points. */
export function validationCurve(log: readonly ValidationPoint[]): Markup | null {
  const points = log.filter(({ step, paperF1, microF1 }) => [step, paperF1, microF1].every(Number.isFinite));
  if (points.length < 2) return null;
  const first = points[0].step;
  const last = points[points.length - 1].step;
  // From the first step of the training, as in the plot of the loss above.
  const x = linear(1, last, PLOT_LEFT, PLOT_RIGHT);
  const largest = points.reduce((most, { paperF1, microF1 }) => Math.max(most, paperF1, microF1), 0);
  const ticks = niceTicks(0, 100 * largest, 4);
  const y = linear(0, ticks[ticks.length - 1], BOTTOM, TOP);
  const curve = (name: string, f1: (point: ValidationPoint) => number) =>
    html`<path class="${name}" d="${path(
      points,
      (point) => x(point.step),
      (point) => y(100 * f1(point)),
    )}"/>${points.map(
      (point) =>
        html`<circle class="${name}" cx="${place(x(point.step))}" cy="${place(y(100 * f1(point)))}" r="3"><title>${name} F1 ${(100 * f1(point)).toFixed(1)} at step ${point.step}</title></circle>`,
    )}`;
  const end = points[points.length - 1];
  const label = `F1 on the validation split from step ${first} to step ${last}, at the end paper ${(100 * end.paperF1).toFixed(1)}, micro ${(100 * end.microF1).toFixed(1)}`;
  return html`<svg viewBox="0 0 ${PLOT_WIDTH} ${HEIGHT}" role="img" aria-label="${label}" class="curve">
${ticks.map((tick) => gridLine(y(tick), String(tick)))}
${stepTicks(1, last, x, BOTTOM + 18)}
<text class="axis" x="${PLOT_RIGHT}" y="${BOTTOM + 34}" text-anchor="end">step</text>
<text class="axis" x="${PLOT_RIGHT}" y="${BOTTOM - 8}" text-anchor="end">F1 on the validation split: <tspan class="paper">paper</tspan>, <tspan class="micro">micro</tspan></text>
${curve("paper", ({ paperF1 }) => paperF1)}
${curve("micro", ({ microF1 }) => microF1)}
</svg>`;
}
