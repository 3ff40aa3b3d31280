import { readLines } from "../base/files.ts";
import { exampleProblem, type LabelSet, quoted } from "./example.ts";
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

/**
 * Reads a split file in the format of thunlp/Chinese_NRE (FinRE, SanWen); see {@link rowCollector} for rows with equal input. Blank lines
 * are skipped, CRLF is a line end; spaces around head, tail and relation are dropped, the sentence stays as it is, further TABs included.
 * Throws UserErrors for bad rows (unless skipped) and for a file without rows.
 */
export async function readChineseNreSplit(file: string, labels: LabelSet, options: SplitOptions = {}): Promise<Split> {
  const { onBadRow = "stop", maxRowBytes = MAX_ROW_BYTES } = options;
  const split = emptySplit();
  const known = new Set(labels.labels);
  const collect = rowCollector(split, options.equalRows);
  for await (const { number, text, problem } of readLines(file, { maxLineBytes: maxRowBytes })) {
    if (text !== null && text.trim() === "") continue;
    split.counts.rows++;
    const row = text === null ? (problem as string) : parseRow(text, known, options.normalize);
    if (typeof row === "string") {
      addBadRow(split, { file, line: number, problem: row });
      continue;
    }
    const { sentence, head, tail, relation } = row;
    collect({ sentence, head, tail, relations: [relation] });
  }
  return finishSplit(split, file, onBadRow);
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
