import { UserError, UserErrors } from "../base/errors.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import { readJsonl } from "../data/jsonl.ts";
import { inputKey, type OnBadRow } from "../data/split.ts";
import type { Recipe } from "../recipe/schema.ts";

/** Rows without labels, with what was left out of their files. */
export interface UnlabelledRows {
  examples: Example[];
  counts: {
    rows: number;
    bad: number;
    /** Rows that are training rows, or that were there before. */
    repeated: number;
    /** Rows whose sentence is one of the validation or test split: a student must not learn from them. */
    held: number;
    /** Rows whose own relations are not read. */
    labelled: number;
  };
  /** The first bad rows: file, line and problem. */
  problems: string[];
}

const MAX_SHOWN = 20;

/**
 * Reads rows for teachers to label from JSONL files of {sentence, head, tail}. Rows of validation and test sentences are left out, and so are
 * repeated rows. Throws a UserErrors for bad rows, unless they are skipped, and a UserError for a file of which no row is left.
 */
export async function readUnlabelled(
  files: readonly string[],
  dataset: Dataset,
  train: readonly Example[],
  { normalize, badRows }: Pick<Recipe["data"], "normalize"> & { badRows: OnBadRow },
): Promise<UnlabelledRows> {
  const counts = { rows: 0, bad: 0, repeated: 0, held: 0, labelled: 0 };
  const problems: string[] = [];
  const examples: Example[] = [];
  const held = files.length > 0 ? await heldSentences(dataset) : new Set<string>();
  const known = new Set(train.map(inputKey));
  for (const file of files) {
    const before = examples.length;
    for await (const row of readJsonl(file, { normalize })) {
      counts.rows++;
      if (row.problem !== null) {
        counts.bad++;
        if (problems.length < MAX_SHOWN) problems.push(`${file}, line ${row.line}: ${row.problem}.`);
        continue;
      }
      const { relations, id: _, ...example } = row.example;
      const key = inputKey(example);
      if (held.has(example.sentence)) counts.held++;
      else if (known.has(key)) counts.repeated++;
      else {
        if (relations !== undefined) counts.labelled++;
        known.add(key);
        examples.push(example);
      }
    }
    if (counts.bad > 0 && badRows === "stop") continue;
    if (examples.length === before) {
      throw new UserError(`${file}: has no row to learn from, expected JSONL rows of {sentence, head, tail}.`, {
        hint: "Training rows, and rows of validation and test sentences, are left out.",
      });
    }
  }
  if (counts.bad > 0 && badRows === "stop") {
    if (counts.bad > problems.length) problems.push(`… and ${counts.bad - problems.length} more`);
    throw new UserErrors(`--rows: ${counts.bad} of ${counts.rows} rows cannot be used:`, problems, {
      hint: "Correct the rows, or leave them out with --skip-bad: they are counted and listed.",
    });
  }
  return { examples, counts, problems };
}

async function heldSentences(dataset: Dataset): Promise<Set<string>> {
  const sentences = new Set<string>();
  for (const name of ["valid", "test"] as const) {
    if (!dataset.splitNames.includes(name)) continue;
    const { examples } = await dataset.split(name, { onBadRow: "skip" });
    for (const { sentence } of examples) sentences.add(sentence);
  }
  return sentences;
}

/** What a user should know of the rows that were read; null for files without anything left out. */
export function unlabelledNotice({ examples, counts }: UnlabelledRows): string | null {
  const { bad, repeated, held, labelled } = counts;
  const parts = [
    ...(bad > 0 ? [`${bad} bad`] : []),
    ...(repeated > 0 ? [`${repeated} repeated or training rows`] : []),
    ...(held > 0 ? [`${held} of validation or test sentences`] : []),
  ];
  const left = parts.length > 0 ? `; left out: ${parts.join(", ")}` : "";
  const own = labelled > 0 ? `; the relations in ${labelled} of them are not read` : "";
  return left || own ? `--rows: ${examples.length} unlabelled rows${left}${own}.` : null;
}
