import { useRef } from "preact/hooks";
import { pathOf, ticksOf } from "./scale.ts";
import { useWidth } from "./use-width.ts";

interface LineChartProps {
  title: string;
  /** In words, for those who do not see it. */
  description: string;
  /** The place on the horizontal axis, and the value. */
  points: readonly (readonly [number, number])[];
  /** Ends of the horizontal axis. */
  from: number;
  to: number;
  /** What the horizontal axis counts. */
  unit: string;
  /** Least and greatest value of the vertical axis; default: of the points. */
  range?: readonly [number, number];
  format(value: number): string;
  /** Draws every point. */
  hasDots?: boolean;
  /** A line at a value, with its name: what a new value is compared with. */
  reference?: { value: number; name: string } | null;
}

/** Lines of at most this number of points have dots: one point makes no line. */
const FEW = 12;
const HEIGHT = 190;
const LEFT = 44;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 26;
/** The last number of the horizontal axis has its unit: at the edge it ends there. */
const UNIT_ROOM = 36;

/** A line over time; its text has the size of other text on any screen. */
export function LineChart(props: LineChartProps) {
  const { title, description, points, from, to, unit, range, format, hasDots = false, reference = null } = props;
  const frame = useRef<HTMLElement>(null);
  const width = useWidth(frame);
  const values = [...points.map(([, value]) => value), ...(reference ? [reference.value] : [])];
  const [low, high] = range ?? [Math.min(0, ...values), Math.max(...values, Number.EPSILON)];
  const ticks = ticksOf(low, high, 5);
  const [bottom, top] = [ticks[0], ticks[ticks.length - 1]];
  const xOf = (x: number) => LEFT + ((x - from) / Math.max(1e-9, to - from)) * (width - LEFT - RIGHT);
  const yOf = (y: number) => TOP + ((top - y) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
  const marks = ticksOf(from, to, width < 420 ? 4 : 7).filter((one) => one >= from && one <= to + 1e-9);
  const last = points.at(-1);
  return (
    <figure class="chart" ref={frame}>
      <figcaption>
        {title}
        {last && <strong class="number">{format(last[1])}</strong>}
      </figcaption>
      {width > 0 && (
        <svg width={width} height={HEIGHT} role="img" aria-label={description}>
          {ticks.map((tick) => (
            <g key={tick}>
              <line class="chart-grid" x1={LEFT} x2={width - RIGHT} y1={yOf(tick)} y2={yOf(tick)} />
              <text class="chart-tick" x={LEFT - 8} y={yOf(tick)} text-anchor="end" dominant-baseline="middle">
                {format(tick)}
              </text>
            </g>
          ))}
          {marks.map((mark, i) => {
            const isLast = i === marks.length - 1;
            const isAtEnd = isLast && xOf(mark) > width - UNIT_ROOM;
            return (
              <text
                class="chart-tick"
                key={mark}
                x={isAtEnd ? width : xOf(mark)}
                y={HEIGHT - 8}
                text-anchor={isAtEnd ? "end" : "middle"}
              >
                {isLast ? `${mark} ${unit}` : mark}
              </text>
            );
          })}
          {reference && (
            <g>
              <line
                class="chart-reference"
                x1={LEFT}
                x2={width - RIGHT}
                y1={yOf(reference.value)}
                y2={yOf(reference.value)}
              />
              <text class="chart-tick" x={width - RIGHT} y={yOf(reference.value) - 6} text-anchor="end">
                {reference.name}
              </text>
            </g>
          )}
          <path class="chart-line" d={pathOf(points.map(([x, y]) => [xOf(x), yOf(y)]))} />
          {(hasDots || points.length <= FEW) &&
            points.map(([x, y]) => <circle class="chart-dot" key={x} cx={xOf(x)} cy={yOf(y)} r={3} />)}
        </svg>
      )}
    </figure>
  );
}
