/** Instruction levels: where their addons are, which of them are built, and which this machine runs. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf, UserError } from "../../base/errors.ts";
import { loadAddonFile } from "./addon-file.ts";
import { findPrebuilt, type Prebuilt } from "./prebuilt.ts";

/** Weakest first; "neon" is of 64-bit Arm, where the ones before it but the first do not exist. */
export const LEVELS = ["portable", "avx2", "avx512", "avx512bf16", "amx", "neon"] as const;
export type Level = (typeof LEVELS)[number];

/** Levels with instructions for products of bfloat16 numbers. */
export const BF16_LEVELS: readonly Level[] = ["avx512bf16", "amx"];

export const packageRoot = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

/** CRE_SANITIZE=address or thread builds and loads addons with that sanitizer, in a folder of their own (test/sanitize.sh). */
export const sanitizer = process.env.CRE_SANITIZE ?? "";

/** Where a build puts the addons: one `cre-<level>.node` for each built level, and `cre-cpu.node`. */
export const packageFolder = join(packageRoot, sanitizer === "" ? "build/native" : `build/native-${sanitizer}`);

let cacheName: string | null = null;

/** Where the addons of an installed package are built when its own folder cannot be written: by version and sources, in the user's cache. */
export function cacheFolder(): string {
  cacheName ??= `${packageVersion()}-${sourcesHash()}-${process.platform}-${process.arch}`;
  return join(userCache(), "cre-llm", cacheName);
}

/** Where programs of this system keep what can be made again. */
function userCache(): string {
  if (process.env.XDG_CACHE_HOME) return process.env.XDG_CACHE_HOME;
  if (process.platform === "win32") return process.env.LOCALAPPDATA || join(homedir(), "AppData", "Local");
  return process.platform === "darwin" ? join(homedir(), "Library", "Caches") : join(homedir(), ".cache");
}

function packageVersion(): string {
  return JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")).version;
}

function sourcesHash(): string {
  const folder = join(packageRoot, "native");
  const names = existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: "utf8" }).sort() : [];
  const hash = createHash("sha256");
  for (const name of names.filter((name) => /\.(cpp|h)$/.test(name))) {
    hash.update(`${name}\0`).update(readFileSync(join(folder, name)));
  }
  return hash.digest("hex").slice(0, 12);
}

let prebuilt: Prebuilt | null = null;

/** The addons that npm installed as a package of this platform, checked once a process. */
export function prebuiltAddons(): Prebuilt {
  prebuilt ??= loadablePrebuilt();
  return prebuilt;
}

function loadablePrebuilt(): Prebuilt {
  const found = findPrebuilt(packageVersion());
  if (found.folder === null) return found;
  try {
    const [runnable, built] = [runnableLevels(found.folder), builtLevels(found.folder)];
    if (runnable.some((level) => built.includes(level))) return found;
    return { folder: null, problem: `${found.folder} has no addon for this processor` };
  } catch (error) {
    return { folder: null, problem: `the installed addon is not used: ${messageOf(error)}` };
  }
}

/** Where the addons are: built in the package, else installed as a package of this platform, else in the user's cache. */
export function nativeFolder(): string {
  if (sanitizer !== "" || hasUsableLevel(packageFolder)) return packageFolder;
  const { folder } = prebuiltAddons();
  if (folder !== null) return folder;
  return hasUsableLevel(cacheFolder()) ? cacheFolder() : packageFolder;
}

function hasUsableLevel(folder: string): boolean {
  if (!existsSync(cpuAddonFile(folder))) return false;
  try {
    const built = builtLevels(folder);
    return runnableLevels(folder).some((level) => built.includes(level));
  } catch {
    // An addon that cannot be loaded: nativeStatus says why.
    return folder === packageFolder;
  }
}

export const addonFile = (level: string, folder = nativeFolder()) => join(folder, `cre-${level}.node`);

/** The addon that asks the processor for its levels (native/binding/cpu_addon.cpp). */
export const cpuAddonFile = (folder = nativeFolder()) => join(folder, "cre-cpu.node");

/** Levels that this processor and its operating system run, weakest first; throws when the addon that knows cannot be loaded. */
export function runnableLevels(folder = nativeFolder()): Level[] {
  const { supportedLevels } = loadAddonFile<{ supportedLevels: string[] }>(cpuAddonFile(folder), "supportedLevels");
  return LEVELS.filter((level) => supportedLevels.includes(level));
}

/** Levels whose addon exists, weakest first. */
export function builtLevels(folder = nativeFolder()): Level[] {
  return LEVELS.filter((level) => existsSync(addonFile(level, folder)));
}

/** How to get the levels that `npm run build` leaves out. */
export const BUILD_ALL_HINT = "`CRE_LEVELS=all npm run build` builds every level.";

/** The error for a level that `source` asks for and that cannot be used here. */
export function levelError(
  source: string,
  asked: string,
  runnable: readonly Level[],
  built: readonly Level[],
): UserError {
  if (runnable.some((level) => level === asked)) {
    const message = `${source} is "${asked}", but that level is not built; built: ${built.join(", ") || "none"}.`;
    return new UserError(message, { hint: BUILD_ALL_HINT });
  }
  return new UserError(`${source} is "${asked}", but this machine runs only: ${runnable.join(", ")}.`, {
    hint: "Leave it out to get the best level.",
  });
}

/** Why a level cannot be used here, or null when it can. */
export function reasonAgainst(level: Level, runnable: readonly Level[], built: readonly Level[]): string | null {
  if (!runnable.includes(level)) return `this processor runs only ${runnable.join(", ")}`;
  if (!built.includes(level)) return `it is not built (built: ${built.join(", ") || "none"})`;
  return null;
}
