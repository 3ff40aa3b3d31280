import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { buildCli, ROOT } from "../e2e/support.ts";

/** npm's error codes for a registry that cannot be reached while its cache lacks a package. */
const OFFLINE =
  /E(NOTFOUND|AI_AGAIN|NOTCACHED|CONNREFUSED|TIMEDOUT|NETUNREACH|HOSTUNREACH|CONNRESET)|EIDLETIMEOUT|network/;
const INSTALL = ["install", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--fetch-retries", "0"];

export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a command to its end; `env` is added to the environment, undefined takes a name out of it. */
export function ended(
  command: string,
  words: readonly string[],
  { cwd, env = {} }: { cwd: string; env?: Record<string, string | undefined> },
): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { cwd, env: { ...process.env, NO_COLOR: "1", ...env }, maxBuffer: 1 << 26 };
    execFile(command, words, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, stdout, stderr });
    });
  });
}

/** Packs the built package and installs it into an empty folder, without running scripts. Returns why that cannot be done here, or null. */
export async function installPackage(folder: string): Promise<string | null> {
  await buildCli();
  const packed = await ended("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], {
    cwd: ROOT,
  });
  expect(packed.code, packed.stderr).toBe(0);
  const [{ filename }] = JSON.parse(packed.stdout);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  return npmInstall(folder, `./${filename}`);
}

/** Installs a package; returns why the registry does not give it, or null. */
export async function npmInstall(folder: string, name: string): Promise<string | null> {
  const { code, stderr } = await ended("npm", [...INSTALL, name], { cwd: folder });
  if (code !== 0 && OFFLINE.test(stderr)) return stderr.split("\n")[0];
  expect(code, stderr).toBe(0);
  return null;
}
