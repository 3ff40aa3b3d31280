import { existsSync } from "node:fs";
import { type FileHandle, open, rm, truncate } from "node:fs/promises";
import { readLines } from "./files.ts";
import { namingFile } from "./output.ts";

/**
 * Results of costly work in a file, one JSON line each, for the process that repeats the work after an interruption: it asks for the same keys in the
 * same order, gets what is there, and adds the rest. Memory does not grow with the file.
 */
export interface Replay {
  /** The next result if it has this key; null when it is not there: compute it and {@link add} it. */
  take(key: string): Promise<unknown>;
  /** Adds a result; one that is too large for a line is left out, and is computed again after an interruption. */
  add(key: string, value: unknown): Promise<void>;
  /** Closes the file, and removes it when it is not needed any more. */
  close(isDone: boolean): Promise<void>;
}

const MAX_LINE_BYTES = 32 * 2 ** 20;

/** A line that was read, and where it begins. */
interface Entry {
  at: number;
  key: unknown;
  value: unknown;
}

/** Opens the results of a job; those of another job are removed. Half a line at the end, as a crash leaves it, is cut off. */
export async function openReplay(file: string, job: string): Promise<Replay> {
  let lines: AsyncGenerator<{ text: string | null }> | null = existsSync(file)
    ? readLines(file, { maxLineBytes: MAX_LINE_BYTES })
    : null;
  let at = 0;
  let handle: FileHandle | null = null;
  const read = async (): Promise<Entry | null> => {
    const { done, value: line } = (await lines?.next()) ?? { done: true, value: undefined };
    const entry = done || !line ? null : parsed(line.text, at);
    if (entry === null) {
      await lines?.return(undefined);
      lines = null;
    } else at += Buffer.byteLength(line?.text ?? "") + 1;
    return entry;
  };
  const first = await read();
  if (first?.key !== job) {
    await lines?.return(undefined);
    lines = null;
    at = 0;
    await rm(file, { force: true });
  }
  let next = lines === null ? null : await read();
  /** The file from where nothing is taken any more. */
  const opened = async (): Promise<FileHandle> => {
    if (handle !== null) return handle;
    await lines?.return(undefined);
    lines = null;
    const end = next?.at ?? at;
    next = null;
    if (existsSync(file)) await truncate(file, end);
    handle = await open(file, "a");
    if (end === 0) await handle.appendFile(`${JSON.stringify([job])}\n`);
    return handle;
  };
  return {
    async take(key) {
      if (next?.key !== key) return null;
      const { value } = next;
      next = await read();
      return value;
    },
    async add(key, value) {
      const line = `${JSON.stringify([key, value])}\n`;
      if (Buffer.byteLength(line) > MAX_LINE_BYTES) return;
      await namingFile(file, async () => (await opened()).appendFile(line));
    },
    async close(isDone) {
      await lines?.return(undefined);
      await handle?.close();
      if (isDone) await rm(file, { force: true });
    },
  };
}

function parsed(text: string | null, at: number): Entry | null {
  try {
    const row: unknown = JSON.parse(text ?? "");
    return Array.isArray(row) ? { at, key: row[0], value: row[1] } : null;
  } catch {
    return null;
  }
}
