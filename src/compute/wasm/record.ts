/** kernels.json: how the modules were made, and of which sources. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { sourceAndHeaders } from "../native/compile.ts";

export interface WasmRecord {
  /** First line of its --version. */
  compiler: string;
  /** Debian's packages of the libraries, where they are Debian's. */
  libraries: string[];
  flags: string[];
  linkFlags: string[];
  /** By name of their files. */
  modules: Record<string, ModuleRecord>;
  /** SHA-256 of every source and header below native/. */
  sources: Record<string, string>;
}

export interface ModuleRecord {
  /** Besides those of all modules. */
  flags: string[];
  bytes: number;
  sha256: string;
}

/** The modules by the names of their files, with what the compiler is told besides the flags of both. */
export const MODULES: Readonly<Record<string, readonly string[]>> = {
  "kernels.wasm": ['-DCRE_LEVEL="simd128"'],
  /** Multiplies and adds in one instruction, where the engine and the processor have it. */
  "kernels-relaxed.wasm": ["-mrelaxed-simd", '-DCRE_LEVEL="relaxed-simd"'],
};

/** Kernels that other levels need, the optimizer of pretraining, and files of the addon. */
const LEFT_OUT = /_bf16\.cpp$|^matmul\/muon\.cpp$|^binding\/|^runtime\/(checks|cpu|executor|threads)\.cpp$/;

/** The C++ files of the module, relative to `folder`. */
export function wasmSources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => name.replaceAll("\\", "/"))
    .filter((name) => name.endsWith(".cpp") && !LEFT_OUT.test(name))
    .sort();
}

export const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

/** Every file that the module is made of, with its hash. */
export function sourceHashes(folder: string): Record<string, string> {
  const names = new Set<string>();
  for (const name of wasmSources(folder)) sourceAndHeaders(folder, name, names);
  return Object.fromEntries([...names].sort().map((name) => [name, sha256(readFileSync(join(folder, name)))]));
}

/** What of a record does not agree with the modules, by the names of their files, and the sources; empty when all does. */
export function recordProblems(record: WasmRecord, modules: ReadonlyMap<string, Buffer>, folder: string): string[] {
  const hashes = sourceHashes(folder);
  const names = [...new Set([...Object.keys(hashes), ...Object.keys(record.sources)])].sort();
  const changed = names.filter((name) => hashes[name] !== record.sources[name]).map((name) => `native/${name} changed`);
  const others = [...modules].filter(([name, bytes]) => {
    const made = record.modules[name] as ModuleRecord | undefined;
    return sha256(bytes) !== made?.sha256 || bytes.length !== made.bytes;
  });
  return [...changed, ...others.map(([name]) => `${name} is not the file of kernels.json`)];
}
