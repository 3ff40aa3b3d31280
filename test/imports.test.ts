import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { posix, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

// The import table of the design: what a folder of src may import besides itself and base. Whatever is not in it (cli, bench and the
// files directly in src) may import anything, and no folder of the table may import it.
const BELOW_RUNS: readonly string[] = [
  ...["compute", "formats", "tokenizers", "data", "linear", "documents", "prompts", "models", "adapters", "decode"],
  ...["recipe", "train", "pretrain", "extract", "evaluate", "graph"],
];

const TABLE: Record<string, readonly string[]> = {
  base: [],
  compute: [],
  formats: [],
  tokenizers: [],
  data: [],
  linear: ["data"],
  documents: ["data"],
  prompts: ["data", "tokenizers"],
  models: ["compute", "formats"],
  adapters: ["compute", "formats", "models"],
  decode: ["compute", "tokenizers", "models"],
  recipe: ["data", "prompts", "models", "adapters"],
  train: ["compute", "tokenizers", "data", "prompts", "models", "adapters", "recipe"],
  pretrain: ["compute", "tokenizers", "data", "models", "train", "recipe"],
  extract: ["tokenizers", "data", "documents", "linear", "prompts", "models", "adapters", "decode"],
  evaluate: ["data", "extract"],
  graph: ["data", "documents", "extract"],
  runs: BELOW_RUNS,
  export: [...BELOW_RUNS, "runs"],
  engines: [...BELOW_RUNS, "runs"],
  queue: [...BELOW_RUNS, "runs"],
  serve: [...BELOW_RUNS, "runs"],
};

const MAXIMUM_LINES = 400;
const BANNED_NAMES = /(?:^|[-_./])(samples?|instances?|utils?|helpers?|managers?|args?)(?=[-_./]|$)/i;

interface Source {
  /** Path from the root of the project, with forward slashes. */
  file: string;
  text: string;
}

const isTest = (file: string) => /\.(test|contract)\.ts$/.test(file);
const folderOf = (file: string) => /^src\/([^/]+)\//.exec(file)?.[1] ?? "";

/** The modules that a file imports or re-exports, types and dynamic imports too. */
function importsOf(text: string): string[] {
  const statement = /^\s*(?:import|export)\s+(?:[^"';]*?\s+from\s+)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']/gm;
  return Array.from(text.matchAll(statement), (match) => match[1] ?? match[2]);
}

/** The imports that leave a folder of src for another one, from files that are shipped. */
function crossings(sources: readonly Source[]): { file: string; from: string; to: string; target: string }[] {
  const shipped = sources.filter(({ file }) => file.startsWith("src/") && !isTest(file));
  return shipped.flatMap(({ file, text }) =>
    importsOf(text)
      .filter((name) => name.startsWith("."))
      .map((name) => posix.join(posix.dirname(file), name))
      .map((target) => ({ file, from: folderOf(file), to: folderOf(target), target })),
  );
}

function tableProblems(sources: readonly Source[]): string[] {
  const wrong: string[] = [];
  for (const { file, from, to, target } of crossings(sources)) {
    if (isTest(target) || !target.startsWith("src/"))
      wrong.push(`${file}: imports ${target}, expected a file that is shipped`);
    if (!(from in TABLE) || from === to) continue;
    const allowed = from === "base" ? [] : ["base", ...TABLE[from]];
    if (!allowed.includes(to)) {
      wrong.push(`${file}: imports ${target}, expected ${[from, ...allowed].join(", ")} (the import table)`);
    }
  }
  return wrong;
}

/** Circles of folders that import each other. */
function cycles(sources: readonly Source[]): string[] {
  const next = new Map<string, Set<string>>();
  for (const { from, to } of crossings(sources)) {
    if (from !== "" && to !== "" && from !== to) next.set(from, (next.get(from) ?? new Set()).add(to));
  }
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (folder: string, path: string[]): void => {
    if (path.includes(folder)) {
      found.push([...path.slice(path.indexOf(folder)), folder].join(" → "));
      return;
    }
    if (done.has(folder)) return;
    for (const other of next.get(folder) ?? []) visit(other, [...path, folder]);
    done.add(folder);
  };
  for (const folder of next.keys()) visit(folder, []);
  return found;
}

/** Packages that are imported without being declared; shipped files need them among `dependencies`. */
function packageProblems(sources: readonly Source[], dependencies: string[], devDependencies: string[]): string[] {
  const wrong: string[] = [];
  for (const { file, text } of sources) {
    const isShipped = file.startsWith("src/") && !isTest(file);
    const allowed = isShipped ? dependencies : [...dependencies, ...devDependencies];
    for (const name of importsOf(text)) {
      if (name.startsWith(".")) continue;
      if (name.startsWith("node:") && builtinModules.includes(name.slice(5))) continue;
      const packageName = name.split("/", name.startsWith("@") ? 2 : 1).join("/");
      if (!allowed.includes(packageName)) wrong.push(`${file}: imports ${name}, expected a declared dependency`);
    }
  }
  return wrong;
}

function sizeProblems(sources: readonly Source[]): string[] {
  const lines = ({ text }: Source) => text.replace(/\n$/, "").split("\n").length;
  return sources
    .filter((source) => lines(source) > MAXIMUM_LINES)
    .map((source) => `${source.file}: ${lines(source)} lines, expected at most ${MAXIMUM_LINES}`);
}

function nameProblems(files: readonly string[]): string[] {
  return files.flatMap((file) => {
    const word = BANNED_NAMES.exec(file)?.[1];
    return word === undefined ? [] : [`${file}: "${word}" says nothing, expected a word of the style guide`];
  });
}

const root = resolve(import.meta.dirname, "..");
const filesUnder = (folder: string) =>
  readdirSync(resolve(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, resolve(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .filter((file) => !file.includes("/node_modules/"));

const files = ["src", "test", "native"].flatMap(filesUnder);
const read = (file: string): Source => ({ file, text: readFileSync(resolve(root, file), "utf8") });
const typescript = files.filter((file) => file.endsWith(".ts")).map(read);
const declared: { name: string; dependencies: object; devDependencies: object } = JSON.parse(read("package.json").text);

describe("the source tree", () => {
  it("imports along the table", () => {
    expect(typescript.length).toBeGreaterThan(50);
    expect(tableProblems(typescript)).toEqual([]);
  });

  it("keeps the command line out of the library", () => {
    const users = crossings(typescript).filter(({ from, to }) => from !== "cli" && to === "cli");
    expect([...new Set(users.map(({ file }) => file))]).toEqual(["src/cli.ts"]);
  });

  it("has only folders that the design names", () => {
    const folders = new Set(typescript.map(({ file }) => folderOf(file)).filter((folder) => folder !== ""));
    expect([...folders].filter((folder) => !(folder in TABLE) && !["cli", "bench"].includes(folder))).toEqual([]);
  });

  it("has no folders in a circle", () => {
    expect(cycles(typescript)).toEqual([]);
  });

  it("imports only declared packages", () => {
    const { name, dependencies, devDependencies } = declared;
    // Programs in test/package import the package by its own name, from its tarball.
    const forTests = [...Object.keys(devDependencies), name];
    expect(packageProblems(typescript, Object.keys(dependencies), forTests)).toEqual([]);
  });

  it("has no long files", () => {
    const native = files.filter((file) => /^native\/.*\.(cpp|h)$/.test(file)).map(read);
    expect(sizeProblems([...typescript, ...native])).toEqual([]);
  });

  it("has no empty words in file names", () => {
    expect(nameProblems(files)).toEqual([]);
  });
});

describe("the checks themselves", () => {
  const source = (file: string, text: string): Source => ({ file, text });

  it("see every way to import", () => {
    const text = [
      `import "./a.ts";`,
      `import b from "./b.ts";`,
      `import type { C } from '../c.ts';`,
      `import {\n  d,\n  e,\n} from "./d.ts";`,
      `export { f } from "./f.ts";`,
      `export * from "./g.ts";`,
      `const h = await import("./h.ts");`,
      `const text = "from './no.ts'";`,
    ].join("\n");
    const names = ["./a.ts", "./b.ts", "../c.ts", "./d.ts", "./f.ts", "./g.ts", "./h.ts"];
    expect(importsOf(text)).toEqual(names);
  });

  it("report imports outside of the table", () => {
    const compute = source("src/compute/x.ts", `import { a } from "../models/a.ts";`);
    const base = source("src/base/x.ts", `import { a } from "../data/a.ts";`);
    const train = source("src/train/x.ts", `import { a } from "../cli.ts";\nimport "../models/y.contract.ts";`);
    const test = source("src/data/x.test.ts", `import { a } from "../models/a.ts";`);
    const fine = source("src/models/x.ts", `import { a } from "../compute/a.ts";\nimport { b } from "../base/b.ts";`);
    expect(tableProblems([compute, base, train, test, fine])).toEqual([
      "src/compute/x.ts: imports src/models/a.ts, expected compute, base (the import table)",
      "src/base/x.ts: imports src/data/a.ts, expected base (the import table)",
      expect.stringContaining("src/train/x.ts: imports src/cli.ts, expected train, base, compute"),
      "src/train/x.ts: imports src/models/y.contract.ts, expected a file that is shipped",
    ]);
  });

  it("report circles, packages, lengths and names", () => {
    const a = source("src/cli/a.ts", `import "../bench/b.ts";\nimport "left-pad";`);
    const b = source("src/bench/b.ts", `import "../cli/a.ts";\nimport "node:fs/promises";`);
    expect(cycles([a, b])).toEqual(["cli → bench → cli"]);
    expect(packageProblems([a, b], ["zod"], ["left-pad"])).toEqual([
      "src/cli/a.ts: imports left-pad, expected a declared dependency",
    ]);
    expect(sizeProblems([source("src/a.ts", "\n".repeat(400)), source("src/b.ts", "\n".repeat(401))])).toEqual([
      "src/b.ts: 401 lines, expected at most 400",
    ]);
    expect(
      nameProblems(["src/base/text-utils.ts", "src/sample/a.ts", "src/data/example.ts", "src/arguments.ts"]),
    ).toEqual([
      `src/base/text-utils.ts: "utils" says nothing, expected a word of the style guide`,
      `src/sample/a.ts: "sample" says nothing, expected a word of the style guide`,
    ]);
  });
});
