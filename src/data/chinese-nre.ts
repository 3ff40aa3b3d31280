import { readLines } from "../base/files.ts";
import { type Example, exampleProblem, type LabelSet, quoted } from "./example.ts";
import { type Normalization, normalizedExample } from "./normalize.ts";
import {
  addBadRow,
  emptySplit,
  finishSplit,
  MAX_ROW_BYTES,
  rowCollector,
  type Split,
  type SplitOptions,
} from "./split.ts";

/** One row of a file: `head TAB tail TAB relation TAB sentence`. */
export interface ChineseNreRow {
  head: string;
  tail: string;
  relation: string;
  sentence: string;
}

/** One line of a file that is not blank: an example, or what is wrong with it. */
export type ChineseNreLine =
  | { line: number; example: Example; problem: null }
  | { line: number; example: null; problem: string };

/**
 * Streams the rows of a file in the format of thunlp/Chinese_NRE (FinRE, SanWen), one example a line. Blank lines are skipped, CRLF is a line
 * end; spaces around head, tail and relation are dropped, the sentence stays as it is, further TABs included. Throws a UserError when the file
 * cannot be read.
 */
export async function* readChineseNre(
  file: string,
  labels: LabelSet,
  { maxRowBytes = MAX_ROW_BYTES, normalize }: Pick<SplitOptions, "maxRowBytes" | "normalize"> = {},
): AsyncGenerator<ChineseNreLine> {
  const known = new Set(labels.labels);
  for await (const { number, text, problem } of readLines(file, { maxLineBytes: maxRowBytes })) {
    if (text !== null && text.trim() === "") continue;
    const row = text === null ? (problem as string) : parseRow(text, known, normalize);
    if (typeof row === "string") yield { line: number, example: null, problem: row };
    else {
      const { sentence, head, tail, relation } = row;
      yield { line: number, example: { sentence, head, tail, relations: [relation] }, problem: null };
    }
  }
}

/**
 * Reads a split file of {@link readChineseNre}; see {@link rowCollector} for rows with equal input. Throws UserErrors for bad rows (unless
 * skipped) and for a file without rows.
 */
export async function readChineseNreSplit(file: string, labels: LabelSet, options: SplitOptions = {}): Promise<Split> {
  const split = emptySplit();
  const collect = rowCollector(split, options.equalRows);
  for await (const { line, example, problem } of readChineseNre(file, labels, options)) {
    split.counts.rows++;
    if (example === null) addBadRow(split, { file, line, problem });
    else collect(example);
  }
  return finishSplit(split, file, options.onBadRow ?? "stop");
}

/** The row of a line, or what is wrong with it. */
function parseRow(
  text: string,
  known: ReadonlySet<string>,
  normalize: Normalization | undefined,
): ChineseNreRow | string {
  const fields = text.split("\t");
  if (fields.length < 4) {
    const got = `got ${fields.length} column${fields.length === 1 ? "" : "s"} in ${quoted(text)}`;
    return `${got}, expected head, tail, relation and sentence with TABs between them`;
  }
  const [head, tail, relation] = fields.slice(0, 3).map((field) => field.trim());
  const normalized = normalizedExample({ head, tail, sentence: fields.slice(3).join("\t") }, normalize);
  if (typeof normalized === "string") return normalized;
  const row = { ...normalized, relation };
  const problem = exampleProblem(row);
  if (problem !== null) return problem;
  if (!known.has(relation)) return `got the relation ${quoted(relation)}, expected one of relation2id.txt`;
  return row;
}
