/** kernels.json: how kernels.wasm was made, and of which sources. */
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
  bytes: number;
  sha256: string;
  /** SHA-256 of every source and header below native/. */
  sources: Record<string, string>;
}

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

/** What of a record does not agree with the module and the sources; empty when all does. */
export function recordProblems(record: WasmRecord, module: Buffer, folder: string): string[] {
  const hashes = sourceHashes(folder);
  const names = [...new Set([...Object.keys(hashes), ...Object.keys(record.sources)])].sort();
  const changed = names.filter((name) => hashes[name] !== record.sources[name]).map((name) => `native/${name} changed`);
  const isOther = sha256(module) !== record.sha256 || module.length !== record.bytes;
  return [...changed, ...(isOther ? ["kernels.wasm is not the file of kernels.json"] : [])];
}
