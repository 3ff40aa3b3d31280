import type { Example, LabelSet } from "../example.ts";
import { MAX_NEAREST_LABELS, unknownRelation } from "../jsonl.ts";
import { normalizedExample } from "../normalize.ts";
import { addBadRow, emptySplit, finishSplit, rowCollector, type Split, type SplitOptions } from "../split.ts";

/** A split that is filled row by row. */
export interface RowSplit {
  /** Takes a row, or what is wrong with it; a row with a label that is not known is a bad one. */
  add(line: number, row: Example | string): void;
  /** Throws UserErrors for bad rows (unless skipped) and a UserError for no rows. */
  finish(): Split;
}

/** The split of a file whose rows another format reads; see {@link rowCollector} for rows with equal input. */
export function rowSplit(file: string, labels: LabelSet, options: SplitOptions): RowSplit {
  const split = emptySplit();
  const collect = rowCollector(split, options.equalRows);
  const known = new Set(labels.labels);
  let nearest = 0;
  return {
    add(line, row) {
      split.counts.rows++;
      const found = typeof row === "string" ? row : normalizedExample(row, options.normalize);
      const unknown = typeof found === "string" ? undefined : found.relations?.find((label) => !known.has(label));
      if (typeof found === "string") addBadRow(split, { file, line, problem: found });
      else if (unknown === undefined) collect(found);
      else addBadRow(split, { file, line, problem: unknownRelation(unknown, known, ++nearest <= MAX_NEAREST_LABELS) });
    },
    finish: () => finishSplit(split, file, options.onBadRow ?? "stop"),
  };
}
