/** The WebAssembly backend in browsers: threads where the page is cross-origin isolated, else the calling thread alone. */
import { messageOf, UserError } from "../../base/errors.ts";
import type { Backend } from "../backend.ts";
import { wasmBackend } from "./backend.ts";
import type { EngineThread, ThreadMessage, ThreadStart } from "./calls.ts";
import { openWasmEngine } from "./engine.ts";
import { withOwnMemory } from "./own-memory.ts";
import { hasRelaxedInstructions } from "./relaxed.ts";

export interface BrowserWasmOptions {
  /**
   * Workers of the kernels; by default one for each core, at most 8. Without shared memory there is none, and the calling thread
   * computes: open the backend in a worker of the page, so that the page stays usable.
   */
  threads?: number;
  /** The bytes of kernels.wasm; by default those of the fastest module that this browser runs are fetched from where this file is. */
  kernels?: Uint8Array<ArrayBuffer>;
  /** Most memory in pages of 64 KiB; by default 1 GiB, which a phone still gives. */
  mostPages?: number;
}

const MOST_THREADS = 8;
const DEFAULT_PAGES = 16_384;

/** An empty module with one vector instruction. */
const VECTOR_MODULE = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
);

/** Why the backend cannot be opened in this browser; null when it can. */
export function browserProblem(): string | null {
  if (typeof WebAssembly !== "object") return "this browser has no WebAssembly";
  if (!WebAssembly.validate(VECTOR_MODULE)) return "the WebAssembly of this browser has no vector instructions (SIMD)";
  return null;
}

/** How many workers the kernels get when nobody says it; 0: the calling thread computes. */
export function usualThreads(): number {
  if (typeof crossOriginIsolated === "undefined" || !crossOriginIsolated) return 0;
  const { hardwareConcurrency = 1 } = (globalThis as { navigator?: { hardwareConcurrency?: number } }).navigator ?? {};
  // From 5 on, two of them usually share a core.
  const cores = hardwareConcurrency > 4 ? Math.ceil(hardwareConcurrency / 2) : hardwareConcurrency;
  return Math.min(MOST_THREADS, Math.max(1, cores));
}

/** Opens the backend; throws a UserError where the browser cannot run it. */
export async function openBrowserWasm(options: BrowserWasmOptions = {}): Promise<Backend> {
  const problem = browserProblem();
  if (problem !== null) {
    throw new UserError(`The WebAssembly backend cannot be used: ${problem}.`, {
      hint: "Use a newer browser: Chrome 91, Firefox 89, Safari 16.4, or later.",
    });
  }
  const { threads = usualThreads(), mostPages = DEFAULT_PAGES } = options;
  const bytes = options.kernels ?? (await fetchKernels());
  const module = await WebAssembly.compile(threads === 0 ? withOwnMemory(bytes) : bytes);
  const sleeper = threads === 0 ? null : new Int32Array(new SharedArrayBuffer(4));
  const engine = openWasmEngine({
    module,
    threads,
    poison: false,
    mostPages,
    startThread,
    pause: () => sleeper && Atomics.wait(sleeper, 0, 0, 1),
  });
  const isRelaxed = options.kernels === undefined && hasRelaxedInstructions();
  return wasmBackend(engine, threads, { isRelaxed, backwardCopy: "never", mostPages });
}

async function fetchKernels(): Promise<Uint8Array<ArrayBuffer>> {
  // Two whole expressions, which bundlers find.
  const address = hasRelaxedInstructions()
    ? new URL("./kernels-relaxed.wasm", import.meta.url)
    : new URL("./kernels.wasm", import.meta.url);
  try {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw new UserError(`${address}: cannot be read (${messageOf(error)}), expected the kernels.`);
  }
}

function startThread(start: ThreadStart, onMessage: (message: ThreadMessage) => void): EngineThread {
  const worker = new Worker(new URL("./browser-worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => onMessage(data as ThreadMessage);
  worker.onerror = ({ message = "a worker could not be started" }) => onMessage({ failure: message });
  worker.postMessage(start);
  return { keepAlive() {}, end: async () => worker.terminate() };
}
