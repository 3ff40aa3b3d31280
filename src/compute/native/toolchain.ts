/** The C++ compiler of this machine: which one, how it is called, and what to install when there is none. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

export interface Compiler {
  command: string;
  /** Words before all others: the subcommand and target of a cross compiler. */
  words?: readonly string[];
  /** First line of `--version`. */
  version: string;
}

interface Outcome {
  code: number;
  output: string;
}

/** Runs a command to its end; a command that cannot be started has exit code 127. */
export function call(command: string, argumentList: readonly string[], input = ""): Promise<Outcome> {
  return new Promise((done) => {
    const child = execFile(command, argumentList, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : 127;
      done({ code, output: `${stdout}${stderr}${code === 127 ? (error?.message ?? "") : ""}` });
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
}

/** The compiler that CXX names, else the first of `candidates` that compiles C++17; a string says why there is none. */
export async function findCompiler(
  candidates: readonly string[],
  named: string | undefined,
): Promise<Compiler | string> {
  if (process.platform === "win32") {
    return "addons are not compiled on Windows: the package cre-llm-win32-x64 has them (npm installs it unless it is told to omit optional packages).";
  }
  for (const command of named ? [named] : candidates) {
    const probe = await call(command, ["-std=c++17", "-fsyntax-only", "-x", "c++", "-"], "#include <thread>\nint a;\n");
    if (probe.code === 0) {
      const version = (await call(command, ["--version"])).output.split("\n")[0];
      return { command, version };
    }
    if (named) return `CXX is "${named}", which does not compile C++17: ${probe.output.trim().split("\n")[0]}`;
  }
  return `no C++17 compiler found (${candidates.join(", ")}). ${installHint(process.platform, osRelease())}`;
}

/** Runs the compiler. */
export const compile = ({ command, words = [] }: Compiler, options: readonly string[], input = "") =>
  call(command, [...words, ...options], input);

export async function accepts(compiler: Compiler, flags: readonly string[]): Promise<boolean> {
  return (await compile(compiler, [...flags, "-fsyntax-only", "-x", "c++", "-"], "int a;\n")).code === 0;
}

/** GCC's precompiled headers are used through `-include`, clang's through `-include-pch`. */
export const isGcc = (compiler: Compiler) => !/clang/i.test(compiler.version);

const INSTALL: readonly (readonly [distributions: RegExp, command: string])[] = [
  [/\b(debian|ubuntu)\b/, "apt-get install g++"],
  [/\b(fedora|rhel|centos)\b/, "dnf install gcc-c++"],
  [/\balpine\b/, "apk add g++"],
  [/\barch\b/, "pacman -S gcc"],
  [/\bsuse\b/, "zypper install gcc-c++"],
];

/** How to install a compiler. `release` is the text of /etc/os-release, "" where there is none. */
export function installHint(platform: string, release: string): string {
  if (platform === "darwin") return "Install one with `xcode-select --install`.";
  const ids = release
    .split("\n")
    .filter((line) => /^ID(_LIKE)?=/.test(line))
    .join(" ");
  const known = INSTALL.find(([distributions]) => distributions.test(ids));
  if (known) return `Install one with \`${known[1]}\`.`;
  return "Install g++ with the package manager of this system (Debian, Ubuntu: `apt-get install g++`).";
}

function osRelease(): string {
  try {
    return readFileSync("/etc/os-release", "utf8");
  } catch {
    return "";
  }
}

/** Runs the tasks in order of the list, one on each processor that this process may use. */
export async function inParallel(tasks: readonly (() => Promise<void>)[]): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < tasks.length) await tasks[next++]();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}
