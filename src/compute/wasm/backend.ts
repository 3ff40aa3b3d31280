import type { Backend } from "../backend.ts";
import type { Engine } from "../engine/engine.ts";
import { engineKernels } from "../engine/kernels.ts";
import type { BackwardCopy } from "../engine/packing.ts";
import { createBackend } from "../shell.ts";
import { MOST_PAGES, PAGE_BYTES } from "./calls.ts";

interface WasmSettings {
  /** Whether the module has relaxed instructions (relaxed.ts). */
  isRelaxed: boolean;
  backwardCopy: BackwardCopy;
  mostPages?: number;
}

/** The backend of an open engine; 0 threads compute on the calling one. */
export function wasmBackend(
  engine: Engine,
  threads: number,
  { isRelaxed, backwardCopy, mostPages = MOST_PAGES }: WasmSettings,
): Backend {
  const vectors = isRelaxed ? "relaxed SIMD" : "SIMD";
  const kernels = engineKernels(engine, {
    name: "wasm",
    precision: "float32",
    description: `WebAssembly ${vectors}, ${threads <= 1 ? "1 thread" : `${threads} threads`}, float32`,
    arithmetic: `wasm${isRelaxed ? ", relaxed" : ""}, float32`,
    backwardCopy,
    // Second packed copies take at most a quarter of the memory.
    mostCopiedBytes: (mostPages * PAGE_BYTES) / 4,
  });
  return createBackend(kernels);
}
