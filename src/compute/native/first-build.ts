/** Builds the native backend when the first command computes, where installing the package did not: npm runs no scripts of dependencies. */
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { holdLock } from "../../base/lock.ts";
import { nativeStatus, sayWhyNotBuilt } from "./addon.ts";
import { buildNative, COMPILERS } from "./build.ts";
import { cacheFolder, packageFolder, packageRoot, prebuiltAddons, sanitizer } from "./levels.ts";
import { findCompiler } from "./toolchain.ts";

/** Another process builds for a minute or two; after this it is not waited for. */
const LONGEST_WAIT_MS = 600_000;
const POLL_MS = 500;
/** Names the compiler that an earlier build failed with: it is not tried again. */
const FAILED_FILE = "failed.txt";

let attempt: Promise<void> | null = null;

/**
 * Builds the best level of this machine into the package's own folder, or into the user's cache when that cannot be written; once, whatever
 * the number of processes. Never throws: what is missing becomes the reason that `nativeStatus` gives. CRE_NATIVE=off skips it.
 */
export function buildAtFirstUse(print: (line: string) => void): Promise<void> {
  attempt ??= build(print).catch((error: unknown) => {
    sayWhyNotBuilt(`its build failed: ${messageOf(error)}`);
  });
  return attempt;
}

async function build(print: (line: string) => void): Promise<void> {
  const isOther = !["", "native"].includes(process.env.CRE_BACKEND ?? "");
  const isUnwanted = process.env.CRE_NATIVE === "off" || isOther || sanitizer !== "";
  if (isUnwanted || nativeStatus().available || !existsSync(join(packageRoot, "native"))) return;
  const { problem: installed } = prebuiltAddons();
  const compiler = await findCompiler(COMPILERS, process.env.CXX);
  if (typeof compiler === "string") return sayWhyNotBuilt(installed === null ? compiler : `${installed}; ${compiler}`);
  const folders = [packageFolder, cacheFolder()];
  const folder = folders.find(isWritable);
  if (folder === undefined) {
    return sayWhyNotBuilt(
      `it is not built, and ${folders.join(" and ")} cannot be written; XDG_CACHE_HOME names another folder`,
    );
  }
  const release = await lockWhenFree(join(folder, "build.lock"), print);
  if (release === null) return;
  try {
    // Another process may have built it in the meantime.
    if (nativeStatus().available) return;
    const failed = join(folder, FAILED_FILE);
    const log = `an earlier build failed (${join(folder, "build.log")}; remove ${failed} to try again)`;
    if (existsSync(failed) && readFileSync(failed, "utf8") === compiler.version) return sayWhyNotBuilt(log);
    print("Building the native backend for this processor: once, for a minute or two (CRE_NATIVE=off: never).");
    const { levels, problem } = await buildNative({ output: folder, print: () => {} });
    if (levels.length === 0) {
      writeFileSync(failed, compiler.version);
      return sayWhyNotBuilt(`its build failed: ${problem ?? "no level was built"}`);
    }
    // Objects are for the next build of changed sources, which a cache of one version never sees.
    if (folder !== packageFolder) rmSync(join(folder, "objects"), { recursive: true, force: true });
  } finally {
    await release();
  }
}

function isWritable(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Takes the lock, after another process has released it; null when that took too long. */
async function lockWhenFree(file: string, print: (line: string) => void): Promise<(() => Promise<void>) | null> {
  const started = Date.now();
  for (let isFirst = true; Date.now() - started < LONGEST_WAIT_MS; isFirst = false) {
    try {
      return await holdLock(file, "The native backend");
    } catch (error) {
      if (!existsSync(file)) throw error;
      if (isFirst) print("Waiting for another process, which builds the native backend.");
      await sleep(POLL_MS);
    }
  }
  sayWhyNotBuilt(`another process builds it (${file})`);
  return null;
}
