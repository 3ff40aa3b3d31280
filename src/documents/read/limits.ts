import { UserError } from "../../base/errors.ts";

/** Bounds of what a hostile or broken file may cost. Each message of a broken one names the limit. */
export interface ReadLimits {
  /** Size, after decompression, of a file that is read at once: text, Markdown, HTML, JSON, DOCX, PDF. */
  wholeFileBytes: number;
  /** Size, after decompression, of a compressed file that is read row by row. */
  decompressedBytes: number;
  /** One row of CSV or one line of JSONL. */
  rowBytes: number;
  /** The text of one document, in UTF-16 units. */
  textCharacters: number;
  /** Objects inside objects of a row of JSON. */
  jsonDepth: number;
  /** Rows of a row group of Parquet. */
  rowGroupRows: number;
  /** Uncompressed size of a row group of Parquet. */
  rowGroupBytes: number;
  /** Folders inside folders. */
  folderDepth: number;
  /** Time for one PDF or DOCX. */
  parseMs: number;
  /** Memory by which the whole process may grow during one PDF or DOCX; a model that computes meanwhile counts too, hence the room. */
  parseBytes: number;
}

export const READ_LIMITS: ReadLimits = {
  wholeFileBytes: 64 * 2 ** 20,
  decompressedBytes: 64 * 2 ** 30,
  rowBytes: 16 * 2 ** 20,
  textCharacters: 64 * 2 ** 20,
  jsonDepth: 100,
  rowGroupRows: 5_000_000,
  rowGroupBytes: 2 ** 30,
  folderDepth: 32,
  parseMs: 60_000,
  parseBytes: 4 * 2 ** 30,
};

/** What is wrong with a file or a row, as the reason of a bad document: the caller knows the name. */
export class ReadProblem extends UserError {}

/** Throws a ReadProblem that names the limit when a value is beyond it. */
export function expectWithin(
  limits: ReadLimits,
  limit: keyof ReadLimits,
  got: number,
  what: string,
  atLeast = false,
): void {
  if (got <= limits[limit]) return;
  const more = atLeast ? "more than " : "";
  const shown = atLeast ? limits[limit] : got;
  throw new ReadProblem(`has ${more}${shown} ${what}, expected at most ${limits[limit]} (limit ${limit})`);
}
