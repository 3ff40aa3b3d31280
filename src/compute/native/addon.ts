import { existsSync } from "node:fs";
import { messageOf, UserError } from "../../base/errors.ts";
import type { Engine } from "../engine/engine.ts";
import { loadAddonFile } from "./addon-file.ts";
import { addonFile, builtLevels, cpuAddonFile, type Level, levelError, runnableLevels } from "./levels.ts";

export type { Level } from "./levels.ts";

/** Functions that need no engine, of native/binding/binding_checks.cpp. */
export interface ByteChecksAddon {
  /** CRC-32, continued from the sum of the bytes before these. */
  sumOfBytes(bytes: Uint8Array, before: number): number;
  /** The same by tables, on any processor. */
  sumByTables(bytes: Uint8Array, before: number): number;
  /** Whether none of the numbers (0: float32, 1: float16, 2: bfloat16) is NaN or infinite. */
  allFinite(bytes: Uint8Array, numbers: number): boolean;
}

interface Addon extends ByteChecksAddon {
  /** The name of the instructions of products of bytes; empty where none gives right sums. */
  byteInstructions(): string;
  Engine: new (threads: number, bfloat16: boolean, poison: boolean) => Engine;
  level: string;
}

export interface NativeStatus {
  available: boolean;
  /** For people: why it is not available; null when it is. */
  reason: string | null;
  /** Levels that are built and that this processor supports, weakest first. */
  levels: Level[];
  best: Level | null;
}

const load = (level: Level) => loadAddonFile<Addon>(addonFile(level), "Engine");

let whyNotBuilt = "it is not built (`npm run build` builds it where a C++17 compiler is installed)";

/** Why a build at first use made nothing: the reason that `nativeStatus` gives while there are no addons. */
export function sayWhyNotBuilt(reason: string): void {
  whyNotBuilt = reason.replace(/\.$/, "");
}

/** Whether the native backend can be opened here, and at which instruction levels. */
export function nativeStatus(): NativeStatus {
  const none = (reason: string): NativeStatus => ({ available: false, reason, levels: [], best: null });
  if (!existsSync(cpuAddonFile())) {
    return none(whyNotBuilt);
  }
  try {
    const [runnable, built] = [runnableLevels(), builtLevels()];
    const levels = built.filter((level) => runnable.includes(level));
    if (levels.length === 0) {
      const found = `this processor runs ${runnable.join(", ")}; built: ${built.join(", ") || "none"}`;
      return none(`the native backend is not built for this processor (${found}); \`npm run build\` builds it`);
    }
    return { available: true, reason: null, levels, best: levels[levels.length - 1] };
  } catch (error) {
    return none(`the native backend cannot be loaded: ${messageOf(error)}`);
  }
}

/** Loads the addon of a level (by default CRE_CPU, else the best one); throws a UserError for a level that this machine lacks. */
export function loadAddon(wanted: string | undefined): { addon: Addon; level: Level } {
  const status = nativeStatus();
  if (status.best === null) throw new UserError(status.reason ?? "the native backend is not available");
  const asked = wanted ?? process.env.CRE_CPU;
  if (asked === undefined || asked === "") return { addon: load(status.best), level: status.best };
  const level = status.levels.find((name) => name === asked);
  if (level === undefined) {
    const source = wanted === undefined ? "CRE_CPU" : "level";
    throw levelError(source, asked, runnableLevels(), builtLevels());
  }
  return { addon: load(level), level };
}
