import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { messageOf, showValue, UserError } from "../base/errors.ts";
import { fileSizeBytes } from "../base/files.ts";
import { decodeText } from "./read/encoding.ts";

/** A row of a table as texts by column; `problem` says why it cannot be used. */
export interface TableRow {
  line: number;
  cells: readonly (string | undefined)[];
  problem: string | null;
}

const CHUNK_BYTES = 1 << 16;
const MAX_ROW_CHARACTERS = 1 << 20;
/** Of a line without an end: it is held in memory. */
const LONGEST_LINE = 4 * MAX_ROW_CHARACTERS;

/** Receives what a user should know: a file was read in another encoding than UTF-8. */
export type OnNotice = (notice: string) => void;

/**
 * Streams the rows of a table of names in lists: CSV (RFC 4180) or TSV with a header, JSONL with one object a line, or a list (.txt) with one
 * value of the first column a line. Cells come in the order of `columns`, undefined where the table lacks the column. One pass over the text
 * and no object a row, because a table may have a million. Throws a UserError for a file that cannot be read, is no text, or lacks a
 * `required` column.
 */
export async function* readTable(
  file: string,
  columns: readonly string[],
  required: readonly string[],
  what: string,
  onNotice: OnNotice,
): AsyncGenerator<TableRow[]> {
  await fileSizeBytes(file, what);
  const kind = extname(file).toLowerCase();
  if (kind === ".txt") return yield* readList(file, onNotice);
  if (kind === ".jsonl" || kind === ".ndjson") return yield* readObjects(file, columns, onNotice);
  if (kind === ".csv" || kind === ".tsv")
    return yield* readCells(file, kind === ".tsv" ? "\t" : ",", columns, required, onNotice);
  throw new UserError(`${file}: has the ending ${showValue(kind)}, expected ${what}: .csv, .tsv, .jsonl or .txt.`);
}

async function* readList(file: string, onNotice: OnNotice): AsyncGenerator<TableRow[]> {
  for await (const lines of readLineLists(file, false, onNotice)) {
    yield lines
      .filter(({ text }) => text.trim() !== "")
      .map(({ line, text, problem }) => ({ line, cells: [text], problem }));
  }
}

async function* readObjects(file: string, columns: readonly string[], onNotice: OnNotice): AsyncGenerator<TableRow[]> {
  for await (const lines of readLineLists(file, false, onNotice)) {
    const filled = lines.filter(({ text }) => text.trim() !== "");
    yield filled.map(({ line, text, problem }) =>
      problem === null ? objectRow(line, text, columns) : { line, cells: [], problem },
    );
  }
}

function objectRow(line: number, text: string, columns: readonly string[]): TableRow {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { line, cells: [], problem: `is not JSON (${messageOf(error)})` };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { line, cells: [], problem: `got ${showValue(value)}, expected an object` };
  }
  const object = value as Record<string, unknown>;
  const cells: (string | undefined)[] = [];
  for (const column of columns) {
    const cell = Object.hasOwn(object, column) ? object[column] : undefined;
    if (cell === undefined || cell === null || typeof cell === "string") cells.push(cell ?? undefined);
    else if (typeof cell === "number") cells.push(String(cell));
    else if (Array.isArray(cell) && cell.every((one) => typeof one === "string")) cells.push(cell.join("|"));
    else return { line, cells: [], problem: `got ${column} ${showValue(cell)}, expected text` };
  }
  return { line, cells, problem: null };
}

async function* readCells(
  file: string,
  separator: string,
  columns: readonly string[],
  required: readonly string[],
  onNotice: OnNotice,
): AsyncGenerator<TableRow[]> {
  let places: number[] | null = null; // of each column in the row
  let width = 0;
  for await (const lines of readLineLists(file, true, onNotice)) {
    const rows: TableRow[] = [];
    for (const { line, text, problem } of lines) {
      if (text.trim() === "" && problem === null) continue;
      const row = problem ?? cellsOf(text, separator);
      if (places === null) {
        if (typeof row === "string") throw new UserError(`${file}, line ${line}: ${row}.`);
        places = placesOf(file, row, columns, required);
        width = row.length;
      } else if (typeof row === "string") rows.push({ line, cells: [], problem: row });
      else if (row.length !== width) {
        rows.push({ line, cells: [], problem: `got ${row.length} cells, expected ${width} as in the header` });
      } else rows.push({ line, cells: places.map((place) => (place < 0 ? undefined : row[place])), problem: null });
    }
    yield rows;
  }
  if (places === null) throw new UserError(`${file}: is empty, expected a header with ${required.join(", ")}.`);
}

function placesOf(file: string, header: string[], columns: readonly string[], required: readonly string[]): number[] {
  const names = header.map((name) => name.trim().toLowerCase());
  const missing = required.filter((column) => !names.includes(column));
  if (missing.length > 0) {
    throw new UserError(
      `${file}, line 1: has the columns ${showValue(header)}, expected ${missing.join(", ")} among them.`,
      {
        hint: `The first line of a table names its columns: ${columns.join(",")}`,
      },
    );
  }
  return columns.map((column) => names.indexOf(column));
}

function hasOddQuotes(text: string): boolean {
  let count = 0;
  for (let at = text.indexOf('"'); at >= 0; at = text.indexOf('"', at + 1)) count++;
  return count % 2 === 1;
}

/** The cells of a row, or what is wrong with it. */
function cellsOf(text: string, separator: string): string[] | string {
  if (!text.includes('"')) return text.split(separator);
  const cells: string[] = [];
  for (let at = 0; ; ) {
    if (text[at] !== '"') {
      const end = text.indexOf(separator, at);
      const cell = text.slice(at, end < 0 ? undefined : end);
      if (cell.includes('"')) return `got the cell ${showValue(cell)}, expected quotation marks around the whole cell`;
      cells.push(cell);
      if (end < 0) return cells;
      at = end + 1;
      continue;
    }
    let end = text.indexOf('"', at + 1);
    while (end >= 0 && text[end + 1] === '"') end = text.indexOf('"', end + 2);
    if (end < 0) return "got a quotation mark that is never closed";
    cells.push(text.slice(at + 1, end).replaceAll('""', '"'));
    if (end + 1 === text.length) return cells;
    if (text[end + 1] !== separator)
      return `got ${showValue(text[end + 1])} after a quoted cell, expected ${showValue(separator)}`;
    at = end + 2;
  }
}

interface Line {
  line: number;
  text: string;
  problem: string | null;
}

/** Lines in lists of about 64 KB; with `quoted`, a line that ends inside quotation marks is joined with those after it. */
async function* readLineLists(file: string, quoted: boolean, onNotice: OnNotice): AsyncGenerator<Line[]> {
  let rest = "";
  let number = 0;
  let open: Line | null = null;
  const take = (text: string, into: Line[]) => {
    number++;
    const whole = text.endsWith("\r") ? text.slice(0, -1) : text;
    const isOdd = quoted && hasOddQuotes(whole);
    const line: Line = open === null ? { line: number, text: whole, problem: null } : open;
    if (open !== null) line.text += `\n${whole}`;
    // An odd number of quotation marks opens a row, and closes one that is open.
    open = (open === null) === isOdd && line.text.length <= MAX_ROW_CHARACTERS ? line : null;
    if (open === null) into.push(bounded(line));
  };
  for await (const part of textsOf(file, onNotice)) {
    const text = rest + part;
    const lines: Line[] = [];
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      take(text.slice(start, end), lines);
      start = end + 1;
    }
    rest = text.slice(start);
    if (rest.length > LONGEST_LINE) {
      throw new UserError(`${file}, line ${number + 1}: has more than ${LONGEST_LINE} characters, expected a row.`);
    }
    yield lines;
  }
  const lines: Line[] = [];
  if (rest !== "") take(rest, lines);
  if (open !== null) lines.push({ ...(open as Line), problem: "got a quotation mark that is never closed" });
  if (lines.length > 0) yield lines;
}

/** The text of a file in parts: UTF-8 as a stream, another encoding (GB18030 with a notice) whole. */
async function* textsOf(file: string, onNotice: OnNotice): AsyncGenerator<string> {
  try {
    if (await isUtf8(file)) {
      const decoder = new TextDecoder("utf-8");
      for await (const bytes of createReadStream(file, { highWaterMark: CHUNK_BYTES })) {
        yield decoder.decode(bytes as Buffer, { stream: true });
      }
      return;
    }
    const { text, encoding } = decodeText(await readFile(file));
    onNotice(`${file}: is read as ${encoding.toUpperCase()}.`);
    for (let at = 0; at < text.length; at += CHUNK_BYTES) yield text.slice(at, at + CHUNK_BYTES);
  } catch (error) {
    const hint = error instanceof UserError ? error.hint : undefined;
    throw new UserError(
      `${file}: ${error instanceof UserError ? error.message : `cannot be read (${messageOf(error)}).`}`,
      {
        hint,
        cause: error,
      },
    );
  }
}

async function isUtf8(file: string): Promise<boolean> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const bytes of createReadStream(file, { highWaterMark: 1 << 20 })) {
      decoder.decode(bytes as Buffer, { stream: true });
    }
    decoder.decode();
    return true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

function bounded(line: Line): Line {
  if (line.text.length <= MAX_ROW_CHARACTERS) return line;
  const problem = `got a row of ${line.text.length} characters, expected at most ${MAX_ROW_CHARACTERS}`;
  return { line: line.line, text: "", problem };
}
