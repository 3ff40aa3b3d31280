import { inflateRawSync } from "node:zlib";
import { messageOf } from "../../base/errors.ts";
import { wholeBytes } from "./bytes.ts";
import { looksLike } from "./encoding.ts";
import type { DocumentFormat } from "./format.ts";
import { expectWithin, type ReadLimits, ReadProblem } from "./limits.ts";

/** The text of paragraphs and cells, with a blank line between two. */
export const docx: DocumentFormat = {
  extensions: ["docx"],
  async *read(source, context) {
    const bytes = await wholeBytes(source, context);
    const kind = looksLike(bytes);
    if (kind?.startsWith("a zip") !== true) {
      throw new ReadProblem(`${kind === null ? "is no zip archive" : `looks like ${kind}`}, expected a DOCX file`);
    }
    expectSmallArchive(bytes, context.limits);
    const text = await context.worker.docx(bytes);
    expectWithin(context.limits, "textCharacters", text.length, "characters");
    yield { id: source.id, text: text.trimEnd(), fields: {} };
  },
};

const END_SIGNATURE = 0x06054b50;
const END_BYTES = 22;
const MAX_COMMENT_BYTES = 65_535;
const CENTRAL_SIGNATURE = 0x02014b50;
const CENTRAL_BYTES = 46;
const LOCAL_BYTES = 30;
const DEFLATED = 8;
const MAX_ENTRIES = 10_000;

/**
 * Throws a ReadProblem when the files of a zip archive are together larger than `wholeFileBytes`. Declared sizes may lie, so every file is
 * inflated up to the bound.
 */
export function expectSmallArchive(bytes: Buffer, limits: ReadLimits): void {
  let left = limits.wholeFileBytes;
  for (const { start, end, method } of archiveEntries(bytes)) {
    let size = end - start;
    if (method === DEFLATED) {
      try {
        size = inflateRawSync(bytes.subarray(start, end), { maxOutputLength: left + 1 }).length;
      } catch (error) {
        const isLarge = (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
        if (!isLarge) throw new ReadProblem(`has a broken file in its archive (${messageOf(error)})`);
        size = left + 1;
      }
    }
    left -= size;
    if (left < 0) expectWithin(limits, "wholeFileBytes", limits.wholeFileBytes + 1, "bytes in its archive", true);
  }
}

/** Where the compressed bytes of each file of an archive are. */
function archiveEntries(bytes: Buffer): { start: number; end: number; method: number }[] {
  const broken = (what: string) => new ReadProblem(`has a broken archive: ${what}`);
  let end = bytes.length - END_BYTES;
  const first = Math.max(0, end - MAX_COMMENT_BYTES);
  while (end >= first && bytes.readUInt32LE(end) !== END_SIGNATURE) end--;
  if (end < first) throw broken("its directory is missing");
  const count = bytes.readUInt16LE(end + 10);
  if (count > MAX_ENTRIES) throw new ReadProblem(`has ${count} files in its archive, expected at most ${MAX_ENTRIES}`);
  const entries: { start: number; end: number; method: number }[] = [];
  let at = bytes.readUInt32LE(end + 16);
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL_BYTES > bytes.length || bytes.readUInt32LE(at) !== CENTRAL_SIGNATURE) {
      throw broken(`entry ${i + 1} of ${count} is outside of it`);
    }
    const local = bytes.readUInt32LE(at + 42);
    if (local + LOCAL_BYTES > bytes.length) throw broken(`entry ${i + 1} of ${count} is outside of it`);
    const start = local + LOCAL_BYTES + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const stop = start + bytes.readUInt32LE(at + 20);
    if (stop > bytes.length) throw broken(`entry ${i + 1} of ${count} is outside of it`);
    entries.push({ start, end: stop, method: bytes.readUInt16LE(at + 10) });
    at += CENTRAL_BYTES + bytes.readUInt16LE(at + 28) + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return entries;
}
