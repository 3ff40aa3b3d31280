import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { readJsonObject } from "../formats/json-file.ts";
import type { Run } from "../runs/run.ts";
import type { EvaluationSummary, RunInfo } from "./server-info.ts";

/** Numbers of a run that a list of runs shows. */
export type RunSummary = Pick<RunInfo, "trainedAt" | "steps" | "evaluation">;

const kept = new Map<string, { stamp: string; summary: RunSummary }>();

/** Reads them from the run's folder, once for each change of it. */
export async function runSummary({ folder }: Pick<Run, "folder">): Promise<RunSummary> {
  const files = [folder.done, folder.metrics];
  const stats = await Promise.all(files.map((file) => (existsSync(file) ? stat(file) : null)));
  const stamp = stats.map((one) => (one === null ? "" : `${one.mtimeMs} ${one.size}`)).join();
  const before = kept.get(folder.directory);
  if (before?.stamp === stamp) return before.summary;
  const [done, metrics] = stats;
  const steps = done && (await read(folder.done))?.steps;
  const evaluated = metrics && (await read(folder.metrics));
  const summary: RunSummary = {
    trainedAt: done?.mtime.toISOString() ?? null,
    steps: typeof steps === "number" ? steps : null,
    evaluation: evaluated ? evaluationOf(evaluated, (metrics as { mtime: Date }).mtime) : null,
  };
  kept.set(folder.directory, { stamp, summary });
  return summary;
}

// A file that another program is writing, or has spoilt, is as one that is not there: the report of the run tells what is wrong.
const read = (file: string) => readJsonObject(file, "a summary of a run").catch(() => null);

function evaluationOf(metrics: Record<string, unknown>, at: Date): EvaluationSummary | null {
  const { counts, conventions, macro, intervals, references } = metrics as {
    counts?: { rows: number; sentences: number };
    conventions?: Record<string, { f1: number }>;
    macro?: { f1: number };
    intervals?: { level: number; micro: { low: number; high: number } } | null;
    references?: { name: string; f1: { micro?: number } }[];
  };
  // The metrics of a joint evaluation have other fields.
  if (!counts || !conventions?.micro || !conventions.paper || !macro) return null;
  return {
    ...{ at: at.toISOString(), rows: counts.rows, sentences: counts.sentences },
    f1: { micro: conventions.micro.f1, paper: conventions.paper.f1, macro: macro.f1 },
    interval: intervals?.micro
      ? { low: intervals.micro.low, high: intervals.micro.high, level: intervals.level }
      : null,
    references: (references ?? []).flatMap(({ name, f1 }) =>
      f1.micro === undefined ? [] : [{ name, micro: f1.micro }],
    ),
  };
}
