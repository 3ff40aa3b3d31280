/**
 * Compiles the modules and writes their record: `npm run build:wasm`, with clang, lld and the wasm32 libraries of Debian (`TOOLCHAIN`).
 * `--output DIR` writes them elsewhere. They need no libraries at run time: native/wasm/ has the allocator and the threads, and the
 * linker takes nothing but a few mathematical functions from the C library.
 */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { packageRoot } from "../native/levels.ts";
import { call, inParallel } from "../native/toolchain.ts";
import { MODULES, type ModuleRecord, sha256, sourceHashes, type WasmRecord, wasmSources } from "./record.ts";

export const TOOLCHAIN = "apt-get install --no-install-recommends clang-19 lld-19 wasi-libc libc++-19-dev-wasm32";
const PACKAGES = ["wasi-libc", "libc++-19-dev-wasm32"];
/** Tried in this order unless CXX_WASM names one. */
const COMPILERS = ["clang++-19", "clang++"];

const FLAGS = [
  "--target=wasm32-wasi",
  "-stdlib=libc++",
  "-std=c++17",
  "-O3",
  "-msimd128",
  "-matomics",
  "-mbulk-memory",
  "-mmutable-globals",
  "-fno-exceptions",
  "-fno-rtti",
  "-fno-threadsafe-statics",
  "-fvisibility=hidden",
  "-fno-math-errno",
  "-ffp-contract=fast",
  "-Wall",
  "-Wextra",
];

const LINK_FLAGS = [
  "--target=wasm32-wasi",
  "-nostartfiles",
  "-nodefaultlibs",
  "-lc++",
  "-lc",
  "-Wl,--no-entry",
  "-Wl,--import-memory",
  "-Wl,--shared-memory",
  // FIRST_PAGES and MOST_PAGES of calls.ts.
  "-Wl,--initial-memory=2097152",
  "-Wl,--max-memory=4294967296",
  // The C library is compiled without atomic instructions; what is taken from it touches no memory but its arguments.
  "-Wl,--no-check-features",
  "-Wl,--export=__stack_pointer",
  "-Wl,--stack-first",
  "-Wl,-z,stack-size=1048576",
  "-Wl,--gc-sections",
  "-Wl,--strip-all",
];

export interface WasmBuildOptions {
  sources?: string;
  output: string;
  /** The environment's CXX_WASM by default. */
  compiler?: string;
}

/** Writes the modules and kernels.json to the output folder; returns why it could not, or null. */
export async function buildWasm(options: WasmBuildOptions): Promise<string | null> {
  const { sources = join(packageRoot, "native"), output } = options;
  const compiler = await findWasmCompiler(options.compiler ?? process.env.CXX_WASM);
  if (compiler.problem !== null) return compiler.problem;
  const scratch = mkdtempSync(join(tmpdir(), "cre-wasm-"));
  try {
    const modules: Record<string, ModuleRecord> = {};
    const made = new Map<string, Buffer>();
    for (const [name, own] of Object.entries(MODULES)) {
      const module = join(scratch, name);
      const failure = await compileModule(compiler.command, sources, [...FLAGS, ...own], module);
      if (failure !== null) return failure;
      const bytes = readFileSync(module);
      made.set(name, bytes);
      modules[name] = { flags: [...own], bytes: bytes.length, sha256: sha256(bytes) };
    }
    const record: WasmRecord = {
      compiler: compiler.version,
      libraries: await versionsOf(PACKAGES),
      flags: FLAGS,
      linkFlags: LINK_FLAGS,
      modules,
      sources: sourceHashes(sources),
    };
    mkdirSync(output, { recursive: true });
    for (const [name, bytes] of made) write(join(output, name), bytes);
    write(join(output, "kernels.json"), `${JSON.stringify(record, null, 2)}\n`);
    return null;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Compiles and links one module; what the compiler says where it fails, or null. */
async function compileModule(
  compiler: string,
  sources: string,
  flags: readonly string[],
  module: string,
): Promise<string | null> {
  const objects: string[] = [];
  const failures: string[] = [];
  const tasks = wasmSources(sources).map((name) => async () => {
    const object = `${module}-${name.replaceAll("/", "-")}.o`;
    objects.push(object);
    const result = await call(compiler, [...flags, `-I${sources}`, "-c", join(sources, name), "-o", object]);
    if (result.code !== 0) failures.push(`${name}:\n${result.output}`);
  });
  await inParallel(tasks);
  if (failures.length > 0) return failures.join("\n");
  // In a fixed order, so that the same sources give the same bytes.
  const linked = await call(compiler, [...objects.sort(), ...LINK_FLAGS, "-o", module]);
  return linked.code === 0 ? null : linked.output;
}

function write(file: string, content: string | Buffer): void {
  writeFileSync(`${file}.partial`, content);
  renameSync(`${file}.partial`, file);
}

type Found = { command: string; version: string; problem: null } | { problem: string };

async function findWasmCompiler(named: string | undefined): Promise<Found> {
  const program = "#include <atomic>\n#include <vector>\nint a;\n";
  let reason = "";
  for (const command of named ? [named] : COMPILERS) {
    const probe = await call(command, [...FLAGS, "-fsyntax-only", "-x", "c++", "-"], program);
    if (probe.code === 0) {
      const version = (await call(command, ["--version"])).output.split("\n")[0];
      return { command, version, problem: null };
    }
    reason ||= `${command}: ${probe.output.trim().split("\n")[0]}`;
  }
  return { problem: `no compiler for wasm32 (${reason}). Debian: ${TOOLCHAIN}` };
}

async function versionsOf(packages: readonly string[]): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: fields of dpkg-query
  const { code, output } = await call("dpkg-query", ["-W", "-f", "${Package} ${Version}\n", ...packages]);
  return code === 0 ? output.trim().split("\n") : [];
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const at = process.argv.indexOf("--output");
  const output = at < 0 ? join(packageRoot, "src", "compute", "wasm") : resolve(process.argv[at + 1] ?? "");
  const problem = await buildWasm({ output });
  if (problem === null) console.log(`${Object.keys(MODULES).join(", ")} and kernels.json are written to ${output}.`);
  else console.error(`The WebAssembly modules are not built: ${problem}`);
  process.exitCode = problem === null ? 0 : 1;
}
