/**
 * Compiles the native backend: `node dist/compute/native/build.js`, run by `npm run build`.
 *
 * One addon per instruction level (build/native/cre-<level>.node), and cre-cpu.node, which says what the processor runs. Only the best level
 * of this machine is built; CRE_LEVELS=all builds every level, CRE_LEVELS=portable,avx2 those two. A C++17 compiler and the npm packages
 * node-addon-api and node-api-headers are enough; Node resolves the Node-API symbols when it loads the addon. An object file is named by the hash of
 * everything that it is made from, without the folder of the checkout, so a build without changes compiles nothing and a copied
 * build folder stays valid. A failed build prints why and does not stop an installation, because the package also works on the
 * WebAssembly backend; CRE_NATIVE=require makes it an error.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../base/errors.ts";
import { compileUnits, hashOf, linkAddon, linkFlags, sourceAndHeaders, type Unit } from "./compile.ts";
import {
  addonFile,
  BF16_LEVELS,
  BUILD_ALL_HINT,
  cpuAddonFile,
  LEVELS,
  type Level,
  packageFolder,
  packageRoot,
  runnableLevels,
  sanitizer,
} from "./levels.ts";
import { accepts, type Compiler, findCompiler } from "./toolchain.ts";

const SANITIZER_FLAGS: Record<string, string[]> = {
  "": [],
  address: ["-fsanitize=address", "-fno-omit-frame-pointer", "-g1"],
  thread: ["-fsanitize=thread", "-fno-omit-frame-pointer", "-g1"],
};

const COMMON_FLAGS = [
  "-std=c++17",
  "-fPIC",
  "-fvisibility=hidden",
  "-fno-math-errno",
  "-ffp-contract=fast",
  "-pthread",
  "-Wall",
  "-Wextra",
  "-DNAPI_VERSION=8",
  "-DNAPI_CPP_EXCEPTIONS",
  "-DNODE_ADDON_API_DISABLE_DEPRECATED",
];

const AVX512_FLAGS = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mf16c"];
const AVX512_BF16_FLAGS = [...AVX512_FLAGS, "-mavx512bf16", "-mavx512vnni"];

/** Flags of each instruction level by architecture, weakest first. */
const LEVEL_FLAGS: Record<string, Partial<Record<Level, string[]>>> = {
  x64: {
    portable: [],
    avx2: ["-mavx2", "-mfma", "-mf16c"],
    avx512: AVX512_FLAGS,
    avx512bf16: AVX512_BF16_FLAGS,
    amx: [...AVX512_BF16_FLAGS, "-mamx-tile", "-mamx-bf16", "-mamx-int8"],
  },
  // Every 64-bit Arm has these instructions.
  arm64: { portable: [], neon: ["-DCRE_NEON"] },
};

/** Sources of cre-cpu.node. */
const CPU_SOURCES = ["binding/cpu_addon.cpp", "runtime/cpu.cpp"];
/** Files without kernels: compiled once, for the baseline, and linked into every level. */
const SHARED_SOURCES = /^(binding\/.*|runtime\/(executor|engine|arena)\.cpp)$/;
/** Files for products of bfloat16 numbers, which no other level needs. */
const BF16_SOURCES = /_bf16\.cpp$/;
/** Files of the WebAssembly module, which src/compute/wasm/build.ts compiles. */
const WASM_SOURCES = /^wasm\//;
/** Headers worth precompiling, because many files include them and they are slow to read. */
const KERNEL_HEADER = "runtime/vector.h";
const BINDING_HEADER = "binding/binding.h";

/** Tried in this order unless CXX names one. */
export const COMPILERS: readonly string[] = ["g++", "clang++", "c++"];

export interface BuildOptions {
  /** Folder of the C++ files; the package's own by default. */
  sources?: string;
  output?: string;
  /** Compilers to try in order, unless `cxx` names one. */
  compilers?: readonly string[];
  /** The environment's CXX by default. */
  cxx?: string;
  /** A compiler for another platform, and what it needs to compile and link there; this machine's by default. */
  cross?: { compiler: Compiler; compileFlags: readonly string[]; linkFlags: (addon: string) => readonly string[] };
  architecture?: string;
  /** "best", "all", or names with commas; the environment's CRE_LEVELS by default, else "best". */
  levels?: string;
  print?: (line: string) => void;
  /** Called after each compiled file; by default it rewrites one line when the output is a terminal. */
  progress?: (done: number, total: number) => void;
}

export interface BuildReport {
  /** Levels whose addon now exists. */
  levels: Level[];
  /** Files that this call compiled for these levels; 0 when nothing had changed. */
  compiled: number;
  /** Why addons are missing (no compiler, compile error), or null. */
  problem: string | null;
}

/** Compiles what changed and links the addons; failures are printed and reported, not thrown. */
export async function buildNative(options: BuildOptions = {}): Promise<BuildReport> {
  const print = options.print ?? ((line) => console.log(line));
  const sources = options.sources ?? join(packageRoot, "native");
  const output = options.output ?? packageFolder;
  const failed = (problem: string, levels: Level[] = [], compiled = 0): BuildReport => {
    print(problem);
    return { levels, compiled, problem };
  };
  const unusable = (reason: string) => failed(`native backend: ${reason}\nThe slower WebAssembly backend is used.`);

  const { cross } = options;
  const compiler =
    cross?.compiler ?? (await findCompiler(options.compilers ?? COMPILERS, options.cxx ?? process.env.CXX));
  if (typeof compiler === "string") return unusable(compiler);
  const sanitizerFlags = SANITIZER_FLAGS[sanitizer];
  if (sanitizerFlags === undefined) return unusable(`CRE_SANITIZE is "${sanitizer}", expected "address" or "thread".`);
  const choice = options.levels ?? (process.env.CRE_LEVELS || "best");
  const names = choice.split(",");
  if (!["best", "all"].includes(choice) && names.some((name) => !LEVELS.includes(name as Level))) {
    return unusable(`CRE_LEVELS is "${choice}", expected "best", "all" or some of ${LEVELS.join(",")}.`);
  }

  const packages = nodeApiPackages();
  const folders = [...packages.map(({ headers }) => `-isystem${headers}`), `-I${sources}`];
  const common = [...COMMON_FLAGS, ...(cross?.compileFlags ?? [])];
  const linking = (addon: string) => cross?.linkFlags(basename(addon)) ?? linkFlags(process.platform);
  // A cross compiler has one version, which knows the flags below; zig cannot be asked by its standard input.
  const knows = async (flags: readonly string[]) => cross !== undefined || (await accepts(compiler, flags));
  if (cross === undefined && (await accepts(compiler, ["-fno-gnu-unique"]))) common.push("-fno-gnu-unique");
  const objects = join(output, "objects");
  mkdirSync(objects, { recursive: true });
  const units = new Map<string, Unit>();
  const unitOf = (name: string, flags: readonly string[], header: string | null): Unit => {
    const versions = packages.map(({ version }) => version);
    const hash = hashOf(compiler.version, ...versions, flags.join(" "), name, ...sourceAndHeaders(sources, name));
    const object = join(objects, `${basename(name, ".cpp")}-${hash}.o`);
    const unit = units.get(object) ?? { source: join(sources, name), object, flags: [...flags, ...folders], header };
    units.set(object, unit);
    return unit;
  };

  const cpuUnits = CPU_SOURCES.filter((name) => existsSync(join(sources, name))).map((name) =>
    unitOf(name, [...common, "-O2"], null),
  );
  const cpuProblem = await buildCpuAddon(compiler, cpuUnits, output, linking(cpuAddonFile(output)));
  if (cpuProblem !== null) return unusable(`${CPU_SOURCES.join(", ")} could not be compiled:\n${cpuProblem}`);

  const levelFlags = LEVEL_FLAGS[options.architecture ?? process.arch] ?? { portable: [] };
  const levels = new Map<Level, Unit[]>();
  const cpp = kernelSources(sources);
  for (const level of candidateLevels(choice, Object.keys(levelFlags) as Level[], output, print)) {
    const flags = levelFlags[level] ?? [];
    if (!(await knows(flags))) {
      print(`native backend: ${compiler.version} does not know ${flags.join(" ")}; level ${level} is left out.`);
      continue;
    }
    // Sanitizers multiply the work of the optimizer; their addons are for checking, not for speed.
    const shared = [...common, ...sanitizerFlags, "-O2"];
    const perLevel = [
      ...common,
      ...sanitizerFlags,
      sanitizer === "" ? "-O3" : "-O1",
      ...flags,
      `-DCRE_LEVEL="${level}"`,
    ];
    const parts = cpp
      .filter((name) => BF16_LEVELS.includes(level) || !BF16_SOURCES.test(name))
      .map((name) => {
        if (!SHARED_SOURCES.test(name)) return unitOf(name, perLevel, join(sources, KERNEL_HEADER));
        return unitOf(name, shared, name.startsWith("binding/") ? join(sources, BINDING_HEADER) : null);
      });
    levels.set(level, parts);
    if (choice === "best") break;
  }

  const startMs = Date.now();
  const stale = [...units.values()].filter((unit) => !existsSync(unit.object));
  const wanted = LEVELS.filter((level) => levels.has(level));
  if (stale.length > 0) {
    print(`native backend: compiling ${stale.length} files for ${wanted.join(", ")} with ${compiler.version} …`);
  }
  const bySize = stale.sort((a, b) => statSync(b.source).size - statSync(a.source).size);
  const log = await compileUnits(compiler, bySize, objects, options.progress ?? showProgress);
  const broken = stale.filter((unit) => !existsSync(unit.object)).map((unit) => basename(unit.source));
  for (const level of LEVELS) {
    const parts = levels.get(level);
    if (parts?.every((unit) => existsSync(unit.object))) {
      const failure = await linkAddon(compiler, addonFile(level, output), parts, [
        ...sanitizerFlags,
        ...linking(addonFile(level, output)),
      ]);
      if (failure === null) continue;
      broken.push(basename(addonFile(level, output)));
      log.push(failure);
    }
    levels.delete(level);
    rmSync(addonFile(level, output), { force: true }); // never an addon of older sources
  }
  for (const file of readdirSync(objects).map((name) => join(objects, name))) {
    const isNeeded = file.endsWith(".o") ? units.has(file) : ageMs(file) < LEFTOVER_MS;
    if (!isNeeded) rmSync(file, { recursive: true, force: true });
  }
  const built = LEVELS.filter((level) => levels.has(level));
  const logFile = join(output, "build.log");
  if (stale.length > 0) writeFileSync(logFile, log.join("\n"));
  if (broken.length > 0) return failed(compileProblem(broken, built, log, logFile), built, stale.length);
  if (stale.length > 0) {
    const hint = choice === "best" && Object.keys(levelFlags).length > 1 ? ` ${BUILD_ALL_HINT}` : "";
    print(`native backend: ${built.join(", ")} built in ${((Date.now() - startMs) / 1000).toFixed(1)} s.${hint}`);
  }
  return { levels: built, compiled: stale.length, problem: null };
}

/** Levels to build if the compiler knows them; for "best" strongest first, and the first one that it knows is built. */
function candidateLevels(
  choice: string,
  known: readonly Level[],
  output: string,
  print: (line: string) => void,
): readonly Level[] {
  if (choice === "all" || (choice === "best" && known.length === 1)) return known;
  if (choice !== "best") return known.filter((level) => choice.split(",").includes(level));
  try {
    const runnable = runnableLevels(output);
    return known.filter((level) => runnable.includes(level)).reverse();
  } catch (error) {
    print(`native backend: this processor cannot be asked for its level (${messageOf(error)}).`);
    return ["portable"];
  }
}

/** Builds cre-cpu.node; returns what the compiler or linker complained about, or null. */
async function buildCpuAddon(
  compiler: Compiler,
  parts: readonly Unit[],
  output: string,
  linking: readonly string[],
): Promise<string | null> {
  if (parts.length === 0) return null;
  const stale = parts.filter((unit) => !existsSync(unit.object));
  const log = await compileUnits(compiler, stale, dirname(parts[0].object), () => {});
  if (!parts.every((unit) => existsSync(unit.object))) return log.join("\n");
  return linkAddon(compiler, cpuAddonFile(output), parts, linking);
}

/** The C++ files of the level addons, relative to `sources`. */
function kernelSources(sources: string): string[] {
  return readdirSync(sources, { recursive: true, encoding: "utf8" })
    .map((name) => name.replaceAll("\\", "/"))
    .filter((name) => name.endsWith(".cpp") && !CPU_SOURCES.includes(name) && !WASM_SOURCES.test(name))
    .sort();
}

/** Folder of the headers and version of the npm packages with Node-API. */
function nodeApiPackages(): { headers: string; version: string }[] {
  const require = createRequire(import.meta.url);
  const found = (name: string, folder: string) => {
    const file = require.resolve(`${name}/package.json`);
    const { version } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
    return { headers: join(dirname(file), folder), version: `${name} ${version}` };
  };
  return [found("node-addon-api", ""), found("node-api-headers", "include")];
}

/** A stopped build leaves precompiled headers (60 MB each) and partial objects; older than this they are no build's in progress. */
const LEFTOVER_MS = 3_600_000;

const ageMs = (file: string) => Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0);

function showProgress(done: number, total: number): void {
  if (!process.stdout.isTTY) return;
  process.stdout.write(done < total ? `\rcompiling ${done + 1}/${total} …` : "\r\x1b[K");
}

function compileProblem(broken: readonly string[], built: readonly string[], log: readonly string[], logFile: string) {
  const errors = log.flatMap((text) => text.split("\n")).filter((line) => /error|undefined/i.test(line));
  const consequence =
    built.length === 0 ? "the slower WebAssembly backend is used" : `only these levels are built: ${built.join(", ")}`;
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
