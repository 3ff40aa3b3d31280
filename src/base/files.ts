import { createReadStream } from "node:fs";
import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { messageOf, UserError } from "./errors.ts";
import { expectNoLfsPointer, MAX_POINTER_BYTES } from "./hints.ts";
import { writeOutput } from "./output.ts";
import { decodeUtf8 } from "./utf8.ts";

/** One write call of the system takes at most 2^31 − 1 bytes. */
const WRITE_CHUNK_BYTES = 1 << 28;
const COPY_CHUNK_BYTES = 1 << 22;
const BYTE_ORDER_MARK = "\ufeff";

/** Writes a file as {@link writeOutput} does. Throws a UserError when the system refuses (no space, no permission). */
export async function writeFileAtomic(file: string, content: string | Uint8Array): Promise<void> {
  await writeOutput(file, (handle) => handle.writeFile(content));
}

/** Like {@link writeFileAtomic}, for content that is produced in parts. */
export const writeAtomic = writeOutput;

/** Copies a file as {@link writeOutput} writes one. */
export async function copyFileAtomic(from: string, to: string): Promise<void> {
  const { handle: source } = await openToRead(from, "a file to copy");
  try {
    await writeOutput(to, async (handle) => {
      for await (const bytes of source.createReadStream({ autoClose: false, highWaterMark: COPY_CHUNK_BYTES })) {
        await writeFully(handle, bytes as Buffer);
      }
    });
  } finally {
    await source.close();
  }
}

/** Writes all bytes at the handle's position: one write call may take only some of them. */
export async function writeFully(handle: Pick<FileHandle, "write">, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(WRITE_CHUNK_BYTES, bytes.byteLength - done));
    done += bytesWritten;
  }
}

/** The size of a file in bytes; throws a UserError that names what was expected when it is missing or not a file. */
export async function fileSizeBytes(file: string, what: string): Promise<number> {
  try {
    const info = await stat(file);
    if (!info.isFile()) throw new UserError(`${file}: is not a file, expected ${what}.`);
    return info.size;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${file}: cannot be read (${messageOf(error)}), expected ${what}.`);
  }
}

/** Opens a file for reading; throws a UserError that names what was expected when it is missing, not a file or not permitted. */
export async function openToRead(file: string, what: string): Promise<{ handle: FileHandle; sizeBytes: number }> {
  const sizeBytes = await fileSizeBytes(file, what);
  try {
    if (sizeBytes <= MAX_POINTER_BYTES) expectNoLfsPointer(file, await readFile(file), what);
    return { handle: await open(file), sizeBytes };
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${file}: cannot be read (${messageOf(error)}), expected ${what}.`);
  }
}

/** Reads a whole text file as strict UTF-8 of at most `maxBytes`; a byte-order mark is dropped. Throws a UserError otherwise. */
export async function readTextFile(file: string, what: string, maxBytes: number): Promise<string> {
  const sizeBytes = await fileSizeBytes(file, what);
  if (sizeBytes > maxBytes) {
    throw new UserError(`${file}: has ${sizeBytes} bytes, expected ${what} of at most ${maxBytes} bytes.`);
  }
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw new UserError(`${file}: cannot be read (${messageOf(error)}), expected ${what}.`);
  }
  expectNoLfsPointer(file, bytes, what);
  return decodeUtf8(bytes, file);
}

/** One line of a text stream without its line end (LF or CRLF). `text` is null for an unusable line; `problem` says why. */
export interface TextLine {
  number: number;
  text: string | null;
  problem: string | null;
}

/** The name of a source of lines in a message; the stream of a file has its path. */
function nameOf(source: string | NodeJS.ReadableStream): string {
  if (typeof source === "string") return source;
  return "path" in source && typeof source.path === "string" ? source.path : "standard input";
}

/**
 * Streams the lines of a file or of standard input with bounded memory; a byte-order mark at the start is dropped. A line that is too long
 * or not UTF-8 comes with `text: null` and its problem, so that the caller can report it and continue.
 */
export async function* readLines(
  source: string | NodeJS.ReadableStream,
  options: { maxLineBytes: number },
): AsyncGenerator<TextLine> {
  const stream = typeof source === "string" ? createReadStream(source, { highWaterMark: 1 << 18 }) : source;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let number = 0;
  let parts: Buffer[] = [];
  let partBytes = 0;
  const take = (): TextLine => {
    number++;
    const sizeBytes = partBytes;
    const joined = parts.length === 1 ? parts[0] : Buffer.concat(parts);
    parts = [];
    partBytes = 0;
    if (sizeBytes > options.maxLineBytes) {
      const problem = `the line has ${sizeBytes} bytes, expected at most ${options.maxLineBytes}`;
      return { number, text: null, problem };
    }
    try {
      let text = decoder.decode(joined);
      if (number === 1 && text.startsWith(BYTE_ORDER_MARK)) text = text.slice(1);
      if (number === 1) expectNoLfsPointer(nameOf(source), text, "its rows");
      if (text.endsWith("\r")) text = text.slice(0, -1);
      return { number, text, problem: null };
    } catch (error) {
      if (error instanceof UserError) throw error;
      return { number, text: null, problem: "the line is not valid UTF-8" };
    }
  };
  const add = (part: Buffer) => {
    // Past the limit only the length is kept: a line of any size cannot fill the memory.
    if (partBytes <= options.maxLineBytes) parts.push(part);
    partBytes += part.length;
  };
  try {
    for await (const chunk of stream) {
      const bytes = typeof chunk === "string" ? Buffer.from(chunk) : (chunk as Buffer);
      let start = 0;
      for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
        add(bytes.subarray(start, end));
        yield take();
        start = end + 1;
      }
      if (start < bytes.length) add(bytes.subarray(start));
    }
  } catch (error) {
    const name = nameOf(source);
    throw error instanceof UserError ? error : new UserError(`${name}: cannot be read (${messageOf(error)}).`);
  }
  if (partBytes > 0) yield take();
}
