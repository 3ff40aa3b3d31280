import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { type FileHandle, open, rm, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { fileSizeBytes, readLines, writeFileAtomic } from "../base/files.ts";
import { holdLock } from "../base/lock.ts";
import { makeFolder, namingFile, syncDirectory } from "../base/output.ts";
import { replaceFile } from "../base/rename.ts";

// An unfinished extraction is two files next to its output. OUTPUT.part has the finished rows. OUTPUT.part.json has one JSON line that
// identifies the job, then one for every window of rows, written just before the rows: how many bytes they have, a checksum of them and of the
// input that they were computed from, and the counts. A crash at any moment leaves windows whose checksums hold, and a rest to cut off.

/** Counts of a window by outcome that the output's rows do not all tell. */
export interface WindowCounts {
  extracted: number;
  bad: number;
  truncated: number;
  unparsed: number;
  unknownLabels: number;
  /** Of documents: triples that were written, answers of no relation, relations below the least probability, and in the less probable direction. */
  triples?: number;
  none?: number;
  below?: number;
  opposed?: number;
}

/** A finished window of rows. */
export interface DoneWindow {
  rows: number;
  /** Bytes and sha256 of its lines in the output. */
  bytes: number;
  sha256: string;
  /** sha256 of the rows that were read. */
  input: string;
  /** Instruction set and precision that computed it; unknown in the state of an older version. */
  arithmetic?: string;
  counts: WindowCounts;
}

export interface UnfinishedOutput {
  /** The windows that need not be computed again. */
  done: readonly DoneWindow[];
  /** Adds the lines of a window. */
  add(text: string, window: Omit<DoneWindow, "bytes" | "sha256">): Promise<void>;
  /** Gives the output its name. */
  finish(): Promise<void>;
  /** Removes what was written. */
  discard(): Promise<void>;
  /** Closes the files and lets other processes write the output. */
  close(): Promise<void>;
}

const MAX_LINE_BYTES = 10_000;

/** The lock of an output. */
export const lockOf = (path: string): string => `${path}.lock`;

/**
 * Opens the unfinished output of a job, or begins one: `path` is the output with its links followed, `file` its name in messages. Another
 * process cannot write it until it is closed. Throws a UserError when one does, or when the unfinished output is of another job.
 */
export async function openUnfinished(
  path: string,
  file: string,
  job: string,
  windowRows: number,
): Promise<UnfinishedOutput> {
  const part = `${path}.part`;
  const journal = `${path}.part.json`;
  await makeFolder(dirname(path));
  const release = await holdLock(lockOf(path), file);
  const handles: FileHandle[] = [];
  const close = async () => {
    for (const handle of handles.splice(0)) await handle.close();
    await release();
  };
  try {
    const done = existsSync(part) && existsSync(journal) ? await readDone(part, journal, job, windowRows) : null;
    if (done === null) await rm(part, { force: true });
    // Written anew, without the lines of windows that were lost.
    const lines = [{ job }, ...(done ?? [])].map((line) => `${JSON.stringify(line)}\n`);
    await writeFileAtomic(journal, lines.join(""));
    const [rows, windows] = await namingFile(file, async () => {
      for (const name of [part, journal]) handles.push(await open(name, "a"));
      return handles;
    });
    return {
      done: done ?? [],
      close,
      async add(text, window) {
        const bytes = Buffer.from(text);
        const line: DoneWindow = { ...window, bytes: bytes.length, sha256: sha256(bytes) };
        await namingFile(file, async () => {
          // First the line that tells of the rows: rows that are there can be resumed, and a line without them is noticed.
          await windows.appendFile(`${JSON.stringify(line)}\n`);
          await rows.appendFile(bytes);
        });
      },
      async finish() {
        await namingFile(file, async () => {
          await rows.sync();
          await replaceFile(part, path);
          await syncDirectory(dirname(path));
          await rm(journal, { force: true });
        });
      },
      async discard() {
        await rm(part, { force: true });
        await rm(journal, { force: true });
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** The windows whose rows are whole; what follows them in the output is cut off. Throws a UserError for another job. */
async function readDone(part: string, journal: string, job: string, windowRows: number): Promise<DoneWindow[]> {
  const [header, ...noted] = await journalLines(journal);
  if (typeof header !== "object" || header === null) {
    throw new UserError(`${journal}: is not the state of an extraction.`, {
      hint: `Delete ${part} and ${journal} to start anew.`,
    });
  }
  if ((header as { job?: unknown }).job !== job) throw otherCall(part);
  const sizeBytes = await fileSizeBytes(part, "the finished rows of an extraction");
  const done: DoneWindow[] = [];
  let at = 0;
  for (const window of noted) {
    // A window that is not full was the last one; rows of one window are computed together, so it is computed again.
    if (!isWindow(window) || window.rows !== windowRows || at + window.bytes > sizeBytes) break;
    if ((await sha256OfPart(part, at, window.bytes)) !== window.sha256) break;
    at += window.bytes;
    done.push(window);
  }
  await namingFile(part, () => truncate(part, at));
  return done;
}

export function otherCall(part: string): UserError {
  return new UserError(`${part}: is the unfinished output of another call (other run, input or options).`, {
    hint: `Delete ${part} to start anew.`,
  });
}

/** The lines up to the first one that is not JSON: a crash may leave half a line or zero bytes. */
async function journalLines(journal: string): Promise<unknown[]> {
  const values: unknown[] = [];
  for await (const { text } of readLines(journal, { maxLineBytes: MAX_LINE_BYTES })) {
    try {
      values.push(JSON.parse(text ?? ""));
    } catch {
      break;
    }
  }
  return values;
}

function isWindow(value: unknown): value is DoneWindow {
  const { rows, bytes, sha256, input, arithmetic, counts } = (value ?? {}) as Partial<DoneWindow>;
  const isCount = (number: unknown) => Number.isSafeInteger(number) && (number as number) >= 0;
  const { extracted, bad, truncated, unparsed, unknownLabels } = counts ?? {};
  return (
    [rows, bytes, extracted, bad, truncated, unparsed, unknownLabels, ...Object.values(counts ?? {})].every(isCount) &&
    typeof sha256 === "string" &&
    typeof input === "string" &&
    ["string", "undefined"].includes(typeof arithmetic)
  );
}

async function sha256OfPart(file: string, start: number, bytes: number): Promise<string> {
  const hash = createHash("sha256");
  if (bytes === 0) return hash.digest("hex");
  try {
    for await (const chunk of createReadStream(file, { start, end: start + bytes - 1 })) hash.update(chunk as Buffer);
  } catch (error) {
    throw new UserError(`${file}: cannot be read (${messageOf(error)}).`, { cause: error });
  }
  return hash.digest("hex");
}

/** What to know of finished rows that another instruction set computed; null when there are none. */
export function arithmeticNotice(done: readonly DoneWindow[], part: string, own: string | undefined): string | null {
  const others = done.filter(({ arithmetic }) => own !== undefined && arithmetic !== undefined && arithmetic !== own);
  if (others.length === 0) return null;
  const rows = others.reduce((sum, window) => sum + window.rows, 0);
  const names = [...new Set(others.map(({ arithmetic }) => arithmetic))].join("; ");
  return (
    `${part}: ${rows} rows were computed with another instruction set (${names}), the others are with ${own}: ` +
    "probabilities may differ in their last digits from those of one undisturbed call."
  );
}
