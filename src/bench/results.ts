import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { parseJson } from "../base/json-text.ts";
import { CONVENTIONS, type Convention } from "../evaluate/tally.ts";
import { readRecipe } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { hasSameBase, isFinished, readLog, runFolder } from "../runs/run-folder.ts";
import { median } from "./train-step.ts";

const MAX_JSON_BYTES = 50_000_000;

const fraction = z.number().min(0).max(1);
const interval = z.object({ low: fraction, high: fraction });
/** Other entries of the file are not looked at. */
const ofEach = <T extends z.ZodType>(schema: T) => z.object({ paper: schema, micro: schema, "micro-argmax": schema });
const metricsSchema = z.object({
  data: z.string(),
  split: z.string(),
  conventions: ofEach(z.object({ f1: fraction })),
  intervals: ofEach(interval).nullable(),
});
const doneSchema = z.object({ steps: z.number(), peakResidentBytes: z.number().optional() });

/** What the table says of one finished run. */
export interface RunResult {
  data: string;
  split: string;
  f1: Record<Convention, number>;
  intervals: Record<Convention, { low: number; high: number }> | null;
  /** Steps and validations as logged, without what was made again after a crash. */
  trainingSeconds: number;
  peakResidentBytes: number | null;
}

/** Reads what `cre train` and `cre evaluate` left in a run folder; null when one of them has not finished. Throws a UserError for files of another form. */
export async function readRunResult(directory: string): Promise<RunResult | null> {
  const folder = runFolder(directory);
  if (!(await isFinished(folder)) || !existsSync(folder.metrics)) return null;
  const metrics = await readChecked(folder.metrics, metricsSchema);
  const done = await readChecked(folder.done, doneSchema);
  const log = await readLog(folder);
  const trainingSeconds = log.reduce((sum, line) => sum + (typeof line.seconds === "number" ? line.seconds : 0), 0);
  return {
    data: metrics.data,
    split: metrics.split,
    f1: Object.fromEntries(CONVENTIONS.map((name) => [name, metrics.conventions[name].f1])) as RunResult["f1"],
    intervals: metrics.intervals,
    trainingSeconds,
    peakResidentBytes: done.peakResidentBytes ?? null,
  };
}

async function readChecked<T extends z.ZodType>(file: string, schema: T): Promise<z.output<T>> {
  const text = await readTextFile(file, "JSON of a run", MAX_JSON_BYTES);
  const result = schema.safeParse(parseJson(text, `${file}:`));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new UserError(`${file}: ${issue.path.map(String).join(".")}: ${issue.message}.`, {
    hint: "Was it written by this version? cre evaluate RUN writes metrics.json again.",
  });
}

/** Values of a recipe that say where files lie or how often is saved; the base model is compared by its fingerprint. */
const NOT_COMPARED = new Set(["model.path", "model.tokenizer", "data.path", "train.checkpointSeconds"]);

/**
 * Throws a UserError that names what differs when the run of a folder was begun with other values than the recipe's, or from another base
 * model: the table would list its numbers under a name that is not theirs.
 */
export async function expectSameRun(directory: string, recipe: Recipe): Promise<void> {
  const folder = runFolder(directory);
  const own = await readRecipe(folder.recipe);
  const differences = differingValues(own, recipe, "");
  if ((await hasSameBase(folder, recipe)) === false) differences.push("another base model");
  if (differences.length === 0) return;
  throw new UserError(`${directory}: was made with other settings than the recipe's now: ${differences.join("; ")}.`, {
    hint: "Move the folder away to train it again, or give another one with --runs DIR.",
  });
}

/** Paths of values that differ, with both values; "auto" is equal to what a run made of it. */
function differingValues(own: unknown, given: unknown, path: string): string[] {
  if (NOT_COMPARED.has(path) || given === "auto") return [];
  const isGroup = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  if (isGroup(own) && isGroup(given)) {
    const keys = [...new Set([...Object.keys(own), ...Object.keys(given)])];
    return keys.flatMap((key) => differingValues(own[key], given[key], path === "" ? key : `${path}.${key}`));
  }
  const [was, is] = [own, given].map((value) => JSON.stringify(value) ?? "nothing");
  return was === is ? [] : [`${path} was ${was}, is ${is}`];
}

/** The runs of one recipe, one for each seed. */
export interface ResultGroup {
  recipe: string;
  runs: readonly { seed: number; result: RunResult }[];
}

/**
 * A Markdown table, one line a recipe: F1 in percent as the mean over the seeds, in parentheses the 95 % bootstrap interval over sentences (mean
 * of the seeds' limits), then each seed's; the median run's training time and the largest run's memory.
 */
export function resultsTable(groups: readonly ResultGroup[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const head = ["recipe", "data", ...CONVENTIONS.map((name) => `\`${name}\``), "training", "memory"];
  const lines = groups.map(({ recipe, runs }) => {
    const results = runs.map(({ result }) => result);
    const seconds = median(results.map(({ trainingSeconds }) => trainingSeconds));
    const memory = results.map(({ peakResidentBytes }) => peakResidentBytes ?? 0);
    return line([
      basename(recipe).replace(/\.ya?ml$/, ""),
      [...new Set(results.map(({ data, split }) => (split === "test" ? data : `${data}, ${split}`)))].join(", "),
      ...CONVENTIONS.map((name) => f1Cell(results, name)),
      seconds < 600 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`,
      Math.max(...memory) > 0 ? `${(Math.max(...memory) / 1e9).toFixed(1)} GB` : "–",
    ]);
  });
  return `${[line(head), `|${"---|".repeat(head.length)}`, ...lines].join("\n")}\n`;
}

const percent = (value: number) => (100 * value).toFixed(1);
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function f1Cell(results: readonly RunResult[], name: Convention): string {
  const all = results.map(({ f1 }) => f1[name]);
  const known = results.flatMap(({ intervals }) => (intervals ? [intervals[name]] : []));
  const limits =
    known.length > 0
      ? ` (${percent(mean(known.map(({ low }) => low)))}–${percent(mean(known.map(({ high }) => high)))})`
      : "";
  const each = all.length > 1 ? `: ${all.map(percent).join(", ")}` : "";
  return `${percent(mean(all))}${limits}${each}`;
}

/** The folder of one run of the table. */
export function resultFolder(runs: string, recipe: string, seed: number): string {
  return join(runs, `${basename(recipe).replace(/\.ya?ml$/, "")}-seed${seed}`);
}
