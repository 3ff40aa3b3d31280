import picocolors from "picocolors";
import { plainTable } from "../base/plain-table.ts";
import { topConfusions } from "./confusion.ts";
import type { Metrics } from "./metrics.ts";
import type { Reference } from "./references.ts";
import type { Matching } from "./score-predictions.ts";
import { CONVENTIONS, type Convention } from "./tally.ts";
import { grouped, MEANINGS, missingRows, percent, remarks } from "./wording.ts";

export interface ReportOptions {
  title?: string;
  /** F1 values shown in columns of their own, on the same rows. */
  references?: readonly Reference[];
  matching?: Matching;
  /** Terminal colours; default false. */
  colour?: boolean;
  /** Lines of the per-relation table; default all. */
  maxRelations?: number;
  /** Lines of the list of confusions; default 10. */
  maxConfusions?: number;
}

/** The metrics as text for a terminal, in percent, every number under the name of its convention; ends with a line break. */
export function renderReport(metrics: Metrics, options: ReportOptions = {}): string {
  const paint = picocolors.createColors(options.colour ?? false);
  const { counts } = metrics;
  const blocks: string[] = [];
  const scope = `${grouped(counts.rows)} rows, ${grouped(counts.sentences)} sentences, ${metrics.macro.relations} relations${missingRows(metrics)}`;
  blocks.push(options.title === undefined ? scope : `${paint.bold(printable(options.title))}\n${paint.dim(scope)}`);
  blocks.push(conventionTable(metrics, options.references ?? [], paint));
  blocks.push(
    [...CONVENTIONS, "macro" as const]
      .map((name) => paint.dim(`${rowName(name).padEnd(12)}  ${MEANINGS[name]}`))
      .concat(paint.dim(`exact set     rows whose set of labels is right: ${percent(metrics.exactSet)} %`))
      .join("\n"),
  );
  blocks.push(relationTable(metrics, options.maxRelations ?? Number.POSITIVE_INFINITY, paint));
  const confusions = confusionTable(metrics, options.maxConfusions ?? 10, paint);
  if (confusions !== null) blocks.push(confusions);
  const notes = remarks(metrics, options.matching ?? null).map((text) => paint.yellow(`! ${text}`));
  for (const note of options.matching?.notes ?? []) notes.push(paint.dim(`  ${printable(note)}`));
  if (notes.length > 0) blocks.push(notes.join("\n"));
  return `${blocks.join("\n\n")}\n`;
}

type Paint = ReturnType<typeof picocolors.createColors>;

function conventionTable(metrics: Metrics, references: readonly Reference[], paint: Paint): string {
  const { intervals } = metrics;
  const level = intervals === null ? "" : `${Number((100 * intervals.level).toFixed(1))} % interval`;
  const heading = ["convention", "precision", "recall", "F1", ...(intervals === null ? [] : [level])];
  const lines = [...CONVENTIONS, "macro" as const].map((name) => {
    const score = name === "macro" ? null : metrics.conventions[name];
    const interval = intervals?.[name];
    return [
      rowName(name),
      score === null ? "" : percent(score.precision),
      score === null ? "" : percent(score.recall),
      paint.bold(percent(score === null ? metrics.macro.f1 : score.f1)),
      ...(interval === undefined ? [] : [`${percent(interval.low)} – ${percent(interval.high)}`]),
      ...references.map(({ f1 }) => (f1[name] === undefined ? "" : percent(f1[name]))),
    ];
  });
  return drawTable([...heading, ...references.map(({ name }) => printable(name))], lines, 1, paint);
}

function relationTable(metrics: Metrics, limit: number, paint: Paint): string {
  const sorted = [...metrics.relations].sort((a, b) => b.support - a.support);
  const shown = sorted.slice(0, limit);
  const lines = shown.map(({ relation, isNoRelation, support, predicted, hits, precision, recall, f1 }) => [
    isNoRelation ? `${printable(relation)} ${paint.dim("(no relation)")}` : printable(relation),
    grouped(support),
    grouped(predicted),
    grouped(hits),
    percent(precision),
    percent(recall),
    paint.bold(percent(f1)),
  ]);
  const table = drawTable(["relation", "gold", "predicted", "hits", "precision", "recall", "F1"], lines, 1, paint);
  const left = sorted.length - shown.length;
  return left > 0 ? `${table}\n${paint.dim(`and ${left} more relations`)}` : table;
}

function confusionTable(metrics: Metrics, limit: number, paint: Paint): string | null {
  const pairs = topConfusions(metrics.confusion, limit);
  if (pairs.length === 0) return null;
  const lines = pairs.map(({ gold, predicted, rows, share }) => [
    printable(gold),
    printable(predicted),
    grouped(rows),
    percent(share),
  ]);
  return drawTable(["gold", "taken for", "rows", "% of gold"], lines, 2, paint);
}

function drawTable(heading: string[], lines: string[][], textColumns: number, paint: Paint): string {
  return plainTable(
    heading.map((text) => paint.dim(text)),
    lines,
    textColumns,
  );
}

function rowName(name: Convention | "macro"): string {
  return name === "macro" ? "macro F1" : name;
}

/** Labels and names come from files: a control character in them must not reach the terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "\uFFFD");
}

export const METRICS_SCHEMA = "cre-metrics";
export const METRICS_VERSION = 1;

/** The content of `--json` and `metrics.json`. Fractions in [0, 1]; the version rises when a field is removed or changes its meaning. */
export interface MetricsJson extends Metrics {
  schema: typeof METRICS_SCHEMA;
  version: typeof METRICS_VERSION;
  matching?: Matching;
  references?: readonly Reference[];
}

/** The metrics as a plain object for JSON, with the whole confusion matrix. */
export function toJson(
  metrics: Metrics,
  extra: { matching?: Matching; references?: readonly Reference[] } = {},
): MetricsJson {
  const { conventions, macro, exactSet, intervals, counts, noRelation, relations, confusion } = metrics;
  return {
    schema: METRICS_SCHEMA,
    version: METRICS_VERSION,
    conventions,
    macro,
    exactSet,
    intervals,
    counts,
    ...(extra.matching === undefined ? {} : { matching: extra.matching }),
    ...(extra.references === undefined ? {} : { references: extra.references }),
    noRelation,
    relations,
    confusion,
  };
}
