import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { freemem } from "node:os";

/** A text file of the system by its path; null where there is none. */
export type ReadSystemFile = (file: string) => string | null;

/**
 * Bytes that this process can still get: what Linux counts as available, with free swap, and no more than what the control group leaves
 * (version 2 or 1; its file cache can be given back). On macOS the pages that vm_stat counts as free, inactive or speculative: free pages alone
 * are few there, whatever is available. Free memory on systems that do not say.
 */
export function availableMemoryBytes(read: ReadSystemFile = readIfThere, vmStat = vmStatOfMac): number {
  const meminfo = read("/proc/meminfo") ?? "";
  const kilobytes = (name: string) => new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(meminfo)?.[1];
  const available = kilobytes("MemAvailable");
  const ofSystem =
    available === undefined
      ? (macMemory(vmStat()) ?? freemem())
      : 1024 * (Number(available) + Number(kilobytes("SwapFree") ?? 0));
  return Math.max(0, Math.min(ofSystem, ofControlGroup(read)));
}

function vmStatOfMac(): string {
  if (process.platform !== "darwin") return "";
  try {
    return execFileSync("/usr/bin/vm_stat", { encoding: "utf8", timeout: 2000, stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return "";
  }
}

/** Null for a text that is not the output of vm_stat. */
function macMemory(text: string): number | null {
  const pageBytes = Number(/page size of (\d+) bytes/.exec(text)?.[1]);
  const pages = ["free", "inactive", "speculative"].map((name) => {
    return Number(new RegExp(`^Pages ${name}:\\s+(\\d+)`, "m").exec(text)?.[1]);
  });
  const bytes = pageBytes * pages.reduce((sum, count) => sum + count, 0);
  return Number.isFinite(bytes) ? bytes : null;
}

/** Infinity without a limit. */
function ofControlGroup(read: ReadSystemFile): number {
  const version2 = { limit: "memory.max", used: "memory.current", cache: "inactive_file", folder: "/sys/fs/cgroup" };
  const version1 = {
    ...{ limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", cache: "total_inactive_file" },
    folder: "/sys/fs/cgroup/memory",
  };
  for (const { limit, used, cache, folder } of [version2, version1]) {
    const most = Number(read(`${folder}/${limit}`) ?? Number.NaN); // "max": no limit
    const current = Number(read(`${folder}/${used}`) ?? Number.NaN);
    if (!(most >= 0 && current >= 0)) continue;
    const cached = new RegExp(`^${cache} (\\d+)`, "m").exec(read(`${folder}/memory.stat`) ?? "")?.[1];
    return most - current + Number(cached ?? 0);
  }
  return Number.POSITIVE_INFINITY;
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}
