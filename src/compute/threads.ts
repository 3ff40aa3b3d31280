import { existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";

/** Threads to use: the option, else CRE_THREADS, else the physical cores this process may use. */
export function chooseThreads(wanted: number | undefined): number {
  const text = process.env.CRE_THREADS;
  const asked = wanted ?? (text === undefined || text === "" ? undefined : Number(text));
  if (asked === undefined) return defaultThreads();
  if (!Number.isInteger(asked) || asked < 1 || asked > 256) {
    const source = wanted === undefined ? "CRE_THREADS" : "threads";
    throw new UserError(`${source} is ${wanted ?? text}, expected a whole number from 1 to 256.`);
  }
  return asked;
}

function defaultThreads(): number {
  const allowed = Math.min(availableParallelism(), cgroupProcessors());
  return Math.max(1, Math.min(256, Math.floor(allowed / threadsPerCore())));
}

/** Processors that the control group (version 2) grants, rounded up; Infinity without a limit. */
function cgroupProcessors(): number {
  const text = readIfThere("/sys/fs/cgroup/cpu.max");
  const [quota, period] = (text ?? "").trim().split(/\s+/).map(Number);
  return quota > 0 && period > 0 ? Math.ceil(quota / period) : Number.POSITIVE_INFINITY;
}

/** Logical processors per core: matrix products gain nothing from the second one. */
function threadsPerCore(): number {
  const folder = "/sys/devices/system/cpu";
  if (!existsSync(folder)) return 1;
  const processors = readdirSync(folder).filter((name) => /^cpu\d+$/.test(name));
  const cores = new Set<string>();
  let known = 0;
  for (const name of processors) {
    const siblings = readIfThere(join(folder, name, "topology/thread_siblings_list"));
    if (siblings === null) continue;
    known++;
    cores.add(siblings.trim());
  }
  return cores.size === 0 ? 1 : known / cores.size;
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}
