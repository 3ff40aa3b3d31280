import { readFileSync } from "node:fs";
import { posix } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { importsOf, readSource } from "../../../test/source-tree.ts";
import { UserError } from "../../base/errors.ts";
import { browserProblem, openBrowserWasm, usualThreads } from "./browser.ts";
import { KERNELS_FILES } from "./open.ts";

// What a browser has to load for the backend: not open.ts and node-worker.js, which start Node's workers.

const ROOTS = [
  "src/compute/wasm/browser.ts",
  "src/compute/wasm/browser-worker.js",
  "src/compute/wasm/serve.js",
  "src/compute/engine/kernels.ts",
  "src/compute/shell.ts",
];

/** The modules of Node and of packages that a file loads, itself or through others, each with the file that names it. */
function foreignImports(file: string, seen = new Set<string>()): string[] {
  if (seen.has(file)) return [];
  seen.add(file);
  return importsOf(readSource(file).text).flatMap((name) =>
    name.startsWith(".") ? foreignImports(posix.join(posix.dirname(file), name), seen) : [`${file}: ${name}`],
  );
}

describe("the WebAssembly backend without Node", () => {
  it.each(ROOTS)("%s imports nothing of Node", (root) => {
    expect(foreignImports(root)).toEqual([]);
  });

  it("would show an import of Node", () => {
    expect(foreignImports("src/compute/wasm/open.ts")).toContain("src/compute/wasm/open.ts: node:worker_threads");
  });
});

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("the threads of a page", () => {
  it("are none where memory cannot be shared", () => {
    expect(usualThreads()).toBe(0);
    vi.stubGlobal("crossOriginIsolated", false);
    expect(usualThreads()).toBe(0);
  });

  it.each([
    [1, 1],
    [2, 2],
    [4, 4],
    [8, 4],
    [64, 8],
  ])("are those of %i logical processors: %i", (hardwareConcurrency, threads) => {
    vi.stubGlobal("crossOriginIsolated", true);
    vi.stubGlobal("navigator", { hardwareConcurrency });
    expect(usualThreads()).toBe(threads);
  });
});

describe("the backend of a page", () => {
  const kernels = new Uint8Array(readFileSync(KERNELS_FILES.at(-1) as string));

  it("computes on the calling thread", async () => {
    const backend = await openBrowserWasm({ kernels, mostPages: 512 });
    expect(backend.description).toBe("WebAssembly SIMD, 1 thread, float32");
    const x = backend.tensor(Float32Array.of(1, 2, 3, 4), 2, 2);
    expect([...(await backend.read(backend.add(x, x)))]).toEqual([2, 4, 6, 8]);
    await backend.close();
  });

  it("is refused by name without vector instructions, and without WebAssembly", async () => {
    expect(browserProblem()).toBeNull();
    vi.stubGlobal("WebAssembly", { ...WebAssembly, validate: () => false });
    expect(browserProblem()).toContain("no vector instructions (SIMD)");
    await expect(openBrowserWasm({ kernels })).rejects.toThrow(UserError);
    vi.stubGlobal("WebAssembly", undefined);
    expect(browserProblem()).toBe("this browser has no WebAssembly");
  });

  it("names kernels that do not come", async () => {
    vi.stubGlobal("fetch", async () => ({ ok: false, status: 404 }));
    await expect(openBrowserWasm()).rejects.toThrow(
      /kernels(-relaxed)?\.wasm: cannot be read \(status 404\), expected the kernels/,
    );
  });
});
