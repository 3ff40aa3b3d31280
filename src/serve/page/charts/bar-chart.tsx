import { useRef } from "preact/hooks";
import { ticksOf } from "./scale.ts";
import { useWidth } from "./use-width.ts";

interface BarChartProps {
  title: string;
  description: string;
  bars: readonly { from: number; to: number; rows: number }[];
  unit: string;
  /** End of the horizontal axis: that of the longest of several charts. */
  end: number;
}

const HEIGHT = 150;
const TOP = 8;
const BOTTOM = 24;
/** Half the width of a Latin character of the labels, and somewhat more. */
const HALF_CHARACTER = 3.75;

/** A histogram: bars side by side, the values on hover. */
export function BarChart({ title, description, bars, unit, end }: BarChartProps) {
  const frame = useRef<HTMLElement>(null);
  const width = useWidth(frame);
  const most = Math.max(1, ...bars.map(({ rows }) => rows));
  const xOf = (value: number) => (value / Math.max(1, end)) * width;
  const heightOf = (rows: number) => (rows / most) * (HEIGHT - TOP - BOTTOM);
  const marks = ticksOf(0, end, width < 260 ? 4 : 7).filter((one) => one > 0 && one < end);
  return (
    <figure class="chart" ref={frame}>
      <figcaption>{title}</figcaption>
      {width > 0 && (
        <svg width={width} height={HEIGHT} role="img" aria-label={description}>
          {bars.map(({ from, to, rows }) => (
            <rect
              class="chart-bar"
              key={from}
              x={xOf(from) + 0.5}
              y={HEIGHT - BOTTOM - heightOf(rows)}
              width={Math.max(1, xOf(to + 1) - xOf(from) - 1)}
              height={heightOf(rows)}
            >
              <title>{`${from}–${to}: ${rows}`}</title>
            </rect>
          ))}
          <line class="chart-grid" x1={0} x2={width} y1={HEIGHT - BOTTOM + 0.5} y2={HEIGHT - BOTTOM + 0.5} />
          {marks.map((mark, i) => {
            const label = i === marks.length - 1 ? `${mark} ${unit}` : String(mark);
            const isCut = xOf(mark) + HALF_CHARACTER * label.length > width;
            return (
              <text
                class="chart-tick"
                key={mark}
                x={isCut ? width : xOf(mark)}
                y={HEIGHT - 7}
                text-anchor={isCut ? "end" : "middle"}
              >
                {label}
              </text>
            );
          })}
        </svg>
      )}
    </figure>
  );
}
