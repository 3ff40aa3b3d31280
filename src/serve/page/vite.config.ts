// Builds the page of `cre serve` into the package: dist/serve/page. `npm run build` runs it.
import { join, resolve } from "node:path";
import { defineConfig } from "vite";

const PAGE = import.meta.dirname;
const ROOT = resolve(PAGE, "..", "..", "..");

export default defineConfig({
  root: PAGE,
  // Relative addresses: the page works behind a proxy that serves it under a path.
  base: "./",
  publicDir: false,
  clearScreen: false,
  logLevel: "warn",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: join(ROOT, "dist", "serve", "page"),
    emptyOutDir: true,
    assetsDir: "page",
    assetsInlineLimit: 0,
    modulePreload: false,
    target: "es2022",
    license: { fileName: "page/licenses.md" },
  },
});
