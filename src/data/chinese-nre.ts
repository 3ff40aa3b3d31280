import { readLines } from "../base/files.ts";
import { type Example, exampleProblem, type LabelSet, quoted } from "./example.ts";
import { addBadRow, emptySplit, finishSplit, MAX_ROW_BYTES, type OnBadRow, type Split } from "./split.ts";

/** One row of a file: `head TAB tail TAB relation TAB sentence`. */
export interface ChineseNreRow {
  head: string;
  tail: string;
  relation: string;
  sentence: string;
}

/**
 * Reads a split file in the format of thunlp/Chinese_NRE (FinRE, SanWen) and merges rows with equal head, tail and sentence: their prompts
 * are equal in every style. Relations come in file order, repeats kept. Blank lines are skipped, CRLF is
 * taken as a line end; spaces around head, tail and relation are dropped, the sentence stays as it is, further TABs included.
 * Throws UserErrors for bad rows (unless skipped) and for a file without rows.
 */
export async function readChineseNreSplit(
  file: string,
  labels: LabelSet,
  options: { onBadRow?: OnBadRow; maxRowBytes?: number } = {},
): Promise<Split> {
  const { onBadRow = "stop", maxRowBytes = MAX_ROW_BYTES } = options;
  const split = emptySplit();
  const known = new Set(labels.labels);
  const exampleOf = new Map<string, Example>();
  for await (const { number, text, problem } of readLines(file, { maxLineBytes: maxRowBytes })) {
    if (text !== null && text.trim() === "") continue;
    split.counts.rows++;
    const row = text === null ? (problem as string) : parseRow(text, known);
    if (typeof row === "string") {
      addBadRow(split, { file, line: number, problem: row });
      continue;
    }
    const key = `${row.head}\t${row.tail}\t${row.sentence}`;
    const earlier = exampleOf.get(key);
    if (earlier?.relations === undefined) {
      const example = { sentence: row.sentence, head: row.head, tail: row.tail, relations: [row.relation] };
      exampleOf.set(key, example);
      split.examples.push(example);
    } else {
      split.counts.merged++;
      if (earlier.relations.includes(row.relation)) split.counts.exactDuplicates++;
      earlier.relations.push(row.relation);
    }
  }
  return finishSplit(split, file, onBadRow);
}

/** The row of a line, or what is wrong with it. */
function parseRow(text: string, known: ReadonlySet<string>): ChineseNreRow | string {
  const fields = text.split("\t");
  if (fields.length < 4) {
    const got = `got ${fields.length} column${fields.length === 1 ? "" : "s"} in ${quoted(text)}`;
    return `${got}, expected head, tail, relation and sentence with TABs between them`;
  }
  const [head, tail, relation] = fields.slice(0, 3).map((field) => field.trim());
  const row = { head, tail, relation, sentence: fields.slice(3).join("\t") };
  const problem = exampleProblem(row);
  if (problem !== null) return problem;
  if (!known.has(relation)) return `got the relation ${quoted(relation)}, expected one of relation2id.txt`;
  return row;
}
