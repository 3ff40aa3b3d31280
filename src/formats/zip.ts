import type { FileHandle } from "node:fs/promises";
import { showValue, UserError } from "../base/errors.ts";
import { readBytes } from "./read-bytes.ts";

const END_BYTES = 22;
const END_SIGNATURE = 0x06054b50;
const MAX_COMMENT_BYTES = 65_535;
const LOCATOR_BYTES = 20;
const LOCATOR_SIGNATURE = 0x07064b50;
const END64_BYTES = 56;
const END64_SIGNATURE = 0x06064b50;
const CENTRAL_BYTES = 46;
const CENTRAL_SIGNATURE = 0x02014b50;
const LOCAL_BYTES = 30;
const LOCAL_SIGNATURE = 0x04034b50;
const ZIP64_EXTRA = 1;
/** The content of a 32-bit field whose value is in the zip64 record. */
const IN_ZIP64 = 0xffffffff;
const STORED = 0;
const MAX_DIRECTORY_BYTES = 64 * 2 ** 20;
const MAX_ENTRIES = 200_000;

/** One stored file of an archive. */
export interface ZipEntry {
  name: string;
  sizeBytes: number;
  /** Where its local header begins. */
  headerStart: number;
  /** Its bytes end before this one, where the central directory begins. */
  limit: number;
}

interface Directory {
  start: number;
  sizeBytes: number;
  entries: number;
}

/**
 * Reads the central directory of a zip archive (PKWARE APPNOTE 6.3, zip64 included) whose files are stored without compression. Throws a
 * UserError that names the archive, the file in it and the broken bound.
 */
export async function readZipDirectory(
  handle: FileHandle,
  file: string,
  sizeBytes: number,
): Promise<Map<string, ZipEntry>> {
  const directory = await findDirectory(handle, file, sizeBytes);
  const bytes = Buffer.from(await readBytes(handle, file, directory.start, directory.sizeBytes));
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < directory.entries; i++) {
    if (at + CENTRAL_BYTES > bytes.length || bytes.readUInt32LE(at) !== CENTRAL_SIGNATURE) {
      throw new UserError(`${file}: entry ${i} of the zip directory is broken, expected ${directory.entries} entries.`);
    }
    const nameBytes = bytes.readUInt16LE(at + 28);
    const extraBytes = bytes.readUInt16LE(at + 30);
    const next = at + CENTRAL_BYTES + nameBytes + extraBytes + bytes.readUInt16LE(at + 32);
    if (next > bytes.length) throw new UserError(`${file}: entry ${i} of the zip directory ends outside it.`);
    const nameStart = at + CENTRAL_BYTES;
    const name = bytes.toString("utf8", nameStart, nameStart + nameBytes);
    const where = `${file}: ${showValue(name)} in the archive`;
    if ((bytes.readUInt16LE(at + 8) & 1) !== 0) throw new UserError(`${where} is encrypted.`);
    const method = bytes.readUInt16LE(at + 10);
    if (method !== STORED) {
      throw new UserError(`${where} is compressed (method ${method}), expected a stored file as torch.save writes it.`);
    }
    const extra = bytes.subarray(nameStart + nameBytes, nameStart + nameBytes + extraBytes);
    const sizes = readSizes(bytes, at, extra, where);
    if (sizes.stored !== sizes.whole) {
      throw new UserError(`${where} has ${sizes.whole} bytes stored in ${sizes.stored}, expected the same number.`);
    }
    if (sizes.headerStart + LOCAL_BYTES + sizes.stored > directory.start) {
      throw new UserError(`${where} has ${sizes.stored} bytes and ends outside the archive.`);
    }
    if (entries.has(name)) throw new UserError(`${where} occurs twice.`);
    const { whole, headerStart } = sizes;
    entries.set(name, { name, sizeBytes: whole, headerStart, limit: directory.start });
    at = next;
  }
  return entries;
}

/** Finds the directory by the record at the end of the archive; only a comment may follow the record. */
async function findDirectory(handle: FileHandle, file: string, sizeBytes: number): Promise<Directory> {
  const hint = "The file was cut short; download or copy it again.";
  const tailBytes = Math.min(sizeBytes, END_BYTES + MAX_COMMENT_BYTES + LOCATOR_BYTES);
  const tailStart = sizeBytes - tailBytes;
  const tail = Buffer.from(await readBytes(handle, file, tailStart, tailBytes));
  let end = tail.length - END_BYTES;
  const isEnd = (at: number) =>
    tail.readUInt32LE(at) === END_SIGNATURE && at + END_BYTES + tail.readUInt16LE(at + 20) === tail.length;
  while (end >= 0 && !isEnd(end)) end--;
  if (end < 0) throw new UserError(`${file}: has no end record of a zip archive.`, { hint });
  let entries = tail.readUInt16LE(end + 10);
  let directoryBytes = tail.readUInt32LE(end + 12);
  let start = tail.readUInt32LE(end + 16);
  let limit = tailStart + end;
  const locator = end - LOCATOR_BYTES;
  if (locator >= 0 && tail.readUInt32LE(locator) === LOCATOR_SIGNATURE) {
    const recordStart = Number(tail.readBigUInt64LE(locator + 8));
    if (recordStart + END64_BYTES > tailStart + locator) {
      throw new UserError(`${file}: the zip64 record is said to be at byte ${recordStart}, outside the archive.`);
    }
    const record = Buffer.from(await readBytes(handle, file, recordStart, END64_BYTES));
    if (record.readUInt32LE(0) !== END64_SIGNATURE) {
      throw new UserError(`${file}: has no zip64 record at byte ${recordStart}, where one is said to be.`);
    }
    entries = Number(record.readBigUInt64LE(32));
    directoryBytes = Number(record.readBigUInt64LE(40));
    start = Number(record.readBigUInt64LE(48));
    limit = recordStart;
  }
  if (entries > MAX_ENTRIES || directoryBytes > MAX_DIRECTORY_BYTES) {
    throw new UserError(
      `${file}: the zip directory claims ${entries} entries in ${directoryBytes} bytes, expected at most ${MAX_ENTRIES} in ${MAX_DIRECTORY_BYTES}.`,
    );
  }
  if (start + directoryBytes > limit) {
    throw new UserError(
      `${file}: the zip directory is said to be at bytes ${start} to ${start + directoryBytes}, expected an end up to ${limit}.`,
      { hint },
    );
  }
  return { start, sizeBytes: directoryBytes, entries };
}

/** Sizes and place of an entry; values that do not fit 32 bits are in the zip64 extra field, in this order. */
function readSizes(bytes: Buffer, at: number, extra: Buffer, where: string) {
  const fields = [bytes.readUInt32LE(at + 24), bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 42)];
  if (fields.includes(IN_ZIP64)) {
    const zip64 = findExtra(extra, where);
    let next = 0;
    for (const [i, field] of fields.entries()) {
      if (field !== IN_ZIP64) continue;
      if (next + 8 > zip64.length) throw new UserError(`${where} lacks its size in the zip64 field.`);
      fields[i] = Number(zip64.readBigUInt64LE(next));
      next += 8;
    }
  }
  const [whole, stored, headerStart] = fields;
  return { whole, stored, headerStart };
}

function findExtra(extra: Buffer, where: string): Buffer {
  for (let at = 0; at + 4 <= extra.length; ) {
    const end = at + 4 + extra.readUInt16LE(at + 2);
    if (extra.readUInt16LE(at) === ZIP64_EXTRA && end <= extra.length) return extra.subarray(at + 4, end);
    at = end;
  }
  throw new UserError(`${where} has no zip64 field, but its sizes refer to one.`);
}

/** Where the bytes of an entry begin, as its local header says; throws a UserError when header and directory do not agree. */
export async function locateZipEntry(handle: FileHandle, file: string, entry: ZipEntry): Promise<number> {
  const where = `${file}: ${showValue(entry.name)} in the archive`;
  const header = Buffer.from(await readBytes(handle, file, entry.headerStart, LOCAL_BYTES));
  const nameBytes = header.readUInt16LE(26);
  const nameStart = entry.headerStart + LOCAL_BYTES;
  const isEntry = header.readUInt32LE(0) === LOCAL_SIGNATURE && header.readUInt16LE(8) === STORED;
  const start = nameStart + nameBytes + header.readUInt16LE(28);
  if (!isEntry || start + entry.sizeBytes > entry.limit) {
    throw new UserError(`${where}: its header at byte ${entry.headerStart} does not fit the zip directory.`);
  }
  const name = Buffer.from(await readBytes(handle, file, nameStart, nameBytes)).toString("utf8");
  if (name === entry.name) return start;
  throw new UserError(`${where}: its header at byte ${entry.headerStart} says ${showValue(name)}.`);
}
