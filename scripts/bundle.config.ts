// Bundles the command line, after tsc has compiled it, into dist/parts: a command reads a few files instead of hundreds. dist/cli.js loads
// the bundle then. The files of the library stay as tsc wrote them. `npm run build` runs it.
import { readFileSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";

const DIST = resolve(import.meta.dirname, "..", "dist");
const PARTS = join(DIST, "parts");

const addresses: Plugin = {
  name: "addresses",
  /** Lets a module find what lies beside the file that tsc made of it, from the folder of the parts. */
  transform(code, id) {
    if (!id.startsWith(DIST) || !code.includes("import.meta.url")) return null;
    const file = JSON.stringify(relative(PARTS, id).replaceAll("\\", "/"));
    return { code: code.replaceAll("import.meta.url", `new URL(${file}, import.meta.url).href`), map: null };
  },
  closeBundle() {
    const cli = join(DIST, "cli.js");
    writeFileSync(cli, readFileSync(cli, "utf8").replaceAll("./cli/program.js", "./parts/program.js"));
  },
};

export default defineConfig({
  publicDir: false,
  clearScreen: false,
  logLevel: "warn",
  plugins: [addresses],
  ssr: { target: "node", noExternal: ["zod", "commander"] },
  build: {
    ssr: join(DIST, "cli", "program.js"),
    outDir: PARTS,
    emptyOutDir: true,
    target: "node20",
    minify: false,
    license: { fileName: "licenses.md" },
    // Beside each other, so that an address is right in all of them.
    rolldownOptions: { output: { chunkFileNames: "[name]-[hash].js" } },
  },
});
