/** Compiling C++ files that changed and linking them into an addon. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type Compiler, compile, inParallel, isGcc } from "./toolchain.ts";

export interface Unit {
  source: string;
  object: string;
  flags: readonly string[];
  /** Header to precompile for this unit and others with its flags, or null. */
  header: string | null;
}

/** Units with the same flags from which on it is faster to precompile their header: that costs about as much as two files. */
const FEWEST_FOR_PRECOMPILED = 4;

/** GCC does not keep the diagnostic pragmas of a precompiled header (native/runtime/vector.h has these). */
const LOST_PRAGMAS = ["-Wno-psabi", "-Wno-maybe-uninitialized", "-Wno-uninitialized"];

/**
 * Compiles units side by side, in the order of the list; returns what the compiler said. A unit that failed has no object.
 * `progress` is called before the first and after each unit.
 */
export async function compileUnits(
  compiler: Compiler,
  units: readonly Unit[],
  objects: string,
  progress: (done: number, total: number) => void,
): Promise<string[]> {
  const log: string[] = [];
  if (units.length === 0) return log;
  const scratch = mkdtempSync(join(objects, "precompiled-"));
  try {
    let done = 0;
    progress(done, units.length);
    const prefixes = await precompile(compiler, units, scratch);
    const tasks = units.map((unit) => async () => {
      const partial = `${unit.object}.${process.pid}.partial`;
      const prefix = prefixes.get(groupOf(unit)) ?? [];
      const result = await compile(compiler, [...unit.flags, ...prefix, "-c", unit.source, "-o", partial]);
      if (result.output !== "") log.push(`${basename(unit.source)} (${unit.flags.join(" ")})\n${result.output}`);
      if (result.code === 0) renameSync(partial, unit.object);
      else rmSync(partial, { force: true });
      progress(++done, units.length);
    });
    await inParallel(tasks);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return log;
}

const groupOf = (unit: Unit) => [unit.header, ...unit.flags].join("\0");

/** Precompiles the headers that enough units share; the map gives the flags that use one. Units whose header fails read it as usual. */
async function precompile(compiler: Compiler, units: readonly Unit[], scratch: string): Promise<Map<string, string[]>> {
  const groups = new Map<string, Unit[]>();
  for (const unit of units) {
    if (unit.header === null || !existsSync(unit.header)) continue;
    groups.set(groupOf(unit), [...(groups.get(groupOf(unit)) ?? []), unit]);
  }
  const prefixes = new Map<string, string[]>();
  const large = [...groups].filter(([, members]) => members.length >= FEWEST_FOR_PRECOMPILED);
  const tasks = large.map(([group, [first]], i) => async () => {
    const folder = join(scratch, `${i}`);
    mkdirSync(folder);
    const header = join(folder, "first.h");
    writeFileSync(header, `#include "${first.header}"\n`);
    const [precompiled, flags] = isGcc(compiler)
      ? [`${header}.gch`, ["-include", header, ...LOST_PRAGMAS]]
      : [`${header}.pch`, ["-include-pch", `${header}.pch`]];
    const result = await compile(compiler, [...first.flags, "-x", "c++-header", header, "-o", precompiled]);
    if (result.code === 0) prefixes.set(group, flags);
  });
  await inParallel(tasks);
  return prefixes;
}

/** What the linker needs besides: Node-API's symbols come from the process that loads the addon. */
export function linkFlags(platform: NodeJS.Platform): readonly string[] {
  return platform === "darwin" ? ["-undefined", "dynamic_lookup"] : [];
}

/** Links an addon unless it was linked from these objects with these flags; returns the linker's complaint or null. */
export async function linkAddon(
  compiler: Compiler,
  addon: string,
  parts: readonly Unit[],
  flags: readonly string[],
): Promise<string | null> {
  const stamp = addon.replace(/\.node$/, ".hash");
  const objects = parts.map((unit) => unit.object);
  const hash = hashOf(...[...objects, ...flags].map((word) => basename(word)));
  if (existsSync(addon) && existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return null;
  const partial = `${addon}.${process.pid}.partial`;
  const linking = ["-shared", "-pthread", ...flags, ...objects, "-o", partial];
  const result = await compile(compiler, linking);
  if (result.code !== 0) {
    rmSync(partial, { force: true });
    return result.output;
  }
  renameSync(partial, addon);
  writeFileSync(stamp, hash);
  return null;
}

export const hashOf = (...parts: readonly (string | Buffer)[]): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\0");
  return hash.digest("hex").slice(0, 32);
};

/** A source file and everything it includes with quotes, each once. */
export function sourceAndHeaders(folder: string, name: string, seen = new Set<string>()): Buffer[] {
  if (seen.has(name) || !existsSync(join(folder, name))) return [];
  seen.add(name);
  const text = readFileSync(join(folder, name));
  const included = [...text.toString("utf8").matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)].map((match) => match[1]);
  return [text, ...included.flatMap((header) => sourceAndHeaders(folder, header, seen))];
}
