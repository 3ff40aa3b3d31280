/** Instruction levels: where their addons are, which of them are built, and which this machine runs. */
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../../base/errors.ts";
import { loadAddonFile } from "./addon-file.ts";

/** Weakest first. */
export const LEVELS = ["portable", "avx2", "avx512", "amx"] as const;
export type Level = (typeof LEVELS)[number];

export const packageRoot = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

/** CRE_SANITIZE=address or thread builds and loads addons with that sanitizer, in a folder of their own (test/sanitize.sh). */
export const sanitizer = process.env.CRE_SANITIZE ?? "";

/** Where the addons are: one `cre-<level>.node` for each built level, and `cre-cpu.node`. */
export const nativeFolder = join(packageRoot, sanitizer === "" ? "build/native" : `build/native-${sanitizer}`);

export const addonFile = (level: string, folder = nativeFolder) => join(folder, `cre-${level}.node`);

/** The addon that asks the processor for its levels (native/binding/cpu_addon.cpp). */
export const cpuAddonFile = (folder = nativeFolder) => join(folder, "cre-cpu.node");

/** Levels that this processor and its operating system run, weakest first; throws when the addon that knows cannot be loaded. */
export function runnableLevels(folder = nativeFolder): Level[] {
  const { supportedLevels } = loadAddonFile<{ supportedLevels: string[] }>(cpuAddonFile(folder), "supportedLevels");
  return LEVELS.filter((level) => supportedLevels.includes(level));
}

/** Levels whose addon exists, weakest first. */
export function builtLevels(folder = nativeFolder): Level[] {
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
