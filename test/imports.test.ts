import { builtinModules } from "node:module";
import { describe, expect, it } from "vitest";
import { FAMILY_NAMES } from "../src/models/families/registry.ts";
import { filesUnder, folderOf, importsOf, isTest, readSource, type Source, shippedImports } from "./source-tree.ts";

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
  // Answers are read by the reader that extraction uses.
  evaluate: ["data", "prompts", "extract"],
  graph: ["data", "documents", "extract"],
  runs: BELOW_RUNS,
  crossval: [...BELOW_RUNS, "runs"],
  ensemble: [...BELOW_RUNS, "runs", "crossval"],
  export: [...BELOW_RUNS, "runs"],
  engines: [...BELOW_RUNS, "runs", "export"],
  endpoint: [...BELOW_RUNS, "runs"],
  // Of the endpoint only its client: a teacher is no run.
  teaching: ["data", "documents", "endpoint"],
  queue: [...BELOW_RUNS, "runs"],
  serve: [...BELOW_RUNS, "runs"],
  browser: [...BELOW_RUNS, "runs"],
};

const MAXIMUM_LINES = 400;
const BANNED_NAMES = /(?:^|[-_./])(samples?|instances?|utils?|helpers?|managers?|args?)(?=[-_./]|$)/i;

/** The imports that leave a folder of src for another one, from files that are shipped. */
function crossings(sources: readonly Source[]): { file: string; from: string; to: string; target: string }[] {
  return shippedImports(sources).map(({ file, target }) => ({
    file,
    from: folderOf(file),
    to: folderOf(target),
    target,
  }));
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

/** Circles among things that import each other. */
function circles(imports: readonly { from: string; to: string }[]): string[] {
  const next = new Map<string, Set<string>>();
  for (const { from, to } of imports) {
    if (from !== to) next.set(from, (next.get(from) ?? new Set()).add(to));
  }
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (one: string, path: string[]): void => {
    if (path.includes(one)) {
      found.push([...path.slice(path.indexOf(one)), one].join(" → "));
      return;
    }
    if (done.has(one)) return;
    for (const other of next.get(one) ?? []) visit(other, [...path, one]);
    done.add(one);
  };
  for (const one of next.keys()) visit(one, []);
  return found;
}

const folderCircles = (sources: readonly Source[]) =>
  circles(crossings(sources).filter(({ from, to }) => from !== "" && to !== ""));

/** Circles of files. Imports of types count too: a reader has to understand such files together. */
const fileCircles = (sources: readonly Source[]) =>
  circles(crossings(sources).map(({ file, target }) => ({ from: file, to: target })));

/** Comparisons with the name of a model family outside the families' own files: the difference belongs into the family's value. */
function familyProblems(sources: readonly Source[], names: readonly string[]): string[] {
  const comparison = new RegExp(`(?:[!=]==? *|\\bcase +)["'\`](?:${names.join("|")})["'\`]`);
  return sources
    .filter(({ file, text }) => /^src\/(?!models\/families\/)/.test(file) && !isTest(file) && comparison.test(text))
    .map(({ file, text }) => `${file}: has ${comparison.exec(text)?.[0]}, expected a value of the family`);
}

/** Packages that are imported without being declared; shipped files need them among `dependencies`. */
function packageProblems(sources: readonly Source[], dependencies: string[], devDependencies: string[]): string[] {
  const wrong: string[] = [];
  for (const { file, text } of sources) {
    // The page of the server is bundled: what it imports is in the package.
    const isShipped = file.startsWith("src/") && !file.startsWith("src/serve/page/") && !isTest(file);
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

const files = ["src", "test", "native"].flatMap(filesUnder);
const typescript = files.filter((file) => /\.tsx?$/.test(file)).map(readSource);
const declared: { name: string; dependencies: object; devDependencies: object } = JSON.parse(
  readSource("package.json").text,
);

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
    expect(folderCircles(typescript)).toEqual([]);
  });

  it("has no files in a circle", () => {
    expect(fileCircles(typescript)).toEqual([]);
  });

  it("compares no family names outside models/families", () => {
    expect(familyProblems(typescript, FAMILY_NAMES)).toEqual([]);
  });

  it("imports only declared packages", () => {
    const { name, dependencies, devDependencies } = declared;
    // Programs in test/package import the package by its own name, from its tarball.
    const forTests = [...Object.keys(devDependencies), name];
    expect(packageProblems(typescript, Object.keys(dependencies), forTests)).toEqual([]);
  });

  it("has no long files", () => {
    const native = files.filter((file) => /^native\/.*\.(cpp|h)$/.test(file)).map(readSource);
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

  it("report a family's name in a comparison", () => {
    const compared = [`type === "qwen3"`, `type !== 'qwen3'`, `case "qwen3":`];
    for (const text of compared) expect(familyProblems([source("src/prompts/x.ts", text)], ["qwen3"])).toHaveLength(1);
    expect(familyProblems([source("src/models/families/x.ts", compared[0])], ["qwen3"])).toEqual([]);
    expect(familyProblems([source("src/bench/x.ts", `family: "qwen3"`)], ["qwen3"])).toEqual([]);
  });

  it("report circles, packages, lengths and names", () => {
    const a = source("src/cli/a.ts", `import "../bench/b.ts";\nimport "left-pad";`);
    const b = source("src/bench/b.ts", `import "../cli/a.ts";\nimport "node:fs/promises";`);
    expect(folderCircles([a, b])).toEqual(["cli → bench → cli"]);
    const c = source("src/cli/c.ts", `import type { D } from "./d.ts";`);
    const d = source("src/cli/d.ts", `import { c } from "./c.ts";`);
    expect(folderCircles([c, d])).toEqual([]);
    expect(fileCircles([c, d])).toEqual(["src/cli/c.ts → src/cli/d.ts → src/cli/c.ts"]);
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
