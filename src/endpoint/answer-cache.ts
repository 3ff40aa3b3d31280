import { createHash, randomBytes } from "node:crypto";
import { mkdir, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";

/** The largest answer that is kept. */
const MAX_ENTRY_BYTES = 8_000_000;
/** A hexadecimal SHA-256. */
const SUM_LENGTH = 64;

/**
 * Answers of a server on the disk, by the content of their requests. An entry is written under another name and renamed, so a process that is
 * killed leaves whole entries only; one that is damaged all the same is a miss, not an error.
 */
export interface AnswerCache {
  /** The answer that was kept; null for none. */
  read(key: string): Promise<unknown | null>;
  write(key: string, answer: unknown): Promise<void>;
}

/** The name of a request in the cache. */
export const cacheKey = (...parts: readonly unknown[]): string => sumOf(JSON.stringify(parts));

const sumOf = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Opens a cache in a folder, which is made. Throws a UserError when it cannot be. */
export async function openAnswerCache(directory: string): Promise<AnswerCache> {
  await mkdir(directory, { recursive: true }).catch((error: unknown) => {
    throw new UserError(`${directory}: cannot be made (${messageOf(error)}), expected a folder for answers.`);
  });
  if (!(await stat(directory)).isDirectory()) throw new UserError(`${directory}: is a file, expected a folder.`);
  const fileOf = (key: string) => join(directory, key.slice(0, 2), `${key.slice(2)}.json`);
  return {
    async read(key) {
      const text = await readEntry(fileOf(key));
      if (text === null || sumOf(text.slice(SUM_LENGTH + 1)) !== text.slice(0, SUM_LENGTH)) return null;
      return JSON.parse(text.slice(SUM_LENGTH + 1));
    },
    async write(key, answer) {
      const text = JSON.stringify(answer);
      if (Buffer.byteLength(text) > MAX_ENTRY_BYTES - SUM_LENGTH - 1) return;
      const file = fileOf(key);
      const beside = `${file}.${randomBytes(4).toString("hex")}.part`;
      try {
        await mkdir(dirname(file), { recursive: true });
        await writeFile(beside, `${sumOf(text)}\n${text}`, { flag: "wx" });
        await rename(beside, file);
      } catch (error) {
        await rm(beside, { force: true }).catch(() => {});
        throw new UserError(`${file}: cannot be written (${messageOf(error)}).`, {
          hint: "Free some space there, or give another folder: --cache DIR.",
        });
      }
    },
  };
}

/** The text of an entry; null when there is none, or one that this cache did not write. */
async function readEntry(file: string): Promise<string | null> {
  const handle = await open(file).catch(() => null);
  if (handle === null) return null;
  try {
    const { size } = await handle.stat();
    return size > MAX_ENTRY_BYTES ? null : await handle.readFile("utf8");
  } catch {
    return null;
  } finally {
    await handle.close();
  }
}
