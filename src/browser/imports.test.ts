import { posix } from "node:path";
import { describe, expect, it } from "vitest";
import { importsOf, readSource } from "../../test/source-tree.ts";

// What a page loads of this program must run without Node.

const PACKAGES = ["yaml", "zod"];

const withoutTypes = (text: string) => text.replace(/^(?:import|export) type [^;]*;/gm, "");

/** The files that a file loads, itself or through others; imports of packages and of Node are added to `foreign`. */
function loadedFiles(file: string, foreign: string[], seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const name of importsOf(withoutTypes(readSource(file).text))) {
    if (name.startsWith(".")) loadedFiles(posix.join(posix.dirname(file), name), foreign, seen);
    else if (!PACKAGES.includes(name)) foreign.push(`${file}: ${name}`);
  }
  return seen;
}

/** Lines that use what only Node has; a line of a comment counts for none. */
function nodeGlobals(file: string): string[] {
  const lines = readSource(file).text.split("\n");
  return lines.flatMap((line, i) =>
    /^\s*(?:\/?\*|\/\/)/.test(line) || !/\bBuffer\.|(?<!globalThis\.)\bprocess\./.test(line)
      ? []
      : [`${file}:${i + 1}`],
  );
}

describe("cre-llm/browser", () => {
  const foreign: string[] = [];
  const files = [...loadedFiles("src/browser/index.ts", foreign)];

  it("loads nothing of Node, and no package but those of schemas and recipes", () => {
    expect(foreign).toEqual([]);
    expect(files).toContain("src/models/decoder.ts");
    expect(files).toContain("src/compute/wasm/calls.ts");
  });

  it("uses no global of Node", () => {
    // CRE_BACKWARD_COPY is read by a function that browsers do not call.
    expect(files.flatMap(nodeGlobals).map((place) => place.split(":")[0])).toEqual(["src/compute/engine/packing.ts"]);
  });

  it("would show an import of Node", () => {
    const found: string[] = [];
    loadedFiles("src/base/node-folder.ts", found);
    expect(found).toContain("src/base/node-folder.ts: node:fs");
  });
});
