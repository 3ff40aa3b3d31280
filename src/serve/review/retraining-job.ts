import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../../base/files.ts";
import { isFinished, type LogLine, readLog, runFolder } from "../../runs/run-folder.ts";
import { Problem } from "../problem.ts";
import type { RetrainingCounts } from "./retraining-data.ts";

/** A retraining as its folder has it. */
export interface Job {
  id: string;
  /** The served run that it starts from, and its folder. */
  run: string;
  from: string;
  counts: RetrainingCounts;
  /** Epochs of its recipe; absent in a folder of an earlier version. */
  epochs?: number;
  startedAt: string;
  failure?: string;
  isCancelled?: true;
}

/** What is known of a retraining at a time. */
export interface RetrainingState extends Omit<Job, "from" | "isCancelled"> {
  state: "running" | "finished" | "failed" | "cancelled";
  /** ISO 8601; null before its end. */
  finishedAt: string | null;
  /** The last step of its log, and the epochs up to it. */
  progress: { step: number; epoch: number };
  /** The whole curve of the loss, thinned to {@link MAX_POINTS} steps. */
  steps: { step: number; loss: number; epoch: number }[];
  validations: { step: number; epoch: number; microF1: number; paperF1: number; isBest: boolean }[];
  /** The paired comparison of both runs on the test split, once it was asked for; or why there is none. */
  comparison: unknown;
  isComparing: boolean;
}

const MAX_POINTS = 400;
const MAX_CHANGED_ROWS = 50;
const ID = /^[1-9]\d{0,5}$/;

/** The files of retrainings in a folder. */
export interface JobFolder {
  place(id: string): string;
  /** The folder of the run that is trained. */
  run(id: string): string;
  comparison(id: string): string;
  /** The rows that the compared runs answer in different ways. */
  changed(id: string): string;
  ids(): Promise<string[]>;
  all(): Promise<Job[]>;
  /** Throws a Problem where there is none. */
  read(id: string): Promise<Job>;
  save(job: Job): Promise<void>;
}

export function jobFolder(folder: string): JobFolder {
  const place = (id: string) => join(folder, id);
  const file = (id: string) => join(place(id), "job.json");
  const own: JobFolder = {
    place,
    run: (id) => join(place(id), "run"),
    comparison: (id) => join(place(id), "comparison.json"),
    changed: (id) => join(place(id), "changed.jsonl"),
    ids: async () => (await readdir(folder)).filter((name) => ID.test(name)).sort((a, b) => Number(a) - Number(b)),
    async all() {
      const ids = (await own.ids()).filter((id) => existsSync(file(id)));
      return Promise.all(ids.map(own.read));
    },
    async read(id) {
      if (ID.test(id) && existsSync(file(id))) return JSON.parse(await readFile(file(id), "utf8"));
      throw new Problem("not-found", `There is no retraining ${JSON.stringify(id.slice(0, 20))}.`);
    },
    save: (job) => writeFileAtomic(file(job.id), `${JSON.stringify(job)}\n`),
  };
  return own;
}

/** What the folder of a retraining says of it. */
export async function stateOf(job: Job, folder: JobFolder, isComparing: boolean): Promise<RetrainingState> {
  const files = runFolder(folder.run(job.id));
  const lines = existsSync(files.log) ? await readLog(files) : [];
  const steps = lines.filter(({ kind }) => kind === "step");
  const { from: _, isCancelled, ...shown } = job;
  const isDone = await isFinished(files);
  const last = steps.at(-1);
  return {
    ...shown,
    state: isDone ? "finished" : isCancelled ? "cancelled" : job.failure === undefined ? "running" : "failed",
    finishedAt: isDone ? (await stat(files.done)).mtime.toISOString() : null,
    progress: { step: last?.step ?? 0, epoch: Number(last?.epoch ?? 0) },
    steps: thinned(steps).map(({ step, loss, epoch }) => ({ step, loss: loss as number, epoch: epoch as number })),
    validations: validationsOf(lines),
    comparison: await comparisonOf(folder, job.id),
    isComparing,
  };
}

/** At most {@link MAX_POINTS} of them, the first and the last among them. */
function thinned<T>(points: readonly T[]): T[] {
  if (points.length <= MAX_POINTS) return [...points];
  const at = (i: number) => Math.round((i * (points.length - 1)) / (MAX_POINTS - 1));
  return Array.from({ length: MAX_POINTS }, (_, i) => points[at(i)]);
}

function validationsOf(lines: readonly LogLine[]): RetrainingState["validations"] {
  const epochs = new Map(lines.flatMap(({ kind, step, epoch }) => (kind === "step" ? [[step, Number(epoch)]] : [])));
  return lines.flatMap(({ kind, step, microF1, paperF1, isBest }) =>
    kind === "validation"
      ? [
          {
            ...{ step, epoch: epochs.get(step) ?? 0, isBest: isBest === true },
            ...{ microF1: Number(microF1), paperF1: Number(paperF1) },
          },
        ]
      : [],
  );
}

async function comparisonOf(folder: JobFolder, id: string): Promise<unknown> {
  if (!existsSync(folder.comparison(id))) return null;
  // Paths of runs and data are of no use to a client.
  const { runs: _runs, data: _data, ...comparison } = JSON.parse(await readFile(folder.comparison(id), "utf8"));
  if (!existsSync(folder.changed(id))) return comparison;
  const lines = (await readFile(folder.changed(id), "utf8")).split("\n").filter((line) => line !== "");
  return { ...comparison, changed: lines.slice(0, MAX_CHANGED_ROWS).map((line) => JSON.parse(line)) };
}
