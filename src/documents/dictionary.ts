import { fileSizeBytes } from "../base/files.ts";
import { foldingTable } from "./folding.ts";
import { type OnNotice, readTable, type TableRow } from "./name-rows.ts";
import { COLUMNS, createDictionary, type Dictionary } from "./names.ts";

const TABLE = "a table of names";
/** A guess, so that the tables seldom grow while a file is read. */
const BYTES_PER_ROW = 36;
const MAX_EXPECTED = 4_000_000;

/**
 * Reads dictionaries of names: CSV, TSV or JSONL with `name`, and optionally `type`, `id` (default: the name) and `aliases` (separated by |),
 * or .txt with a name a line. Rows with one id are one entity. A bad row is left out, counted and listed. Throws a UserError for a file that
 * cannot be read.
 */
export async function readDictionary(files: readonly string[], onNotice: OnNotice = () => {}): Promise<Dictionary> {
  let bytes = 0;
  for (const file of files) bytes += await fileSizeBytes(file, TABLE);
  const builder = createDictionary(Math.min(MAX_EXPECTED, Math.ceil(bytes / BYTES_PER_ROW)), foldingTable());
  for (const file of files) {
    for await (const rows of readTable(file, COLUMNS, ["name"], TABLE, onNotice)) {
      for (const row of rows) builder.add(row, file);
    }
  }
  return builder.finish();
}

/** A dictionary of rows in memory, with the cells name, type, id and aliases; `source` names them in its problems. */
export function dictionaryOfRows(rows: readonly TableRow[], source: string): Dictionary {
  const builder = createDictionary(rows.length, foldingTable());
  for (const row of rows) builder.add(row, source);
  return builder.finish();
}
