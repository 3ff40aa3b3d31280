import { readdirSync, readFileSync } from "node:fs";
import { posix, relative, resolve } from "node:path";

/** The root of the project. */
export const ROOT = resolve(import.meta.dirname, "..");

export interface Source {
  /** Path from the root of the project, with forward slashes. */
  file: string;
  text: string;
}

/** All files under a folder of the project, without installed packages. */
export const filesUnder = (folder: string): string[] =>
  readdirSync(resolve(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, resolve(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .filter((file) => !file.includes("/node_modules/"));

export const readSource = (file: string): Source => ({ file, text: readFileSync(resolve(ROOT, file), "utf8") });

export const isTest = (file: string) => /\.(test|contract)\.ts$/.test(file);

/** The folder of src that a file is in; "" for files directly in src and outside of it. */
export const folderOf = (file: string) => /^src\/([^/]+)\//.exec(file)?.[1] ?? "";

/** The modules that a file imports or re-exports, types and dynamic imports too. */
export function importsOf(text: string): string[] {
  const statement = /^\s*(?:import|export)\s+(?:[^"';]*?\s+from\s+)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']/gm;
  return Array.from(text.matchAll(statement), (match) => match[1] ?? match[2]);
}

/** Imports of project files by shipped files of src, as paths from the root. */
export function shippedImports(sources: readonly Source[]): { file: string; target: string }[] {
  const shipped = sources.filter(({ file }) => file.startsWith("src/") && !isTest(file));
  return shipped.flatMap(({ file, text }) =>
    importsOf(text)
      .filter((name) => name.startsWith("."))
      .map((name) => ({ file, target: posix.join(posix.dirname(file), name) })),
  );
}
