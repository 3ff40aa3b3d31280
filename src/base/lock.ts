import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, link, readFile, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { messageOf, UserError } from "./errors.ts";

interface Holder {
  host: string;
  pid: number;
  /** When the process began, in the system's own count: tells it from a later process with its number; null if unknown. */
  began: string | null;
  token: string;
}

/**
 * Holds a lock file with the number of this process; returns the function that releases it. A file that a killed process of this machine
 * left behind is replaced. Throws a UserError, "WHAT is in use …", when another process holds it.
 */
export async function holdLock(file: string, what: string, linkFile = link): Promise<() => Promise<void>> {
  const own: Holder = {
    host: hostname(),
    pid: process.pid,
    began: await beginningOf(process.pid),
    token: randomBytes(8).toString("hex"),
  };
  const beside = `${file}.${randomBytes(4).toString("hex")}.part`;
  try {
    await writeFile(beside, `${JSON.stringify(own)}\n`, { flag: "wx" });
    for (let attempt = 0; !(await linked(beside, file, linkFile)); attempt++) {
      const holder = await holderOf(file);
      if (holder && (attempt > 2 || !(await isGone(holder)))) throw inUse(file, what, holder);
      await rm(file, { force: true });
    }
    const holder = await holderOf(file);
    if (holder?.token !== own.token) throw inUse(file, what, holder);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${file}: cannot be written (${messageOf(error)}).`, { cause: error });
  } finally {
    await rm(beside, { force: true });
  }
  return async () => {
    if ((await holderOf(file))?.token === own.token) await rm(file, { force: true });
  };
}

/** Throws the UserError of {@link holdLock} when another process holds a lock. Says before work begins that it would be in vain. */
export async function expectUnlocked(file: string, what: string): Promise<void> {
  const holder = await holderOf(file);
  if (holder && !(await isGone(holder))) throw inUse(file, what, holder);
}

function inUse(file: string, what: string, holder: Holder | null): UserError {
  const by = holder ? `process ${holder.pid} on ${holder.host}` : "another process";
  return new UserError(`${what} is in use by ${by}.`, {
    hint: `Wait for it or stop it. If it cannot be running any more, remove ${file}.`,
  });
}

/** False when the name is taken. A file system without second names (exFAT, some shares) gets a copy, which is not whole at once. */
async function linked(from: string, to: string, linkFile: typeof link): Promise<boolean> {
  for (const make of [linkFile, copyNew]) {
    try {
      await make(from, to);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST") return false;
      if (make === copyNew || !NO_LINKS.includes(code ?? "")) throw error;
    }
  }
  return false;
}

const NO_LINKS = ["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EMLINK", "EISDIR", "UNKNOWN"];
const copyNew = (from: string, to: string) => copyFile(from, to, constants.COPYFILE_EXCL);

/** Null when there is no such file, or when it cannot be read as a lock: then no process holds it. */
async function holderOf(file: string): Promise<Holder | null> {
  try {
    const value: Partial<Holder> | null = JSON.parse(await readFile(file, "utf8"));
    const { host, pid, began, token } = value ?? {};
    if (typeof host !== "string" || typeof token !== "string" || !Number.isSafeInteger(pid)) return null;
    return { host, pid: pid as number, began: typeof began === "string" ? began : null, token };
  } catch {
    return null;
  }
}

/** Whether a holder has certainly ended; nothing is known about other machines. */
async function isGone(holder: Holder): Promise<boolean> {
  if (holder.host !== hostname() || holder.pid <= 0) return false;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
  const began = await beginningOf(holder.pid);
  return began !== null && holder.began !== null && began !== holder.began;
}

/** Boot and start time of a process, where the system tells (Linux). */
async function beginningOf(pid: number): Promise<string | null> {
  try {
    const boot = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
    const fields = await readFile(`/proc/${pid}/stat`, "utf8");
    // The name, in parentheses, may hold blanks; the start time is the 22nd field.
    return `${boot}/${fields.slice(fields.lastIndexOf(")") + 2).split(" ")[19]}`;
  } catch {
    return null;
  }
}
