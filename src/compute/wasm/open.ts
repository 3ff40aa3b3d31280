import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { messageOf, UserError } from "../../base/errors.ts";
import type { Backend } from "../backend.ts";
import { type BackwardCopy, chooseBackwardCopy } from "../engine/packing.ts";
import { profiled } from "../engine/profile.ts";
import { keepEngine } from "../peak.ts";
import { chooseThreads } from "../threads.ts";
import { wasmBackend } from "./backend.ts";
import { type EngineThread, MOST_PAGES, PAGE_BYTES, type ThreadMessage, type ThreadStart } from "./calls.ts";
import { openWasmEngine } from "./engine.ts";
import { withOwnMemory } from "./own-memory.ts";
import { hasRelaxedInstructions } from "./relaxed.ts";

export interface WasmOptions {
  /** By default the environment's CRE_THREADS, else the number of physical cores. */
  threads?: number;
  /** Computes on the calling thread, as a page that cannot share memory does. */
  isAlone?: boolean;
  /** Fills every output with NaN before its kernel runs; by default CRE_POISON=1. */
  poison?: boolean;
  /** Times every kind of operation (profileOf of profile.ts); by default CRE_PROFILE=1. */
  profile?: boolean;
  backwardCopy?: BackwardCopy;
  /** Of 64 KiB, at most 65,535, which is the default. */
  mostPages?: number;
  /** By default the package's own. */
  file?: string;
}

/** What 32-bit addresses reach, whatever the machine has. */
export const WASM_BYTES = MOST_PAGES * PAGE_BYTES;

/** The modules, the faster one first where this engine can run it. */
export const KERNELS_FILES: readonly string[] = [
  ...(hasRelaxedInstructions() ? ["kernels-relaxed.wasm"] : []),
  "kernels.wasm",
].map((name) => fileURLToPath(new URL(name, import.meta.url)));
const [KERNELS_FILE] = KERNELS_FILES;
const WORKER_FILE = new URL("./node-worker.js", import.meta.url);

let compiled: { file: string; module: WebAssembly.Module } | null = null;

function moduleOf(file: string): WebAssembly.Module {
  if (compiled?.file !== file) compiled = { file, module: new WebAssembly.Module(readFileSync(file)) };
  return compiled.module;
}

/** Why the WebAssembly backend cannot be opened here; null when it can. */
export function wasmProblem(file = KERNELS_FILE): string | null {
  try {
    moduleOf(file);
    return null;
  } catch (error) {
    return `${file} cannot be loaded (${messageOf(error)})`;
  }
}

/** Opens the WebAssembly backend; throws a UserError when the module cannot be loaded. */
export function openWasm(options: WasmOptions = {}): Backend {
  const file = options.file ?? KERNELS_FILE;
  const problem = wasmProblem(file);
  if (problem !== null) throw new UserError(`The WebAssembly backend cannot be used: ${problem}.`);
  const threads = options.isAlone ? 0 : chooseThreads(options.threads);
  const backwardCopy = chooseBackwardCopy(options.backwardCopy);
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  const engine = openWasmEngine({
    module: options.isAlone ? new WebAssembly.Module(withOwnMemory(readFileSync(file))) : moduleOf(file),
    threads,
    poison: options.poison ?? process.env.CRE_POISON === "1",
    mostPages: options.mostPages,
    startThread,
    pause: () => Atomics.wait(sleeper, 0, 0, 1),
  });
  const backend = wasmBackend(engine, threads, {
    isRelaxed: isRelaxed(file),
    backwardCopy,
    mostPages: options.mostPages,
  });
  const opened = (options.profile ?? process.env.CRE_PROFILE === "1") ? profiled(backend, engine) : backend;
  keepEngine(opened, engine);
  return opened;
}

const isRelaxed = (file: string) => file.endsWith("-relaxed.wasm");

function startThread(start: ThreadStart, onMessage: (message: ThreadMessage) => void): EngineThread {
  const worker = new Worker(WORKER_FILE, { workerData: start, execArgv: [], env: {} });
  worker.on("message", onMessage);
  worker.on("error", (error) => onMessage({ failure: messageOf(error) }));
  return {
    keepAlive: (wanted) => (wanted ? worker.ref() : worker.unref()),
    end: () => worker.terminate(),
  };
}
