import picocolors from "picocolors";
import { plainTable } from "../base/plain-table.ts";
import { type Example, quoted } from "../data/example.ts";
import type { ChangedRow, Comparison, Difference, RowChange } from "./compare.ts";
import { COMPARED } from "./paired-bootstrap.ts";
import { printable } from "./report.ts";
import type { ScoredRow } from "./rows.ts";
import { grouped, MEANINGS, percent } from "./wording.ts";

export interface ComparisonReportOptions {
  /** What the two sides are called. */
  names: { a: readonly string[]; b: readonly string[] };
  /** Data and split. */
  title: string;
  examples: readonly Example[];
  /** The rows of one run, for their gold. */
  rows: readonly ScoredRow[];
  /** Terminal colours; default false. */
  colour?: boolean;
  /** Changed rows that are listed for each direction; default 5. */
  maxRows?: number;
}

const CHANGES: Record<RowChange, string> = {
  "right-to-wrong": "right → wrong",
  "wrong-to-right": "wrong → right",
  "wrong-to-wrong": "wrong with another answer",
};

/** 0.0123 → "+1.2", in percentage points. */
export function signed(fraction: number): string {
  const text = percent(Math.abs(fraction));
  if (Number(text) === 0) return "0.0";
  return `${fraction < 0 ? "−" : "+"}${text}`;
}

/** A p-value with three decimals; below that "< 0.001". */
export function pText(p: number): string {
  return p < 0.001 ? "< 0.001" : p.toFixed(3);
}

const intervalText = ({ low, high }: { low: number; high: number }) => `${signed(low)} to ${signed(high)}`;

/** A comparison as text for a terminal, in percent; ends with a line break. */
export function renderComparison(comparison: Comparison, options: ComparisonReportOptions): string {
  const paint = picocolors.createColors(options.colour ?? false);
  const { counts, bootstrap } = comparison;
  const { names, title } = options;
  const heading = [
    ...names.a.map((name) => paint.bold(`A  ${printable(name)}`)),
    ...names.b.map((name) => paint.bold(`B  ${printable(name)}`)),
    paint.dim(`${printable(title)}: ${grouped(counts.rows)} rows, ${grouped(counts.sentences)} sentences`),
  ].join("\n");
  const level = `${Number((100 * bootstrap.level).toFixed(1))} %`;
  const how = `Intervals (${level}) and p: paired bootstrap of ${grouped(bootstrap.draws)} draws over sentences, seed ${bootstrap.seed}.`;
  const meanings = COMPARED.map((name) => paint.dim(`${name.padEnd(12)}  ${MEANINGS[name]}`)).join("\n");
  const blocks = [heading, f1Table(comparison, level, paint), `${meanings}\n${paint.dim(how)}`];
  if (Math.max(names.a.length, names.b.length) > 1) blocks.push(eachTable(comparison, paint));
  blocks.push(relationTable(comparison, level, paint), changedBlock(comparison, options, paint));
  return `${blocks.join("\n\n")}\n`;
}

type Paint = ReturnType<typeof picocolors.createColors>;

function drawTable(heading: string[], lines: string[][], paint: Paint): string {
  return plainTable(
    heading.map((text) => paint.dim(text)),
    lines,
  );
}

function f1Table({ f1 }: Comparison, level: string, paint: Paint): string {
  const hasSeeds = COMPARED.some((name) => f1[name].withSeeds !== null);
  const heading = ["F1", "A", "B", "B − A", `${level} interval`, "p"];
  const lines = COMPARED.map((name) => {
    const { a, b, difference, interval, p, withSeeds } = f1[name];
    const seeds = withSeeds === null ? [] : [intervalText(withSeeds.interval), pText(withSeeds.p)];
    return [name, percent(a), percent(b), paint.bold(signed(difference)), intervalText(interval), pText(p), ...seeds];
  });
  return drawTable([...heading, ...(hasSeeds ? ["seeds drawn too", "p"] : [])], lines, paint);
}

function eachTable({ f1 }: Comparison, paint: Paint): string {
  const listed = (values: readonly number[]) => values.map(percent).join(", ");
  const lines = COMPARED.map((name) => {
    const { each }: Difference = f1[name];
    return [name, listed(each.a), listed(each.b)];
  });
  return drawTable(["each run", "A", "B"], lines, paint);
}

function relationTable({ relations }: Comparison, level: string, paint: Paint): string {
  const sorted = [...relations].sort((a, b) => b.support - a.support);
  const lines = sorted.map(({ relation, isNoRelation, support, a, b, difference, interval }) => [
    isNoRelation ? `${printable(relation)} ${paint.dim("(no relation)")}` : printable(relation),
    grouped(support),
    percent(a),
    percent(b),
    paint.bold(signed(difference)),
    intervalText(interval),
  ]);
  return drawTable(["relation", "gold", "A", "B", "B − A", `${level} interval`], lines, paint);
}

function changedBlock(comparison: Comparison, options: ComparisonReportOptions, paint: Paint): string {
  const { changed, counts } = comparison;
  const alike = counts.rows - changed.length;
  const kinds = Object.entries(CHANGES) as [RowChange, string][];
  const summary = kinds.map(([change, name]) => `${grouped(counts.changed[change])} ${name}`).join(", ");
  const lines = [`rows: ${summary}, ${grouped(alike)} alike`];
  for (const change of ["right-to-wrong", "wrong-to-right"] as const) {
    const own = changed.filter((row) => row.change === change);
    const shown = own.slice(0, options.maxRows ?? 5);
    for (const row of shown) lines.push(...changedLines(row, options, paint));
  }
  return lines.join("\n");
}

/** The longest part of a sentence that is shown. */
const SENTENCE_CHARACTERS = 60;

function changedLines({ place, change, a, b }: ChangedRow, options: ComparisonReportOptions, paint: Paint): string[] {
  const { sentence, head, tail } = options.examples[place];
  const gold = new Set(options.rows[place].gold);
  const answers = (runs: readonly (readonly string[])[]) =>
    [...new Set(runs.map((labels) => labels.join(", ") || "nothing"))].map(printable).join(" | ");
  return [
    `  ${paint.dim(CHANGES[change])}  ${printable(quoted(sentence, SENTENCE_CHARACTERS))}`,
    `    (${printable(head)}, ${printable(tail)})  ${[...gold].map(printable).join(", ")}  A ${answers(a)}  B ${answers(b)}`,
  ];
}

export const COMPARISON_SCHEMA = "cre-comparison";
export const COMPARISON_VERSION = 1;

/** The content of `cre compare --json`. Fractions in [0, 1]; the version rises when a field is removed or changes its meaning. */
export interface ComparisonJson extends Omit<Comparison, "changed"> {
  schema: typeof COMPARISON_SCHEMA;
  version: typeof COMPARISON_VERSION;
}

/** A comparison as a plain object for JSON; its changed rows are {@link changedRowsJson}. */
export function comparisonJson({ f1, relations, counts, bootstrap }: Comparison): ComparisonJson {
  return { schema: COMPARISON_SCHEMA, version: COMPARISON_VERSION, f1, relations, counts, bootstrap };
}

/** A changed row as one line of JSON for `--rows FILE`; a side of one run has its labels, one of several a list for each run. */
export interface ChangedRowJson extends Pick<Example, "id" | "sentence" | "head" | "tail" | "headSpan" | "tailSpan"> {
  change: RowChange;
  relations: readonly string[];
  a: readonly (readonly string[])[];
  b: readonly (readonly string[])[];
}

export function changedRowsJson({ changed }: Comparison, examples: readonly Example[]): ChangedRowJson[] {
  return changed.map(({ place, change, a, b }) => {
    const { id, sentence, head, tail, headSpan, tailSpan, relations = [] } = examples[place];
    return { change, id, sentence, head, tail, headSpan, tailSpan, relations, a, b };
  });
}
