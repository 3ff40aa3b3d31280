import { existsSync } from "node:fs";
import { UserError } from "../base/errors.ts";
import { openDataset } from "../data/dataset.ts";
import { type Example, type LabelSet, quoted } from "../data/example.ts";
import { inputKey, type OnBadRow, type SplitName } from "../data/split.ts";
import type { BootstrapOptions } from "../evaluate/bootstrap.ts";
import { type Comparison, compareRows } from "../evaluate/compare.ts";
import type { ScoredRow } from "../evaluate/rows.ts";
import type { Recipe } from "../recipe/schema.ts";
import type { EvaluationEvent } from "./evaluation.ts";
import { type DataEvent, readLabelledSplit } from "./labelled-rows.ts";
import { readRunLabels } from "./open.ts";
import { openRun } from "./run.ts";
import { openRunFolder, type RunFolder } from "./run-folder.ts";
import { expectSameLabels } from "./same-labels.ts";
import { findPredictions, rowsDigest, savePredictions } from "./saved-predictions.ts";

/** What happens to one of the runs that are compared. */
export type ComparisonEvent = { run: string } & (
  | EvaluationEvent
  | { kind: "loading"; done: number; total: number }
  /** Its answers to these rows were kept by an earlier evaluation. */
  | { kind: "saved" }
);

export interface CompareOptions {
  /** A data folder in the place of the one that each run was trained on. */
  data?: string;
  /** Default test. */
  split?: SplitName;
  /** What happens to a bad row; default: as in training. */
  onBadRow?: OnBadRow;
  /** Default 10,000 draws, seed 1, level 0.95. */
  bootstrap?: BootstrapOptions;
  onEvent?: (event: ComparisonEvent) => void;
}

export interface RunComparison extends Comparison {
  /** The folders of the runs. */
  runs: { a: string[]; b: string[] };
  data: string;
  split: SplitName;
  examples: Example[];
  /** The scored rows of every run, in the order of `runs`. */
  rows: { a: ScoredRow[][]; b: ScoredRow[][] };
}

/** A run with the labelled rows that it is asked. */
export interface AskedRun {
  directory: string;
  folder: RunFolder;
  recipe: Recipe;
  labels: LabelSet;
  /** Name and path of the data folder. */
  data: { name: string; path: string };
  examples: Example[];
}

/**
 * Compares two runs, or two lists of runs that differ in their seed, on the same rows: see `compareRows`. Answers that an earlier evaluation
 * kept are used; runs without them are evaluated, and their answers are kept. Throws a UserError for runs whose rows or labels differ.
 */
export async function compareRuns(
  a: string | readonly string[],
  b: string | readonly string[],
  options: CompareOptions = {},
): Promise<RunComparison> {
  const { split = "test" } = options;
  const sides = { a: [a].flat(), b: [b].flat() };
  if (sides.a.length === 0 || sides.b.length === 0) {
    throw new UserError("compare: got a side without runs, expected at least one run on each side.");
  }
  const runs: AskedRun[] = [];
  for (const directory of [...sides.a, ...sides.b]) runs.push(await readAskedRun(directory, split, options));
  for (const run of runs.slice(1)) expectSameRows(runs[0], run, split);
  const rows: ScoredRow[][] = [];
  for (const run of runs) rows.push(await answersOf(run, split, options));
  const answers = { a: rows.slice(0, sides.a.length), b: rows.slice(sides.a.length) };
  const [{ labels, data, examples }] = runs;
  const comparison = compareRows(answers.a, answers.b, labels, options.bootstrap);
  return { ...comparison, runs: sides, data: data.name, split, examples, rows: answers };
}

/** Reads the rows of a split that a run is asked. Throws a UserError for a run without data. */
export async function readAskedRun(
  directory: string,
  split: SplitName,
  { data, onBadRow, onEvent }: Pick<CompareOptions, "data" | "onBadRow" | "onEvent">,
): Promise<AskedRun> {
  const { folder, recipe } = await openRunFolder(directory);
  const path = data ?? recipe.data.path;
  if (path === undefined || !existsSync(path)) {
    const problem = path === undefined ? "does not know where its data is" : `its data ${path} does not exist`;
    throw new UserError(`${directory}: ${problem}.`, { hint: "Give the data folder: --data DIR." });
  }
  const labels = await readRunLabels(folder);
  const dataset = await openDataset(path, { format: recipe.data.format, labels, normalize: recipe.data.normalize });
  const onData = (event: DataEvent) => onEvent?.({ run: directory, ...event });
  const examples = await readLabelledSplit(dataset, split, onBadRow ?? recipe.data.badRows, onData);
  return { directory, folder, recipe, labels, data: { name: dataset.name, path }, examples };
}

/** Throws a UserError that names the first difference between the rows or the labels of two runs. */
export function expectSameRows(first: AskedRun, other: AskedRun, split: SplitName): void {
  expectSameLabels(first, other, "Only runs with the same labels can be compared.");
  if (rowsDigest(first.examples) === rowsDigest(other.examples)) return;
  const where = `${first.directory} and ${other.directory}`;
  const hint = "Give one data folder for all of them: --data DIR.";
  const counts = [first, other].map(({ examples }) => examples.length);
  const place = first.examples.findIndex((example, i) => !isSameRow(example, other.examples[i]));
  if (place < 0 || counts[0] !== counts[1]) {
    throw new UserError(`${where}: have ${counts[0]} and ${counts[1]} ${split} rows, expected the same rows.`, {
      hint,
    });
  }
  const [one, two] = [first, other].map(({ examples }) => {
    const { sentence, head, tail, relations = [] } = examples[place];
    return `${quoted(sentence)} (${head}, ${tail}) ${relations.join(", ")}`;
  });
  throw new UserError(`${where}: have different ${split} rows, the first is row ${place + 1}: ${one} and ${two}.`, {
    hint,
  });
}

function isSameRow(a: Example, b: Example | undefined): boolean {
  return b !== undefined && inputKey(a) === inputKey(b) && JSON.stringify(a.relations) === JSON.stringify(b.relations);
}

/** The scored answers of a run: those that were kept, or new ones. */
async function answersOf(run: AskedRun, split: SplitName, options: CompareOptions): Promise<ScoredRow[]> {
  const { directory, examples, data } = run;
  const onEvent = options.onEvent ?? (() => {});
  const saved = await findPredictions(run, examples, split);
  if (saved !== null) {
    onEvent({ run: directory, kind: "saved" });
    return saved;
  }
  const opened = await openRun(directory, {
    onNotice: (text) => onEvent({ run: directory, kind: "notice", text }),
    onLoad: (done, total) => onEvent({ run: directory, kind: "loading", done, total }),
  });
  try {
    const evaluation = await opened.evaluate({
      ...{ data: data.path, split, onBadRow: options.onBadRow, bootstrap: null },
      onEvent(event) {
        // The rows were read, and their bad rows told, before.
        if (event.kind !== "data") onEvent({ run: directory, ...event });
      },
    });
    await savePredictions(opened, evaluation).catch((error: unknown) => {
      if (!(error instanceof UserError)) throw error;
      onEvent({ run: directory, kind: "notice", text: `its answers are not kept: ${error.message}` });
    });
    return evaluation.rows;
  } finally {
    await opened.close();
  }
}
