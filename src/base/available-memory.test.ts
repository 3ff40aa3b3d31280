import { totalmem } from "node:os";
import { describe, expect, it } from "vitest";
import { availableMemoryBytes } from "./available-memory.ts";

const withFiles = (files: Record<string, string>) => availableMemoryBytes((file) => files[file] ?? null);
const MEMINFO =
  "MemTotal:       8000000 kB\nMemFree:  100 kB\nMemAvailable:    4000000 kB\nSwapFree:        1000000 kB\n";
const GB = 1e9;

describe("availableMemoryBytes", () => {
  it("is what the system counts as available, with free swap", () => {
    expect(withFiles({ "/proc/meminfo": MEMINFO })).toBe(5_000_000 * 1024);
  });

  it("is no more than the control group leaves, its file cache included", () => {
    const files = {
      "/proc/meminfo": MEMINFO,
      "/sys/fs/cgroup/memory.max": `${2 * GB}\n`,
      "/sys/fs/cgroup/memory.current": `${1.5 * GB}\n`,
      "/sys/fs/cgroup/memory.stat": `anon 12\ninactive_file ${0.25 * GB}\n`,
    };
    expect(withFiles(files)).toBe(0.75 * GB);
    expect(withFiles({ ...files, "/sys/fs/cgroup/memory.max": "max\n" })).toBe(5_000_000 * 1024);
    expect(withFiles({ ...files, "/sys/fs/cgroup/memory.current": `${3 * GB}\n` })).toBe(0);
  });

  it("reads control groups of version 1", () => {
    const folder = "/sys/fs/cgroup/memory";
    const files = {
      "/proc/meminfo": MEMINFO,
      [`${folder}/memory.limit_in_bytes`]: `${GB}\n`,
      [`${folder}/memory.usage_in_bytes`]: `${0.5 * GB}\n`,
      [`${folder}/memory.stat`]: "total_inactive_file 1000\n",
    };
    expect(withFiles(files)).toBe(0.5 * GB + 1000);
    // Without a limit the number is near 2^63.
    expect(withFiles({ ...files, [`${folder}/memory.limit_in_bytes`]: "9223372036854771712\n" })).toBe(
      5_000_000 * 1024,
    );
  });

  it("is what can be given back at once on macOS, where free pages are few", () => {
    const vmStat = [
      "Mach Virtual Memory Statistics: (page size of 16384 bytes)",
      "Pages free:                               10000.",
      "Pages active:                            300000.",
      "Pages inactive:                          200000.",
      "Pages speculative:                         5000.",
    ].join("\n");
    const onMac = (text: string) =>
      availableMemoryBytes(
        () => null,
        () => text,
      );
    expect(onMac(vmStat)).toBe(215_000 * 16_384);
    const free = onMac(vmStat.replace("inactive", "other"));
    expect(free).toBeGreaterThan(0);
    expect(free).not.toBe(15_000 * 16_384);
  });

  it("gives a plausible number here", () => {
    expect(availableMemoryBytes()).toBeGreaterThan(1e7);
    expect(availableMemoryBytes()).toBeLessThanOrEqual(totalmem() * 4);
    expect(withFiles({})).toBeGreaterThan(0);
  });
});
