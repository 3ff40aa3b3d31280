import { messageOf } from "../../base/errors.ts";
import { quoted } from "../../data/example.ts";
import { sourceLines } from "./bytes.ts";
import type { DocumentFormat, ReadContext, ReadItem, Source } from "./format.ts";
import { ReadProblem } from "./limits.ts";
import { noTextField, rowDocument, TEXT_FIELDS } from "./rows.ts";

/** A row of a table with names in its first line is a document. The number behind # is the line on which the row begins. */
export const csv: DocumentFormat = { extensions: ["csv"], read: (source, context) => readTable(source, context, ",") };
export const tsv: DocumentFormat = {
  extensions: ["tsv", "tab"],
  read: (source, context) => readTable(source, context, "\t"),
};

async function* readTable(source: Source, context: ReadContext, delimiter: string): AsyncGenerator<ReadItem> {
  let header: string[] | null = null;
  /** The line on which the next row begins. */
  let line = 1;
  try {
    for await (const record of records(source, context, delimiter)) {
      const id = `${source.id}#${line}`;
      line += 1 + record.reduce((sum, field) => sum + breaksIn(field), 0);
      if (record.length === 1 && record[0].trim() === "") continue;
      if (header === null) header = headerOf(record, context.textField);
      else yield rowItem(id, header, record, context);
    }
  } catch (error) {
    if (error instanceof ReadProblem) throw error;
    throw new ReadProblem(
      `the row on line ${line} cannot be read (${messageOf(error)}); it and the rows after it are left out`,
    );
  }
  if (header === null) throw new ReadProblem("is empty, expected a line with the names of the columns");
}

/** The rows of a table. All of those before a fault come before its error. */
async function* records(source: Source, context: ReadContext, delimiter: string): AsyncGenerator<string[]> {
  const { parse } = await import("csv-parse");
  let rows: string[][] = [];
  const parser = parse({
    delimiter,
    relax_quotes: true,
    relax_column_count: true,
    max_record_size: context.limits.rowBytes,
    on_record(record: string[]) {
      rows.push(record);
      // Nothing is passed on: a stream that fails would drop the rows that nobody has read yet.
      return null;
    },
  });
  let fault: Error | null = null;
  parser.on("error", (error) => {
    fault = error;
  });
  const done = new Promise((resolve) => parser.once("close", resolve));
  const take = () => {
    const taken = rows;
    rows = [];
    return taken;
  };
  for await (const text of textParts(source, context)) {
    await new Promise((resolve) => parser.write(text, resolve));
    yield* take();
    if (fault !== null) throw fault;
  }
  parser.end();
  parser.resume();
  await done;
  yield* take();
  if (fault !== null) throw fault;
}

const PART_CHARACTERS = 1 << 16;

/** The lines of a source, some at a time. */
async function* textParts(source: Source, context: ReadContext): AsyncGenerator<string> {
  let part = "";
  for await (const { number, text, problem } of sourceLines(source, context)) {
    if (text === null) {
      yield part;
      throw new ReadProblem(`line ${number} ${problem}; it and the rows after it are left out`);
    }
    part += `${text}\n`;
    if (part.length < PART_CHARACTERS) continue;
    yield part;
    part = "";
  }
  yield part;
}

function breaksIn(field: string): number {
  let count = 0;
  for (let at = field.indexOf("\n"); at >= 0; at = field.indexOf("\n", at + 1)) count++;
  return count;
}

function headerOf(record: readonly string[], textField: string | null): string[] {
  const names = record.map((name) => name.trim());
  const twice = names.find((name, i) => name !== "" && names.indexOf(name) < i);
  if (twice !== undefined) throw new ReadProblem(`has two columns with the name ${quoted(twice)}, expected one`);
  const wanted = textField === null ? TEXT_FIELDS : [textField];
  if (!wanted.some((name) => names.includes(name))) throw new ReadProblem(noTextField(names, textField));
  return names;
}

function rowItem(id: string, header: readonly string[], record: readonly string[], context: ReadContext): ReadItem {
  if (record.length !== header.length) {
    return { bad: { id, reason: `has ${record.length} fields, expected ${header.length} as in the first line` } };
  }
  const row: Record<string, unknown> = Object.fromEntries(header.map((name, i) => [name, record[i]]));
  try {
    return { id, ...rowDocument(row, context.textField, context.limits) };
  } catch (error) {
    if (!(error instanceof ReadProblem)) throw error;
    return { bad: { id, reason: error.message } };
  }
}
