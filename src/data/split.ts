import { UserError, UserErrors } from "../base/errors.ts";
import type { Example } from "./example.ts";
import type { Normalization } from "./normalize.ts";
import { meanSoftLabels } from "./soft-labels.ts";

export type SplitName = "train" | "valid" | "test";

/** A row that cannot be used: `problem` says what it has and what was expected. */
export interface BadRow {
  file: string;
  line: number;
  problem: string;
}

/** Whether rows with equal input (sentence, head, tail and spans) become one example or stay apart. */
export type EqualRows = "merge" | "keep";

export interface SplitOptions {
  /** Default: stop. */
  onBadRow?: OnBadRow;
  /** Default: merge. */
  equalRows?: EqualRows;
  /** Default: none. */
  normalize?: Normalization;
  maxRowBytes?: number;
}

/** rows = badRows + merged + examples. */
export interface SplitCounts {
  /** Lines that are not blank. */
  rows: number;
  badRows: number;
  /** Rows whose relation was added to an earlier example with equal input. */
  merged: number;
  /** Good rows that equal an earlier one. */
  exactDuplicates: number;
  examples: number;
}

export interface Split {
  examples: Example[];
  /** The first {@link MAX_LISTED_BAD_ROWS} of them; `counts.badRows` counts all. */
  badRows: BadRow[];
  counts: SplitCounts;
}

/** A bad row stops everything with a message, or is left out, counted and listed. */
export type OnBadRow = "stop" | "skip";

export const MAX_ROW_BYTES = 1_000_000;
const MAX_LISTED_BAD_ROWS = 1000;
const MAX_SHOWN_BAD_ROWS = 20;

export function emptySplit(): Split {
  return { examples: [], badRows: [], counts: { rows: 0, badRows: 0, merged: 0, exactDuplicates: 0, examples: 0 } };
}

/**
 * Collects the good rows of a split. Rows with equal input become one example with the relations of all in file order, repeats kept: their
 * prompts are equal in every style, so a model cannot answer them differently (CRE-LLM's rule). The first row's id is kept. Soft labels become
 * their mean, in which every row counts once.
 */
export function rowCollector(split: Split, equalRows: EqualRows = "merge"): (example: Example) => void {
  const examples = new Map<string, Example>();
  const contents = new Set<string>();
  /** Rows of an example with soft labels. */
  const softRows = new Map<string, Example[]>();
  return (example) => {
    const key = inputKey(example);
    const content = `${JSON.stringify(example.relations)} ${key}`;
    if (contents.has(content)) split.counts.exactDuplicates++;
    contents.add(content);
    const earlier = equalRows === "merge" ? examples.get(key) : undefined;
    if (earlier === undefined) {
      const own = example.relations === undefined ? example : { ...example, relations: [...example.relations] };
      examples.set(key, own);
      split.examples.push(own);
    } else {
      split.counts.merged++;
      if (example.softLabels || earlier.softLabels) {
        const rows = softRows.get(key) ?? [{ ...earlier }];
        softRows.set(key, [...rows, example]);
        earlier.softLabels = meanSoftLabels([...rows, example]);
      }
      if (example.relations !== undefined) earlier.relations = [...(earlier.relations ?? []), ...example.relations];
    }
  };
}

/** What makes the inputs of two rows equal: the texts and, where the data has them, the places of the mentions. */
export function inputKey(row: Pick<Example, "sentence" | "head" | "tail" | "headSpan" | "tailSpan">): string {
  const { sentence, head, tail, headSpan, tailSpan } = row;
  return JSON.stringify([sentence, head, tail, headSpan?.start, headSpan?.end, tailSpan?.start, tailSpan?.end]);
}

/** Rows that a program gives, with those of equal input merged as those of a file are; `merged` of them were added to an earlier one. */
export function mergeRows(rows: readonly Example[]): { examples: Example[]; merged: number } {
  const split = emptySplit();
  rows.forEach(rowCollector(split));
  return { examples: split.examples, merged: split.counts.merged };
}

/** What a user hears of rows that were merged; null for none. */
export function mergedNotice(where: string, merged: number): string | null {
  return merged === 0 ? null : `${where}: ${merged} rows were merged into a row of the same sentence, head and tail.`;
}

/** Counts a bad row and keeps it while the list is short. */
export function addBadRow(split: Split, badRow: BadRow): void {
  split.counts.badRows++;
  if (split.badRows.length < MAX_LISTED_BAD_ROWS) split.badRows.push(badRow);
}

/** Checks a split after its last row. Throws UserErrors for bad rows that may not be skipped and a UserError when no row is left. */
export function finishSplit(split: Split, file: string, onBadRow: OnBadRow): Split {
  const { counts, badRows } = split;
  counts.examples = split.examples.length;
  if (counts.rows === 0) throw new UserError(`${file}: is empty, expected at least one row.`);
  const isUnusable = counts.badRows === counts.rows;
  if (counts.badRows > 0 && (onBadRow === "stop" || isUnusable)) {
    const shown = badRows.slice(0, MAX_SHOWN_BAD_ROWS).map((row) => `${row.file}, line ${row.line}: ${row.problem}.`);
    if (counts.badRows > shown.length) shown.push(`… and ${counts.badRows - shown.length} more`);
    const hint = isUnusable
      ? "Is this the right format?"
      : "Correct the rows, or leave them out with --skip-bad: they are counted and listed.";
    throw new UserErrors(`${file}: ${counts.badRows} of ${counts.rows} rows cannot be used:`, shown, { hint });
  }
  return split;
}
