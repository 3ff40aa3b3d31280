/** Packages with compiled addons, one a platform: `npm run release` makes them, npm installs the one whose os, cpu and libc match. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";

export interface PrebuiltPlatform {
  /** The package is `cre-llm-NAME`. */
  name: string;
  os: NodeJS.Platform;
  cpu: "x64" | "arm64";
  libc: "glibc" | "musl" | null;
  /** zig's name of the system, with the oldest version that the addons run on. */
  target: string;
  /** Of levels.ts, weakest first. */
  levels: readonly string[];
}

/** No Mac with an x64 processor multiplies bfloat16, and cpu.cpp allows the tile units on Linux only. */
const WITHOUT_BF16 = ["portable", "avx2", "avx512"] as const;
const WITHOUT_TILES = [...WITHOUT_BF16, "avx512bf16"] as const;
const WITH_TILES = [...WITHOUT_TILES, "amx"] as const;

export const PREBUILT: readonly PrebuiltPlatform[] = [
  {
    name: "linux-x64-gnu",
    os: "linux",
    cpu: "x64",
    libc: "glibc",
    target: "x86_64-linux-gnu.2.28",
    levels: WITH_TILES,
  },
  { name: "linux-x64-musl", os: "linux", cpu: "x64", libc: "musl", target: "x86_64-linux-musl", levels: WITH_TILES },
  {
    name: "linux-arm64-gnu",
    os: "linux",
    cpu: "arm64",
    libc: "glibc",
    target: "aarch64-linux-gnu.2.28",
    levels: ["neon"],
  },
  { name: "darwin-arm64", os: "darwin", cpu: "arm64", libc: null, target: "aarch64-macos.13.0", levels: ["neon"] },
  { name: "darwin-x64", os: "darwin", cpu: "x64", libc: null, target: "x86_64-macos.13.0", levels: WITHOUT_BF16 },
  { name: "win32-x64", os: "win32", cpu: "x64", libc: null, target: "x86_64-windows-gnu", levels: WITHOUT_TILES },
];

export const packageOf = ({ name }: PrebuiltPlatform) => `cre-llm-${name}`;

/** The platform's entry, or undefined where no package is made. `libc` is asked for on Linux only. */
export function platformOf(os: string, cpu: string, libc: () => "glibc" | "musl"): PrebuiltPlatform | undefined {
  const candidates = PREBUILT.filter((platform) => platform.os === os && platform.cpu === cpu);
  return candidates[0]?.libc ? candidates.find((platform) => platform.libc === libc()) : candidates[0];
}

/** The C library of this process: Node's report has no version of glibc where another one is used. */
function ownLibc(): "glibc" | "musl" {
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean };
  const before = report.excludeNetwork;
  report.excludeNetwork = true; // Listing the network's addresses can wait for name servers.
  const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  report.excludeNetwork = before;
  return header.glibcVersionRuntime === undefined ? "musl" : "glibc";
}

export interface Prebuilt {
  /** Where the addons are; null when they cannot be used. */
  folder: string | null;
  /** Why an installed package is not used, or null. */
  problem: string | null;
}

const requireFrom = createRequire(import.meta.url);

/** The installed package of this platform with exactly `version`; both null where none is installed. */
export function findPrebuilt(
  version: string,
  platform = platformOf(process.platform, process.arch, ownLibc),
  resolve = requireFrom.resolve,
): Prebuilt {
  const none: Prebuilt = { folder: null, problem: null };
  if (platform === undefined) return none;
  const name = packageOf(platform);
  let file: string;
  try {
    file = resolve(`${name}/package.json`);
  } catch {
    return none;
  }
  const found = versionIn(file);
  if (found === version) return { folder: dirname(file), problem: null };
  return { folder: null, problem: `${name} is version ${found ?? "unknown"}, expected ${version}` };
}

function versionIn(file: string): string | null {
  try {
    const { version } = JSON.parse(readFileSync(file, "utf8")) as { version?: unknown };
    return typeof version === "string" ? version : null;
  } catch {
    return null;
  }
}
