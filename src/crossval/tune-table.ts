import picocolors from "picocolors";
import { plainTable } from "../base/plain-table.ts";
import { signed } from "../evaluate/compare-report.ts";
import { grouped, percent } from "../evaluate/wording.ts";
import { DROP_LEVEL, LEVEL } from "./race.ts";
import type { TuneResult } from "./tune.ts";

/** The table of a tuning as text for a terminal, in percent; ends with a line break. */
export function renderTuning(result: TuneResult, colour = false): string {
  const paint = picocolors.createColors(colour);
  const { candidates, metric, folds, seeds, data, rows } = result;
  const other = metric === "micro" ? "paper" : "micro";
  const level = `${100 * LEVEL} %`;
  const most = folds * seeds.length;
  const heading = ["values", `${metric} F1`, `${level} interval`, "to the best", `${level} interval`];
  const lines = candidates.map((one, i) => [
    one.name,
    paint.bold(percent(one[metric])),
    `${percent(one.interval.low)} to ${percent(one.interval.high)}`,
    i === 0 ? "" : signed(one.behind),
    i === 0 ? "" : `${signed(one.behindInterval.low)} to ${signed(one.behindInterval.high)}`,
    percent(one[other]),
    `${one.units}/${most}${one.isDropped ? " dropped" : ""}`,
    one.seconds >= 100 ? grouped(Math.round(one.seconds)) : one.seconds.toFixed(1),
  ]);
  const table = plainTable(
    [...heading, `${other} F1`, "folds", "seconds"].map((text) => paint.dim(text)),
    lines,
  );
  const plural = seeds.length === 1 ? `seed ${seeds[0]}` : `seeds ${seeds.join(", ")}`;
  const dropped = candidates.some(({ isDropped }) => isDropped)
    ? ` Dropped: the ${100 * DROP_LEVEL} % interval of the difference to the best was below 0.`
    : "";
  const notes = [
    `${data}: ${grouped(rows)} training rows, ${folds} folds by sentence, ${plural}; means over folds${seeds.length > 1 ? " and seeds" : ""}.`,
    `Intervals: bootstrap over sentences within each fold, the same draws for all.${dropped} Seconds: one training.`,
  ];
  return `${table}\n\n${notes.map((note) => paint.dim(note)).join("\n")}\n`;
}
