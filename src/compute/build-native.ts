/**
 * Compiles the native backend: `node dist/compute/build-native.js`, run by `npm run build`.
 *
 * One addon per instruction level (build/native/cre-<level>.node). Nothing but a C++17 compiler and the npm packages node-addon-api and
 * node-api-headers is needed; the Node-API symbols are resolved when Node loads the addon. Objects are kept under the hash of everything
 * that went into them, so a build without changes compiles nothing.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf } from "../base/errors.ts";

export const packageRoot = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** Where the addons are: one `cre-<level>.node` for each level. */
export const nativeFolder = join(packageRoot, "build/native");

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
    amx: [...AVX512_FLAGS, "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-mamx-int8"],
  },
};

/** Files without kernels: compiled once, for the baseline, and linked into every level. */
const SHARED_SOURCES = /^(binding.*|executor|engine|arena|cpu)\.cpp$/;

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

/** Compiles what changed and links the addons; a failure is reported, never thrown, because the package works without them. */
export async function buildNative(options: BuildOptions = {}): Promise<BuildReport> {
  const print = options.print ?? ((line) => console.log(line));
  const sources = options.sources ?? join(packageRoot, "native");
  const output = options.output ?? nativeFolder;
  const failed = (problem: string): BuildReport => {
    print(problem);
    return { levels: [], compiled: 0, problem };
  };

  const wanted = process.env.CXX ? [process.env.CXX] : [];
  const compiler = await findCompiler(options.compilers ?? [...wanted, "g++", "clang++", "c++"]);
  if (compiler === null || process.platform === "win32") {
    return failed(
      "native backend: no C++17 compiler found (CXX, g++, clang++, c++); the slow reference backend is used.",
    );
  }
  const common = [...COMMON_FLAGS, ...includeFolders().map((folder) => `-isystem${folder}`)];
  common.push("-DNAPI_VERSION=8", "-DNAPI_CPP_EXCEPTIONS", "-DNODE_ADDON_API_DISABLE_DEPRECATED");
  if (await accepts(compiler.command, ["-fno-gnu-unique"])) common.push("-fno-gnu-unique");

  const names = readdirSync(sources).sort();
  const headers = names.filter((name) => name.endsWith(".h")).map((name) => readFileSync(join(sources, name)));
  const objects = join(output, "objects");
  mkdirSync(objects, { recursive: true });
  const units = new Map<string, Unit>();
  const unitOf = (name: string, flags: readonly string[]): Unit => {
    const hash = hashOf(compiler.version, flags.join(" "), name, readFileSync(join(sources, name)), ...headers);
    const object = join(objects, `${basename(name, ".cpp")}-${hash}.o`);
    const unit = units.get(object) ?? { source: join(sources, name), object, flags };
    units.set(object, unit);
    return unit;
  };

  const levels = new Map<string, Unit[]>();
  for (const [level, flags] of Object.entries(LEVEL_FLAGS[options.architecture ?? process.arch] ?? { portable: [] })) {
    if (!(await accepts(compiler.command, flags))) {
      print(`native backend: ${compiler.version} does not know ${flags.join(" ")}; level ${level} is left out.`);
      continue;
    }
    const perLevel = [...common, "-O3", ...flags, `-DCRE_LEVEL="${level}"`];
    const cpp = names.filter((name) => name.endsWith(".cpp"));
    levels.set(
      level,
      cpp.map((name) => (SHARED_SOURCES.test(name) ? unitOf(name, [...common, "-O2"]) : unitOf(name, perLevel))),
    );
  }

  const logFile = join(output, "build.log");
  const startMs = Date.now();
  const stale = [...units.values()].filter((unit) => !existsSync(unit.object));
  if (stale.length > 0) print(`native backend: compiling ${stale.length} files with ${compiler.version} …`);
  const problem = await compileAll(compiler.command, stale, logFile);
  if (problem !== null) return failed(problem);

  for (const [level, parts] of levels) {
    const problem = await link(compiler.command, level, parts, output, logFile);
    if (problem !== null) return failed(problem);
  }
  const current = new Set([...units.keys()].map((object) => basename(object)));
  for (const name of readdirSync(objects)) {
    if (name.endsWith(".o") && !current.has(name)) rmSync(join(objects, name), { force: true });
  }
  if (stale.length > 0) {
    print(`native backend: ${[...levels.keys()].join(", ")} built in ${((Date.now() - startMs) / 1000).toFixed(1)} s.`);
  }
  return { levels: [...levels.keys()], compiled: stale.length, problem: null };
}

async function compileAll(compiler: string, stale: readonly Unit[], logFile: string): Promise<string | null> {
  const queue = [...stale];
  const logs: string[] = [];
  const broken: string[] = [];
  const worker = async (): Promise<void> => {
    for (let unit = queue.shift(); unit !== undefined; unit = queue.shift()) {
      const partial = `${unit.object}.${process.pid}.partial`;
      const result = await run(compiler, [...unit.flags, "-c", unit.source, "-o", partial]);
      if (result.output !== "") logs.push(`${basename(unit.source)} (${unit.flags.join(" ")})\n${result.output}`);
      if (result.code === 0) renameSync(partial, unit.object);
      else {
        rmSync(partial, { force: true });
        broken.push(basename(unit.source));
        queue.length = 0;
      }
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  if (stale.length > 0) writeFileSync(logFile, logs.join("\n"));
  if (broken.length === 0) return null;
  return compileProblem(broken.join(", "), logs.join("\n"), logFile);
}

async function link(
  compiler: string,
  level: string,
  parts: readonly Unit[],
  output: string,
  logFile: string,
): Promise<string | null> {
  const addon = join(output, `cre-${level}.node`);
  const stamp = join(output, `cre-${level}.hash`);
  const objects = parts.map((unit) => unit.object);
  const hash = hashOf(...objects.map((object) => basename(object)));
  if (existsSync(addon) && existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return null;
  const undefinedSymbols = process.platform === "darwin" ? ["-undefined", "dynamic_lookup"] : [];
  const partial = `${addon}.${process.pid}.partial`;
  const result = await run(compiler, ["-shared", "-pthread", ...undefinedSymbols, ...objects, "-o", partial]);
  if (result.code !== 0) {
    writeFileSync(logFile, result.output);
    rmSync(partial, { force: true });
    return compileProblem(`cre-${level}.node`, result.output, logFile);
  }
  renameSync(partial, addon);
  writeFileSync(stamp, hash);
  return null;
}

function compileProblem(what: string, log: string, logFile: string): string {
  const errors = log.split("\n").filter((line) => /error|undefined/i.test(line));
  return [
    ...errors.slice(0, 10),
    `native backend: ${what} could not be compiled (whole output: ${logFile}); the slow reference backend is used.`,
  ].join("\n");
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const report = await buildNative().catch((error: unknown): BuildReport => {
    const problem = `native backend: the build failed: ${messageOf(error)}`;
    console.error(problem);
    return { levels: [], compiled: 0, problem };
  });
  if (report.problem !== null && process.env.CRE_NATIVE === "require") process.exitCode = 1;
}
