import { type FileHandle, open } from "node:fs/promises";
import { messageOf } from "../../base/errors.ts";
import { wholeBytes } from "./bytes.ts";
import type { DocumentFormat, ReadContext, ReadItem, Source } from "./format.ts";
import { expectWithin, ReadProblem } from "./limits.ts";
import { noTextField, rowDocument, TEXT_FIELDS } from "./rows.ts";

/** The part of hyparquet's AsyncBuffer that it reads from. */
interface ByteRange {
  byteLength: number;
  slice(start: number, end?: number): Promise<ArrayBuffer>;
}

/** A row is a document, read row group by row group. The number behind # counts rows. */
export const parquet: DocumentFormat = {
  extensions: ["parquet"],
  async *read(source, context) {
    if (source.path === null || source.isGzip) {
      const bytes = await wholeBytes(source, context);
      const slice = async (start: number, end?: number) => copyOf(bytes.subarray(start, end));
      yield* readRows({ byteLength: bytes.length, slice }, source, context);
      return;
    }
    const handle = await open(source.path);
    try {
      yield* readRows(await fileRange(handle), source, context);
    } finally {
      await handle.close();
    }
  },
};

async function fileRange(handle: FileHandle): Promise<ByteRange> {
  const { size } = await handle.stat();
  return {
    byteLength: size,
    async slice(start, end = size) {
      if (start < 0 || end > size || start > end)
        throw new RangeError(`bytes ${start} to ${end} are outside of the file`);
      const bytes = new Uint8Array(end - start);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
      if (bytesRead < bytes.length) throw new RangeError("the file became shorter");
      return bytes.buffer;
    },
  };
}

const copyOf = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;

async function* readRows(file: ByteRange, source: Source, context: ReadContext): AsyncGenerator<ReadItem> {
  const { parquetMetadataAsync, parquetReadObjects, parquetSchema } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  const { limits, textField } = context;
  const metadata = await parsing("its metadata", () => parquetMetadataAsync(file));
  const names = parquetSchema(metadata).children.map(({ element }) => element.name);
  const wanted = textField === null ? TEXT_FIELDS : [textField, textField.split(".")[0]];
  if (!wanted.some((name) => names.includes(name))) throw new ReadProblem(noTextField(names, textField));
  const bounded = Object.fromEntries(
    Object.entries(compressors).map(([codec, decompress]) => [
      codec,
      (input: Uint8Array, outputBytes: number) => {
        expectWithin(limits, "rowGroupBytes", outputBytes, "bytes in a page");
        return decompress(input, outputBytes);
      },
    ]),
  );
  let rowStart = 0;
  for (const [i, group] of metadata.row_groups.entries()) {
    expectWithin(limits, "rowGroupRows", Number(group.num_rows), `rows in row group ${i + 1}`);
    expectWithin(limits, "rowGroupBytes", Number(group.total_byte_size), `bytes in row group ${i + 1}`);
    const rowEnd = rowStart + Number(group.num_rows);
    const rows = await parsing(`row group ${i + 1}`, () =>
      parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors: bounded }),
    );
    if (rows.length !== rowEnd - rowStart) {
      throw new ReadProblem(`has ${rows.length} rows in row group ${i + 1}, expected ${rowEnd - rowStart}`);
    }
    for (const [at, row] of rows.entries()) yield rowItem(`${source.id}#${rowStart + at + 1}`, row, context);
    rowStart = rowEnd;
  }
}

async function parsing<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ReadProblem) throw error;
    throw new ReadProblem(`is no Parquet file that can be read: ${what} is broken (${messageOf(error)})`);
  }
}

function rowItem(id: string, row: Readonly<Record<string, unknown>>, { textField, limits }: ReadContext): ReadItem {
  try {
    const { text, fields } = rowDocument(row, textField, limits);
    for (const [key, value] of Object.entries(fields)) {
      // Parquet's 64-bit numbers come as bigints; those that a double holds are numbers, as in JSON.
      if (typeof value === "bigint" && Number.isSafeInteger(Number(value))) fields[key] = Number(value);
    }
    return { id, text, fields };
  } catch (error) {
    if (!(error instanceof ReadProblem)) throw error;
    return { bad: { id, reason: error.message } };
  }
}
