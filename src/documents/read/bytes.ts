import type { Readable } from "node:stream";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { decodeText, gb18030OrNull, looksLike, markedEncoding, noEncoding, utf8OrNull } from "./encoding.ts";
import type { ReadContext, Source } from "./format.ts";
import { expectWithin, type ReadLimits, ReadProblem } from "./limits.ts";

/** The bytes of a source, decompressed; more than the limit is a ReadProblem, so that a bomb costs no memory. */
async function* decompressed(
  source: Source,
  limits: ReadLimits,
  limit: "wholeFileBytes" | "decompressedBytes",
): AsyncGenerator<Buffer> {
  const stream = source.open();
  // A pipeline passes an error of the file on to the reader.
  const bytes: Readable = source.isGzip ? pipeline(stream, createGunzip(), () => {}) : stream;
  let total = 0;
  try {
    for await (const chunk of bytes) {
      const part = typeof chunk === "string" ? Buffer.from(chunk) : (chunk as Buffer);
      total += part.length;
      if (source.isGzip || limit === "wholeFileBytes") expectWithin(limits, limit, total, "bytes", true);
      yield part;
    }
  } finally {
    stream.destroy();
    bytes.destroy();
  }
}

/** All bytes of a source, in one piece. */
export async function wholeBytes(source: Source, { limits }: ReadContext): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of decompressed(source, limits, "wholeFileBytes")) parts.push(part);
  return Buffer.concat(parts);
}

/** The text of a source; one in GB18030 is counted and told. */
export async function wholeText(source: Source, context: ReadContext): Promise<string> {
  const { text, encoding } = decodeText(await wholeBytes(source, context));
  if (encoding === "gb18030") tellGb18030(context, source.id);
  return text;
}

export function tellGb18030({ counts, notice }: ReadContext, id: string): void {
  counts.gb18030++;
  notice(`${id}: is not UTF-8 and was read as GB18030.`);
}

type Decoder = InstanceType<typeof TextDecoder>;

/** Bytes in UTF-8 of a stream in UTF-16; others stay as they are. */
async function* asUtf8(parts: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  let decoder: Decoder | null = null;
  let isFirst = true;
  let held = Buffer.alloc(0);
  for await (const part of parts) {
    let bytes = part;
    if (isFirst) {
      held = Buffer.concat([held, part]);
      if (held.length < 4) continue;
      bytes = held;
      isFirst = false;
      const kind = looksLike(bytes);
      if (kind !== null) throw new ReadProblem(`looks like ${kind}, expected text`);
      const encoding = markedEncoding(bytes);
      if (encoding !== null && encoding !== "utf-8") decoder = new TextDecoder(encoding, { fatal: true });
    }
    yield decoder === null ? bytes : Buffer.from(decodeStrictly(decoder, bytes, true));
  }
  if (isFirst) yield held;
  if (decoder !== null) yield Buffer.from(decodeStrictly(decoder, new Uint8Array(), false));
}

function decodeStrictly(decoder: Decoder, bytes: Uint8Array, stream: boolean): string {
  try {
    return decoder.decode(bytes, { stream });
  } catch {
    throw new ReadProblem(`begins with the mark of ${decoder.encoding.toUpperCase()} and is not valid in it`);
  }
}

/** A line of a source without its line end; `text` is null for one that is too long or no text, and `problem` says why. */
export interface SourceLine {
  number: number;
  text: string | null;
  problem: string | null;
}

const LINE_FEED = 10;

/**
 * The lines of a source with flat memory. The first line that is not ASCII decides between UTF-8 and GB18030: in both, no byte of a longer
 * character is a line feed.
 */
export async function* sourceLines(source: Source, context: ReadContext): AsyncGenerator<SourceLine> {
  const { rowBytes } = context.limits;
  const decode = lineDecoder(source, context);
  let number = 0;
  let parts: Buffer[] = [];
  let size = 0;
  const take = (): SourceLine => {
    number++;
    const line = parts.length === 1 ? parts[0] : Buffer.concat(parts);
    const lineBytes = size;
    parts = [];
    size = 0;
    if (lineBytes > rowBytes) {
      return { number, text: null, problem: `has ${lineBytes} bytes, expected at most ${rowBytes} (limit rowBytes)` };
    }
    const text = decode(line);
    if (text === null) return { number, text, problem: noEncoding("is") };
    if (text.includes("\0")) return { number, text: null, problem: "has a NUL character, expected text" };
    return { number, text: text.endsWith("\r") ? text.slice(0, -1) : text, problem: null };
  };
  const add = (part: Buffer) => {
    // Past the limit only the length is kept: a line of any size cannot fill the memory.
    if (size <= rowBytes) parts.push(part);
    size += part.length;
  };
  for await (const bytes of asUtf8(decompressed(source, context.limits, "decompressedBytes"))) {
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED, start)) {
      add(bytes.subarray(start, end));
      yield take();
      start = end + 1;
    }
    if (start < bytes.length) add(bytes.subarray(start));
  }
  if (size > 0) yield take();
}

/** Decodes line after line; null for a line that is not valid. A byte-order mark at its start is dropped. */
function lineDecoder(source: Source, context: ReadContext): (line: Buffer) => string | null {
  let decode: ((bytes: Uint8Array) => string | null) | null = null;
  return (line) => {
    if (decode !== null) return decode(line);
    const text = utf8OrNull(line);
    if (text !== null) {
      if (!isAscii(line)) decode = utf8OrNull;
      return text;
    }
    const chinese = gb18030OrNull(line);
    if (chinese !== null) {
      decode = strictGb18030;
      tellGb18030(context, source.id);
    }
    return chinese;
  };
}

function strictGb18030(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("gb18030", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

function isAscii(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] >= 0x80) return false;
  return true;
}
