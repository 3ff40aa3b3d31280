import { html, type Markup } from "./markup.ts";
import { gridLine, linear, niceTicks, PLOT_LEFT, PLOT_RIGHT, PLOT_WIDTH, path, stepTicks } from "./plot.ts";

/** One line of the training log. */
export interface LogPoint {
  step: number;
  loss: number;
  learningRate: number;
}

const LOSS_TOP = 12;
const LOSS_BOTTOM = 252;
const RATE_TOP = 292;
const RATE_BOTTOM = 352;
const HEIGHT = 392;
const MAX_DRAWN_POINTS = 600;

/** The loss of each step (thin), its running mean (thick) and the learning rate below, as one inline SVG. Null for fewer than two points. */
export function lossCurve(log: readonly LogPoint[]): Markup | null {
  const points = log.filter(({ step, loss, learningRate }) => [step, loss, learningRate].every(Number.isFinite));
  if (points.length < 2) return null;
  const smooth = runningMean(points.map(({ loss }) => loss));
  const drawn = thin(points.map((point, i) => ({ ...point, smooth: smooth[i] })));
  const first = points[0].step;
  const last = points[points.length - 1].step;
  const x = linear(first, last, PLOT_LEFT, PLOT_RIGHT);
  const lossTicks = niceTicks(0, largest(points.map(({ loss }) => loss)), 5);
  const loss = linear(0, lossTicks[lossTicks.length - 1], LOSS_BOTTOM, LOSS_TOP);
  const rateTop = largest(points.map(({ learningRate }) => learningRate));
  const rate = linear(0, rateTop > 0 ? rateTop : 1, RATE_BOTTOM, RATE_TOP);
  const end = drawn[drawn.length - 1];
  const skipped = log.length - points.length;
  const label = `Training loss from step ${first} to step ${last}, running mean at the end ${end.smooth.toFixed(3)}`;
  return html`<svg viewBox="0 0 ${PLOT_WIDTH} ${HEIGHT}" role="img" aria-label="${label}" class="curve">
${lossTicks.map((tick) => gridLine(loss(tick), String(tick)))}
${gridLine(RATE_BOTTOM, "0")}${rateTop > 0 ? gridLine(RATE_TOP, rateTop.toExponential(1)) : null}
${stepTicks(first, last, x, RATE_BOTTOM + 18)}
<text class="axis" x="${PLOT_RIGHT}" y="${RATE_BOTTOM + 34}" text-anchor="end">step</text>
<text class="axis" x="${PLOT_RIGHT}" y="${LOSS_TOP + 12}" text-anchor="end">loss: each step, running mean</text>
<text class="axis" x="${PLOT_RIGHT}" y="${RATE_TOP - 8}" text-anchor="end">learning rate</text>
<path class="raw" d="${path(
    drawn,
    (point) => x(point.step),
    (point) => loss(point.loss),
  )}"/>
<path class="mean" d="${path(
    drawn,
    (point) => x(point.step),
    (point) => loss(point.smooth),
  )}"/>
<path class="rate" d="${path(
    drawn,
    (point) => x(point.step),
    (point) => rate(point.learningRate),
  )}"/>
</svg>${skipped > 0 ? html`<p class="note">${skipped} log lines without a finite number are not drawn.</p>` : null}`;
}

/** The mean over a fortieth of the run around each step; centred, so that the line does not lag behind a falling loss. */
function runningMean(values: readonly number[]): number[] {
  const reach = Math.floor(values.length / 80);
  const sums = [0];
  for (const value of values) sums.push(sums[sums.length - 1] + value);
  return values.map((_, i) => {
    const from = Math.max(0, i - reach);
    const to = Math.min(values.length, i + reach + 1);
    return (sums[to] - sums[from]) / (to - from);
  });
}

/** At most MAX_DRAWN_POINTS points, each the mean of neighbours. */
function thin<T extends LogPoint & { smooth: number }>(points: readonly T[]): (LogPoint & { smooth: number })[] {
  const width = Math.ceil(points.length / MAX_DRAWN_POINTS);
  const drawn: (LogPoint & { smooth: number })[] = [];
  for (let from = 0; from < points.length; from += width) {
    const part = points.slice(from, from + width);
    const last = part[part.length - 1];
    const loss = part.reduce((sum, point) => sum + point.loss, 0) / part.length;
    drawn.push({ step: last.step, loss, learningRate: last.learningRate, smooth: last.smooth });
  }
  return drawn;
}

function largest(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), 0);
}
