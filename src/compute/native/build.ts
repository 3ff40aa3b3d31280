/**
 * Compiles the native backend: `node dist/compute/native/build.js`, run by `npm run build`.
 *
 * One addon per instruction level (build/native/cre-<level>.node). Nothing but a C++17 compiler and the npm packages node-addon-api and
 * node-api-headers is needed; the Node-API symbols are resolved when Node loads the addon. Objects are kept under the hash of everything
 * that went into them, so a build without changes compiles nothing. What cannot be built is told in one line and never stops an installation, because the
 * package also works on the reference backend; CRE_NATIVE=require makes it an error.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../base/errors.ts";

export const packageRoot = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

/** CRE_SANITIZE=address or thread builds and loads addons with that sanitizer, beside the ordinary ones (test/sanitize.sh). */
const sanitizer = process.env.CRE_SANITIZE ?? "";
const SANITIZER_FLAGS: Record<string, string[]> = {
  "": [],
  address: ["-fsanitize=address", "-fno-omit-frame-pointer", "-g1"],
  thread: ["-fsanitize=thread", "-fno-omit-frame-pointer", "-g1"],
};

/** Where the addons are: one `cre-<level>.node` for each level. */
export const nativeFolder = join(packageRoot, sanitizer === "" ? "build/native" : `build/native-${sanitizer}`);

const COMMON_FLAGS = [
  "-std=c++17",
  "-fPIC",
  "-fvisibility=hidden",
  "-fno-math-errno",
  "-ffp-contract=fast",
  "-pthread",
  "-Wall",
  "-Wextra",
];

const AVX512_FLAGS = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mf16c"];

/** Flags of each instruction level, weakest first. */
const LEVEL_FLAGS: Record<string, Record<string, string[]>> = {
  x64: {
    portable: [],
    avx2: ["-mavx2", "-mfma", "-mf16c"],
    avx512: AVX512_FLAGS,
    amx: [...AVX512_FLAGS, "-mavx512bf16", "-mavx512vnni", "-mamx-tile", "-mamx-bf16", "-mamx-int8"],
  },
};

/** Files without kernels: compiled once, for the baseline, and linked into every level. */
const SHARED_SOURCES = /^(binding\/.*|runtime\/(executor|engine|arena|cpu)\.cpp)$/;

interface Run {
  code: number;
  output: string;
}

function run(command: string, argumentList: readonly string[], input?: string): Promise<Run> {
  return new Promise((done) => {
    const child = execFile(command, argumentList, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : 127;
      done({ code, output: `${stdout}${stderr}` });
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input ?? "");
  });
}

/** The first compiler that can make C++17, and what it says about itself. */
async function findCompiler(candidates: readonly string[]): Promise<{ command: string; version: string } | null> {
  for (const command of candidates) {
    const probe = await run(command, ["-std=c++17", "-fsyntax-only", "-x", "c++", "-"], "#include <thread>\nint a;\n");
    if (probe.code !== 0) continue;
    const version = (await run(command, ["--version"])).output.split("\n")[0];
    return { command, version };
  }
  return null;
}

async function accepts(compiler: string, flags: readonly string[]): Promise<boolean> {
  return (await run(compiler, [...flags, "-fsyntax-only", "-x", "c++", "-"], "int a;\n")).code === 0;
}

const hashOf = (...parts: readonly (string | Buffer)[]): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\0");
  return hash.digest("hex").slice(0, 32);
};

function includeFolders(): string[] {
  const require = createRequire(import.meta.url);
  return [
    dirname(require.resolve("node-addon-api/package.json")),
    join(dirname(require.resolve("node-api-headers/package.json")), "include"),
  ];
}

export interface BuildOptions {
  /** Folder of the C++ files; the package's own by default. */
  sources?: string;
  output?: string;
  compilers?: readonly string[];
  architecture?: string;
  print?: (line: string) => void;
}

export interface BuildReport {
  /** Levels whose addon stands now. */
  levels: string[];
  /** Files compiled by this call; 0 when nothing had changed. */
  compiled: number;
  /** Why there are no addons (no compiler, compile error), or null. */
  problem: string | null;
}

interface Unit {
  source: string;
  object: string;
  flags: readonly string[];
}

/** Compiles what changed and links the addons; failures are printed and reported, not thrown. */
export async function buildNative(options: BuildOptions = {}): Promise<BuildReport> {
  const print = options.print ?? ((line) => console.log(line));
  const sources = options.sources ?? join(packageRoot, "native");
  const output = options.output ?? nativeFolder;
  const failed = (problem: string, levels: string[] = [], compiled = 0): BuildReport => {
    print(problem);
    return { levels, compiled, problem };
  };

  const wanted = process.env.CXX ? [process.env.CXX] : [];
  const compiler = await findCompiler(options.compilers ?? [...wanted, "g++", "clang++", "c++"]);
  if (compiler === null || process.platform === "win32") {
    return failed(
      "native backend: no C++17 compiler found (CXX, g++, clang++, c++); the slow reference backend is used.",
    );
  }
  const sanitizerFlags = SANITIZER_FLAGS[sanitizer];
  if (sanitizerFlags === undefined) {
    return failed(`native backend: CRE_SANITIZE is "${sanitizer}", expected "address" or "thread".`);
  }
  const common = [...COMMON_FLAGS, ...sanitizerFlags, ...includeFolders().map((folder) => `-isystem${folder}`)];
  common.push(`-I${sources}`, "-DNAPI_VERSION=8", "-DNAPI_CPP_EXCEPTIONS", "-DNODE_ADDON_API_DISABLE_DEPRECATED");
  if (await accepts(compiler.command, ["-fno-gnu-unique"])) common.push("-fno-gnu-unique");

  const objects = join(output, "objects");
  mkdirSync(objects, { recursive: true });
  const cpp = readdirSync(sources, { recursive: true, encoding: "utf8" })
    .map((name) => name.replaceAll("\\", "/"))
    .filter((name) => name.endsWith(".cpp"))
    .sort();
  const units = new Map<string, Unit>();
  const unitOf = (name: string, flags: readonly string[]): Unit => {
    const hash = hashOf(compiler.version, flags.join(" "), name, ...sourceAndHeaders(sources, name));
    const object = join(objects, `${basename(name, ".cpp")}-${hash}.o`);
    const unit = units.get(object) ?? { source: join(sources, name), object, flags };
    units.set(object, unit);
    return unit;
  };

  const levels = new Map<string, Unit[]>();
  const leaveOut = (level: string): void => {
    levels.delete(level);
    rmSync(addonFile(output, level), { force: true });
  };
  for (const [level, flags] of Object.entries(LEVEL_FLAGS[options.architecture ?? process.arch] ?? { portable: [] })) {
    if (!(await accepts(compiler.command, flags))) {
      print(`native backend: ${compiler.version} does not know ${flags.join(" ")}; level ${level} is left out.`);
      leaveOut(level);
      continue;
    }
    // Sanitizers multiply the work of the optimizer; their addons are for checking, not for speed.
    const perLevel = [...common, sanitizer === "" ? "-O3" : "-O1", ...flags, `-DCRE_LEVEL="${level}"`];
    const unitsOf = cpp.map((name) => unitOf(name, SHARED_SOURCES.test(name) ? [...common, "-O2"] : perLevel));
    levels.set(level, unitsOf);
  }

  const startMs = Date.now();
  const stale = [...units.values()].filter((unit) => !existsSync(unit.object));
  if (stale.length > 0) print(`native backend: compiling ${stale.length} files with ${compiler.version} …`);
  const log = await compileAll(compiler.command, stale);
  const broken = stale.filter((unit) => !existsSync(unit.object)).map((unit) => basename(unit.source));
  for (const [level, parts] of levels) {
    if (parts.every((unit) => existsSync(unit.object))) {
      const failure = await link(compiler.command, level, parts, output);
      if (failure === null) continue;
      broken.push(basename(addonFile(output, level)));
      log.push(failure);
    }
    leaveOut(level);
  }
  for (const name of readdirSync(objects)) {
    if (name.endsWith(".o") && !units.has(join(objects, name))) rmSync(join(objects, name), { force: true });
  }
  const built = [...levels.keys()];
  const logFile = join(output, "build.log");
  if (stale.length > 0) writeFileSync(logFile, log.join("\n"));
  if (broken.length > 0) return failed(compileProblem(broken, built, log, logFile), built, stale.length);
  if (stale.length > 0) {
    print(`native backend: ${built.join(", ")} built in ${((Date.now() - startMs) / 1000).toFixed(1)} s.`);
  }
  return { levels: built, compiled: stale.length, problem: null };
}

const addonFile = (output: string, level: string) => join(output, `cre-${level}.node`);

/** A source file and everything it includes with quotes, each once. */
function sourceAndHeaders(folder: string, name: string, seen = new Set<string>()): Buffer[] {
  if (seen.has(name) || !existsSync(join(folder, name))) return [];
  seen.add(name);
  const text = readFileSync(join(folder, name));
  const included = [...text.toString("utf8").matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)].map((match) => match[1]);
  return [text, ...included.flatMap((header) => sourceAndHeaders(folder, header, seen))];
}

/** Compiles units side by side; returns what the compiler said. A unit that failed has no object. */
async function compileAll(compiler: string, stale: readonly Unit[]): Promise<string[]> {
  const queue = [...stale];
  const log: string[] = [];
  const worker = async (): Promise<void> => {
    for (let unit = queue.shift(); unit !== undefined; unit = queue.shift()) {
      const partial = `${unit.object}.${process.pid}.partial`;
      const result = await run(compiler, [...unit.flags, "-c", unit.source, "-o", partial]);
      if (result.output !== "") log.push(`${basename(unit.source)} (${unit.flags.join(" ")})\n${result.output}`);
      if (result.code === 0) renameSync(partial, unit.object);
      else rmSync(partial, { force: true });
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return log;
}

/** Links the addon of a level unless it stands; returns the linker's complaint or null. */
async function link(compiler: string, level: string, parts: readonly Unit[], output: string): Promise<string | null> {
  const addon = addonFile(output, level);
  const stamp = join(output, `cre-${level}.hash`);
  const objects = parts.map((unit) => unit.object);
  const hash = hashOf(...objects.map((object) => basename(object)));
  if (existsSync(addon) && existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return null;
  const undefinedSymbols = process.platform === "darwin" ? ["-undefined", "dynamic_lookup"] : [];
  const partial = `${addon}.${process.pid}.partial`;
  const result = await run(compiler, [
    "-shared",
    "-pthread",
    ...SANITIZER_FLAGS[sanitizer],
    ...undefinedSymbols,
    ...objects,
    "-o",
    partial,
  ]);
  if (result.code !== 0) {
    rmSync(partial, { force: true });
    return result.output;
  }
  renameSync(partial, addon);
  writeFileSync(stamp, hash);
  return null;
}

function compileProblem(broken: readonly string[], built: readonly string[], log: readonly string[], logFile: string) {
  const errors = log.flatMap((text) => text.split("\n")).filter((line) => /error|undefined/i.test(line));
  const consequence =
    built.length === 0 ? "the slow reference backend is used" : `only these levels stand: ${built.join(", ")}`;
  return [
    ...errors.slice(0, 10),
    `native backend: ${[...new Set(broken)].join(", ")} could not be compiled (whole output: ${logFile}); ${consequence}.`,
  ].join("\n");
}

/** 1 when the addons are required (CRE_NATIVE=require) and something failed, else 0. */
export function exitCodeOf(report: BuildReport, requirement: string | undefined): number {
  return report.problem !== null && requirement === "require" ? 1 : 0;
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const report = await buildNative().catch((error: unknown): BuildReport => {
    const problem = `native backend: the build failed: ${messageOf(error)}`;
    console.error(problem);
    return { levels: [], compiled: 0, problem };
  });
  process.exitCode = exitCodeOf(report, process.env.CRE_NATIVE);
}
