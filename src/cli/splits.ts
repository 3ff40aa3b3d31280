import type { Dataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import type { OnBadRow, SplitName } from "../data/split.ts";
import { type DataEvent, readLabelledSplit } from "../runs/labelled-rows.ts";
import { say, warn } from "./terminal.ts";

const MAX_SHOWN = 20;

/** Prints the rows of a split that were skipped or merged. */
export function warnBadRows({ directory, split, counts, badRows }: DataEvent): void {
  if (counts.merged > 0) {
    warn(`${directory}: ${counts.merged} rows of ${split} were merged into a row of the same sentence, head and tail.`);
  }
  if (badRows.length === 0) return;
  warn(`${directory}: ${counts.badRows} bad rows of ${split} were left out:`);
  for (const { file, line, problem } of badRows.slice(0, MAX_SHOWN)) say(`  ${file}, line ${line}: ${problem}`);
}

/** Reads a split and prints the rows that were skipped or merged. */
export function readSplit(dataset: Dataset, split: SplitName, onBadRow: OnBadRow): Promise<Example[]> {
  return readLabelledSplit(dataset, split, onBadRow, warnBadRows);
}
