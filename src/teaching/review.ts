import { UserError, UserErrors } from "../base/errors.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { readJsonl } from "../data/jsonl.ts";
import type { LabelledQuestion } from "./label-questions.ts";

/** Labels that a person gave to rows. */
export interface ReviewedRows {
  /** The relations of a row; null for one that no person has seen. */
  of(example: Example): string[] | null;
  readonly count: number;
}

const MAX_SHOWN = 20;

/** The rows that a person should see, the least certain first: those without a readable answer, then by the margin between the two largest shares. */
export function leastCertain(
  labelled: readonly LabelledQuestion[],
  wanted: number,
  reviewed: ReviewedRows,
): LabelledQuestion[] {
  const marginOf = ({ verdict }: LabelledQuestion) => verdict?.margin ?? -1;
  return labelled
    .filter(({ question }) => reviewed.of(question.example) === null)
    .map((one, place) => ({ one, place }))
    .sort((a, b) => marginOf(a.one) - marginOf(b.one) || a.place - b.place)
    .slice(0, wanted)
    .map(({ one }) => one);
}

/**
 * Reads rows that a person labelled: JSONL of {sentence, head, tail, relations}. Spans tell rows apart only where both rows have them, since
 * other programs add them. Throws UserErrors for rows that cannot be used.
 */
export async function readReviewed(files: readonly string[], labels: LabelSet): Promise<ReviewedRows> {
  const rows = new Map<string, Example[]>();
  const problems: string[] = [];
  let [read, bad] = [0, 0];
  for (const file of files) {
    for await (const { line, example, problem } of readJsonl(file, { labels, requireRelations: true })) {
      read++;
      if (example === null) {
        bad++;
        if (problems.length < MAX_SHOWN) problems.push(`${file}, line ${line}: ${problem}.`);
        continue;
      }
      const key = namesOf(example);
      // A later row replaces an earlier one of the same place.
      rows.set(key, [...(rows.get(key) ?? []).filter((one) => !isSamePlace(one, example)), example]);
    }
    if (read === 0) throw new UserError(`${file}: is empty, expected rows that a person has labelled.`);
  }
  if (bad > 0) {
    if (bad > problems.length) problems.push(`… and ${bad - problems.length} more`);
    throw new UserErrors(`--reviewed: ${bad} of ${read} rows cannot be used:`, problems, {
      hint: 'Give each of them its "relations", or remove the rows that nobody has looked at.',
    });
  }
  return {
    of: (example) => rows.get(namesOf(example))?.find((one) => isSamePlace(one, example))?.relations ?? null,
    count: [...rows.values()].reduce((sum, own) => sum + own.length, 0),
  };
}

const namesOf = ({ sentence, head, tail }: Example) => JSON.stringify([sentence, head, tail]);

function isSamePlace(a: Example, b: Example): boolean {
  return (["headSpan", "tailSpan"] as const).every((key) => {
    const [first, second] = [a[key], b[key]];
    return !first || !second || (first.start === second.start && first.end === second.end);
  });
}
