import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Run } from "../../runs/run.ts";
import { Problem } from "../problem.ts";
import {
  type DatasetPlace,
  type RowsFound,
  type RowsWanted,
  rowsOf,
  type SplitSummary,
  summariesOf,
} from "./read-dataset.ts";

/** The data folders that runs were trained on, read in threads, one at a time. */
export interface Datasets {
  /** Counts the splits; the counts are kept until a file of the folder changes. Throws a Problem for a folder that cannot be read. */
  summaries(run: Pick<Run, "recipe" | "labels">): Promise<Record<string, SplitSummary>>;
  /** Throws a Problem for rows that cannot be read. */
  rows(run: Pick<Run, "recipe" | "labels">, wanted: RowsWanted): Promise<RowsFound>;
}

const MAX_HEAP_MEGABYTES = 2048;
const MAX_WAITING = 64;
const READERS = { summariesOf, rowsOf };

export function createDatasets(): Datasets {
  const kept = new Map<string, { stamp: string; summaries: Record<string, SplitSummary> }>();
  let waiting = 0;
  let last: Promise<unknown> = Promise.resolve();
  /** One thread at a time: a folder may be large. */
  const inTurn = <T>(read: () => Promise<T>): Promise<T> => {
    if (waiting >= MAX_WAITING) {
      throw new Problem("queue-full", "Too many requests wait for data.", { retryAfterSeconds: 1 });
    }
    waiting++;
    const turn = last.then(read);
    last = turn.catch(() => {}).then(() => waiting--);
    return turn;
  };
  return {
    summaries: (run) =>
      inTurn(async () => {
        const place = placeOf(run);
        const stamp = `${place.labels.labels.join("\n")}\n${await stampOf(place.path)}`;
        const before = kept.get(place.path);
        if (before?.stamp === stamp) return before.summaries;
        const summaries = await readAside("summariesOf", place);
        kept.set(place.path, { stamp, summaries });
        return summaries;
      }),
    rows: (run, wanted) => inTurn(() => readAside("rowsOf", { ...placeOf(run), wanted })),
  };
}

function placeOf({ recipe, labels }: Pick<Run, "recipe" | "labels">): DatasetPlace {
  const { path, format, normalize } = recipe.data;
  if (path !== undefined) return { path, format, labels, normalize };
  throw new Problem("unusable", "The run does not know where its data is.", {
    hint: "Serve a run that was trained on a data folder.",
  });
}

/** Names, sizes and times of the files of a folder. */
async function stampOf(directory: string): Promise<string> {
  const names = await readdir(directory).catch(() => {
    throw new Problem("unusable", "The data of the run cannot be read: its folder is not there.");
  });
  const stamps = names.sort().map(async (name) => {
    const { size, mtimeMs } = await stat(join(directory, name));
    return `${name} ${size} ${mtimeMs}`;
  });
  return (await Promise.all(stamps)).join("\n");
}

/** Reads in a thread; in this one where the program runs from its TypeScript sources. */
async function readAside<K extends keyof typeof READERS>(
  read: K,
  place: Parameters<(typeof READERS)[K]>[0],
): Promise<Awaited<ReturnType<(typeof READERS)[K]>>> {
  type Value = Awaited<ReturnType<(typeof READERS)[K]>>;
  // A message names the folder by its path, which clients need not know.
  const failed = (detail: string) =>
    new Problem("unusable", `The data of the run cannot be read: ${detail.replaceAll(place.path, "data")}`);
  if (import.meta.url.endsWith(".ts")) {
    const reader = READERS[read] as (given: typeof place) => Promise<Value>;
    return reader(place).catch((error: Error) => {
      throw failed(error.message);
    });
  }
  const worker = new Worker(new URL("./dataset-thread.mjs", import.meta.url), {
    workerData: { module: new URL("./read-dataset.js", import.meta.url).href, read, place },
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MEGABYTES },
    stdout: true,
    stderr: true,
  });
  try {
    return await new Promise<Value>((done, fail) => {
      worker.once("message", ({ value, problem }: { value: Value; problem?: string }) =>
        problem === undefined ? done(value) : fail(failed(problem)),
      );
      worker.once("error", (error) => fail(failed(error.message)));
      worker.once("exit", () => fail(failed("the reader ended.")));
    });
  } finally {
    await worker.terminate();
  }
}
