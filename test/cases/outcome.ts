import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, vi } from "vitest";
import { type CreOptions, cre, type Outcome } from "../e2e/support.ts";

/** Longer than any command of these tests needs, shorter than a tester's patience. */
export const HANG_MS = 30_000;

// Tests of whole processes need patience on a machine that others use too.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

/** Checks that a command ended as the user's mistake: exit code 1, a message that holds every text, no stack. */
export function expectMistake(outcome: Outcome, texts: readonly (string | RegExp)[] = []): void {
  const { code, signal, stderr } = outcome;
  const shown = `exit ${code ?? signal}: ${stderr.slice(0, 2000)}`;
  expect(signal, `it hung or was killed; ${shown}`).toBe(null);
  expect(stderr, shown).not.toMatch(/\n\s+at |This is a fault of cre-llm/);
  expect(code, shown).toBe(1);
  for (const text of texts) {
    if (typeof text === "string") expect(stderr).toContain(text);
    else expect(stderr).toMatch(text);
  }
}

export function expectDone(outcome: Outcome): void {
  expect(outcome.code, `exit ${outcome.code ?? outcome.signal}: ${outcome.stderr.slice(0, 2000)}`).toBe(0);
}

/** Runs a command that must fail as {@link expectMistake} says. */
export async function mistake(
  command: readonly string[],
  texts: readonly (string | RegExp)[],
  options: CreOptions = {},
): Promise<Outcome> {
  const outcome = await cre(command, { timeoutMs: HANG_MS, ...options });
  expectMistake(outcome, texts);
  return outcome;
}

/** Runs a command that must end with exit code 0. */
export async function done(command: readonly string[], options: CreOptions = {}): Promise<Outcome> {
  const outcome = await cre(command, { timeoutMs: 2 * HANG_MS, ...options });
  expectDone(outcome);
  return outcome;
}

export const parsedLines = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

/** Whether a system command works here; says on the console which tests are skipped when it does not. */
export function canRun(command: readonly string[], tests: string): boolean {
  try {
    execFileSync(command[0], command.slice(1), { stdio: "pipe" });
    return true;
  } catch (error) {
    console.warn(`skipped: ${tests}; "${command.join(" ")}" does not work here (${(error as Error).message.trim()})`);
    return false;
  }
}

/** A character device like /dev/null or /dev/full; null where this user may not make one. */
export function makeDevice(path: string, kind: "null" | "full"): string | null {
  return canRun(["mknod", path, "c", "1", kind === "null" ? "3" : "7"], `outputs to a device ${kind}`) ? path : null;
}

/** A folder in which nobody can write, root included; null where this user may not mount one. `remove` unmounts it. */
export function readOnlyFolder(path: string): { path: string; remove(): void } | null {
  mkdirSync(path);
  writeFileSync(join(path, "kept.txt"), "kept\n");
  const mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", path];
  if (!canRun(mount, "outputs in a read-only folder")) return null;
  return { path, remove: () => execFileSync("umount", [path]) };
}
