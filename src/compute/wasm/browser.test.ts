import { posix } from "node:path";
import { describe, expect, it } from "vitest";
import { importsOf, readSource } from "../../../test/source-tree.ts";

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
