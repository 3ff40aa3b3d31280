import { UserErrors } from "../base/errors.ts";
import type { Dataset } from "../data/dataset.ts";
import { type Example, exampleProblem, type LabelSet } from "../data/example.ts";
import { MAX_NEAREST_LABELS, unknownRelation } from "../data/jsonl.ts";
import type { AnnotatedSentence } from "../data/mentions-file.ts";
import { type Normalization, normalizedExample } from "../data/normalize.ts";
import { readSoftLabels } from "../data/soft-labels.ts";
import { type BadRow, mergeRows, type OnBadRow, type SplitCounts, type SplitName } from "../data/split.ts";

/** Rows to train on and to validate on, with their labels. */
export interface TrainingData {
  labels: LabelSet;
  train: readonly Example[];
  /** Without them the last weights are kept, not the best. */
  valid?: readonly Example[];
  /** Entities of training sentences that no row names, with their places: pairs for `train.negatives`. */
  annotated?: readonly AnnotatedSentence[];
  /** The same of validation sentences. */
  annotatedValid?: readonly AnnotatedSentence[];
}

/** A split that was read from a data folder; bad rows that were skipped are counted and listed. */
export interface DataEvent {
  kind: "data";
  directory: string;
  split: SplitName;
  counts: SplitCounts;
  badRows: readonly BadRow[];
}

/** Reads one split of a data folder and reports its counts. Throws UserErrors for bad rows, unless they are skipped. */
export async function readLabelledSplit(
  dataset: Dataset,
  split: SplitName,
  onBadRow: OnBadRow,
  onEvent: (event: DataEvent) => void,
): Promise<Example[]> {
  const { examples, counts, badRows } = await dataset.split(split, { onBadRow });
  onEvent({ kind: "data", directory: dataset.directory, split, counts, badRows });
  return examples;
}

/** Reads the training and validation rows of a data folder. Throws a UserError when they cannot be read. */
export async function readTrainingData(
  dataset: Dataset,
  onBadRow: OnBadRow,
  onEvent: (event: DataEvent) => void,
): Promise<Required<TrainingData>> {
  const read = (split: SplitName) => readLabelledSplit(dataset, split, onBadRow, onEvent);
  const train = await read("train");
  const valid = dataset.splitNames.includes("valid") ? await read("valid") : [];
  const [annotated, annotatedValid] = [await dataset.mentions("train"), await dataset.mentions("valid")];
  return { labels: dataset.labels, train, valid, annotated, annotatedValid };
}

/**
 * Rows that a program gives, checked, normalised and merged as rows from a file are, with the number of those that were merged into another.
 * Throws a UserErrors that lists all problems.
 */
export function labelledRows(
  rows: readonly Example[],
  labels: LabelSet,
  name: string,
  normalize?: Normalization,
): { examples: Example[]; merged: number } {
  const known = new Set(labels.labels);
  const problems: string[] = [];
  const good = rows.flatMap((row, i) => {
    const example = normalizedExample(row, normalize);
    const problem =
      typeof example === "string"
        ? example
        : (exampleProblem(example) ?? relationsProblem(example, known, problems.length < MAX_NEAREST_LABELS));
    if (problem !== null) problems.push(`row ${i + 1}: ${problem}`);
    return typeof example === "string" ? [] : [example];
  });
  if (rows.length === 0) problems.push("got no rows, expected at least one");
  if (problems.length > 0) throw new UserErrors(`${name}: the rows cannot be used:`, problems);
  return mergeRows(good);
}

function relationsProblem(
  { relations, softLabels }: Example,
  known: ReadonlySet<string>,
  isNearest: boolean,
): string | null {
  if (!relations?.length)
    return "got no relations, expected at least one label (the one for no relation, if none holds)";
  const unknown = relations.find((label) => !known.has(label));
  if (unknown !== undefined) return unknownRelation(unknown, known, isNearest);
  const soft = readSoftLabels(softLabels, known);
  return typeof soft === "string" ? soft : null;
}
