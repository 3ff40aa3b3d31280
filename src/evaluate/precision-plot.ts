import type { Certainty } from "./certainty.ts";
import { html, type Markup } from "./markup.ts";
import { gridLine, linear, PLOT_LEFT, PLOT_RIGHT, PLOT_WIDTH, path, place } from "./plot.ts";

const TOP = 12;
const BOTTOM = 212;
const HEIGHT = 252;
const TICKS = [0, 20, 40, 60, 80, 100];

/** Precision against recall of the predicted relations, in percent, as one inline SVG. Null for fewer than two points. */
export function precisionPlot({ curve }: Certainty): Markup | null {
  if (curve.length < 2) return null;
  const x = linear(0, 1, PLOT_LEFT, PLOT_RIGHT);
  const y = linear(0, 1, BOTTOM, TOP);
  const end = curve[curve.length - 1];
  const percent = (share: number) => (100 * share).toFixed(1);
  const label = `Precision against recall; with every prediction a precision of ${percent(end.precision)} and a recall of ${percent(end.recall)} percent`;
  return html`<svg viewBox="0 0 ${PLOT_WIDTH} ${HEIGHT}" role="img" aria-label="${label}" class="curve">
${TICKS.map((tick) => gridLine(y(tick / 100), String(tick)))}
${TICKS.map((tick) => html`<text class="tick" x="${place(x(tick / 100))}" y="${BOTTOM + 18}" text-anchor="middle">${tick}</text>`)}
<text class="axis" x="${PLOT_RIGHT}" y="${BOTTOM + 34}" text-anchor="end">recall of relations, %</text>
<text class="axis" x="${PLOT_LEFT}" y="${TOP - 2}">precision, %</text>
<path class="micro" d="${path(
    curve,
    ({ recall }) => x(recall),
    ({ precision }) => y(precision),
  )}"/>
${curve.map(
  ({ probability, precision, recall }) =>
    html`<circle class="micro" cx="${place(x(recall))}" cy="${place(y(precision))}" r="3"><title>from a probability of ${probability.toFixed(3)} on: precision ${percent(precision)}, recall ${percent(recall)}</title></circle>`,
)}
</svg>`;
}
