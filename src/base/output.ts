import { randomBytes } from "node:crypto";
import { type BigIntStats, constants, fstatSync, type Stats } from "node:fs";
import { chmod, type FileHandle, lstat, mkdir, open, readlink, realpath, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { isSystemError, messageOf, UserError } from "./errors.ts";
import { replaceFile } from "./rename.ts";

// The one way to write an output. A regular file is written under another name next to it and renamed. A link is followed. A device, a FIFO
// or a socket is written to and stays what it is.

/** The limit of Linux. */
const MAX_LINKS = 40;
/** Names have at most 255 bytes on most file systems; 14 are added. */
const LONGEST_SHOWN_NAME_BYTES = 240;

/** Where the bytes of an output go. */
export type OutputTarget =
  /** `path` is where the file is or will be, with all links followed; `mode` are the permissions of the file that it replaces. */
  | { kind: "file"; path: string; mode: number | null }
  /** A device, a FIFO, or a file descriptor of a process (/dev/stdout): opened under its own name. */
  | { kind: "special"; path: string };

/** The calls of a file handle that an output of any kind has. */
export type OutputHandle = Pick<FileHandle, "write" | "writeFile">;

/** Runs work on a file; an error of the system becomes a UserError that names the file. */
export async function namingFile<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw cannotBeWritten(file, error);
  }
}

/** The UserError for an output that the system refuses. */
export function cannotBeWritten(file: string, error: unknown): UserError {
  const isFull = isSystemError(error) && (error.code === "ENOSPC" || error.code === "EDQUOT");
  const hint = isFull ? "Free some space there. A training or an extraction that was begun can be resumed." : undefined;
  return new UserError(`${file}: cannot be written (${messageOf(error)}).`, { cause: error, hint });
}

/** Follows the links of an output. Throws a UserError for a folder, for no name, and for a link below a folder that does not exist. */
export async function outputTarget(file: string): Promise<OutputTarget> {
  if (file === "") throw new UserError("The path of an output is empty, expected a file.");
  let path = resolve(file);
  for (let links = 0; links <= MAX_LINKS; links++) {
    // A descriptor under /proc may be a file that another process has open: it is appended to, never replaced.
    if (/^\/proc\/[^/]+\/fd\//.test(path) || /^\/dev\/fd\//.test(path)) return { kind: "special", path: file };
    const info = await namingFile(file, () => lstatOrNull(path));
    if (info === null) return { kind: "file", path, mode: null };
    if (!info.isSymbolicLink()) return existingTarget(file, path, info);
    const link = await namingFile(file, () => readlink(path));
    // The folder of the link may be a link too: "..", in the link's text, is relative to where it really is.
    path = resolve(await namingFile(file, () => realpath(dirname(path))), link);
  }
  throw new UserError(`${file}: is a link that leads to itself.`);
}

function existingTarget(file: string, path: string, info: Stats): OutputTarget {
  if (info.isDirectory()) throw new UserError(`${file}: is a folder, expected a file to write.`);
  if (info.isFile()) return { kind: "file", path, mode: info.mode & 0o7777 };
  return { kind: "special", path: file };
}

async function lstatOrNull(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    // Below a file there is nothing either: the step that makes the folder names the file.
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return null;
    throw error;
  }
}

/**
 * Writes an output whole: a reader of a regular file sees the old or the new content, never half, and on failure nothing is left behind.
 * Throws a UserError that names the file when the system refuses (no space, no permission).
 */
export async function writeOutput(file: string, write: (handle: OutputHandle) => Promise<void>): Promise<void> {
  const target = await outputTarget(file);
  if (target.kind === "special") {
    const { handle, close } = await namingFile(file, () => openSpecial(file));
    await namingFile(file, () => write(handle)).finally(close);
    return;
  }
  await namingFile(file, async () => {
    await makeFolder(dirname(target.path));
    const beside = besideName(target.path);
    const handle = await open(beside, "wx", target.mode ?? 0o666);
    try {
      await write(handle);
      await handle.sync();
      await handle.close();
      // The mode given to open is narrowed by the process's mask.
      if (target.mode !== null) await chmod(beside, target.mode);
      await replaceFile(beside, target.path);
    } catch (error) {
      await handle.close().catch(() => {});
      await rm(beside, { force: true });
      throw error;
    }
    await syncDirectory(dirname(target.path));
  });
}

/** The name under which a file is written until it is whole; a long name is left out of it, so that names of every allowed length work. */
function besideName(path: string): string {
  const name = basename(path);
  const shown = Buffer.byteLength(name) > LONGEST_SHOWN_NAME_BYTES ? "" : name;
  return join(dirname(path), `${shown}.${randomBytes(4).toString("hex")}.part`);
}

/** Makes a rename durable: the directory entry itself is flushed. Windows flushes no folders; its file system keeps a journal of names. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(directory, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Opens a device, a FIFO or a descriptor to write to. This process's own standard streams are written through, since a socket cannot be
 * opened by its path, and since a file that they were redirected to has their position.
 */
export async function openSpecial(file: string): Promise<{ handle: OutputHandle; close: () => Promise<void> }> {
  const info = await stat(file, { bigint: true });
  for (const stream of [process.stdout, process.stderr]) {
    if (isSameFile(info, statOfDescriptor(stream.fd))) return { handle: handleOf(stream), close: async () => {} };
  }
  const handle = await open(file, constants.O_WRONLY | constants.O_APPEND);
  return { handle, close: () => handle.close() };
}

function handleOf(stream: NodeJS.WriteStream): OutputHandle {
  const put = (bytes: string | Uint8Array) =>
    new Promise<void>((done, fail) => {
      stream.write(bytes, (error) => (error ? fail(error) : done()));
    });
  const write = async (bytes: Uint8Array, offset = 0, length = bytes.byteLength - offset) => {
    await put(bytes.subarray(offset, offset + length));
    return { bytesWritten: length, buffer: bytes };
  };
  return { write, writeFile: put } as unknown as OutputHandle;
}

function statOfDescriptor(descriptor: number): BigIntStats | null {
  try {
    return fstatSync(descriptor, { bigint: true });
  } catch {
    return null;
  }
}

/** By whole numbers: those of Windows exceed 2^53, and neighbours would look the same. */
const isSameFile = (a: BigIntStats | null, b: BigIntStats | null) =>
  a !== null && b !== null && a.dev === b.dev && a.ino === b.ino;

/**
 * Makes a folder and those above it, and returns the ones it made, outermost first. Unlike mkdir with `recursive`, it ends where a parent
 * that exists answers that it does not (/proc). Throws a UserError for a path below a file or a dangling link.
 */
export async function makeFolder(directory: string): Promise<string[]> {
  return namingFile(directory, () => makeFolders(resolve(directory), directory));
}

async function makeFolders(path: string, asked: string): Promise<string[]> {
  const made = await tryMake(path, asked);
  if (made !== "no parent") return made;
  const parents = dirname(path) === path ? [] : await makeFolders(dirname(path), asked);
  const again = await tryMake(path, asked);
  if (again !== "no parent") return [...parents, ...again];
  throw new UserError(`${asked}: cannot be made (${dirname(path)} accepts no new folders).`);
}

async function tryMake(path: string, asked: string): Promise<string[] | "no parent"> {
  try {
    await mkdir(path);
    return [path];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return "no parent";
    // A folder that exists on a read-only disk answers EROFS or EACCES on some systems.
    const info = await stat(path).catch(() => null);
    if (info?.isDirectory()) return [];
    if (info !== null) throw new UserError(`${asked}: cannot be made (${path} is a file, not a folder).`);
    const link = code === "EEXIST" ? await readlink(path).catch(() => null) : null;
    if (link !== null)
      throw new UserError(`${asked}: cannot be made (${path} is a link to ${link}, which does not exist).`);
    throw error;
  }
}

/**
 * Checks before work begins that a file can be written: its name is not a folder, the folders above it exist or can be made, a file can be
 * made there. Leaves nothing behind. Throws a UserError that names the file.
 */
export async function checkOutputFile(file: string): Promise<OutputTarget> {
  const target = await outputTarget(file);
  if (target.kind === "file") await probe(dirname(target.path), basename(target.path), file);
  return target;
}

/** Checks before work begins that files can be written into a folder that exists or can be made. Throws a UserError that names it. */
export async function checkOutputFolder(directory: string): Promise<void> {
  if (directory === "") throw new UserError("The path of an output is empty, expected a folder.");
  const info = await stat(directory).catch(() => null);
  if (info !== null && !info.isDirectory())
    throw new UserError(`${directory}: is a file, expected a folder to write into.`);
  await probe(directory, "output", directory);
}

/** Makes a file in a folder and removes it again, with the folders that had to be made. */
async function probe(directory: string, name: string, asked: string): Promise<void> {
  let made: string[] = [];
  try {
    made = await makeFolders(resolve(directory), asked);
    const file = besideName(join(directory, name));
    await (await open(file, "wx")).close();
    await rm(file);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw cannotBeWritten(asked, error);
  } finally {
    for (const path of made.reverse()) await rmdir(path).catch(() => {});
  }
}

/** Whether two paths are one file or folder, by whatever links; false when one does not exist. */
export async function isSamePath(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map((path) => stat(path, { bigint: true }).catch(() => null)));
  return isSameFile(first, second);
}

/** Throws a UserError when an output is one of the files that the command reads. */
export async function expectNotRead(output: string, inputs: readonly string[]): Promise<void> {
  for (const input of inputs) {
    if (!(await isSamePath(output, input))) continue;
    const info = await stat(output);
    // A terminal or a null device may be both.
    if (info.isFile() || info.isDirectory()) {
      throw new UserError(`${output}: is read by this command, and would be written over.`, {
        hint: "Give another path.",
      });
    }
  }
}
