import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import {
  anchorsOf,
  type Block,
  blocksOf,
  brokenLinks,
  commandsOf,
  creWords,
  documents,
  inlineCommands,
  isShell,
  messagePattern,
} from "./documents.ts";
import { buildCli, cre } from "./e2e/support.ts";
import { filesUnder, isTest, ROOT, readSource } from "./source-tree.ts";

const MAX_README_WORDS = 1100;
/** Commands that read and print, so that a document's example can be run here. */
const RUNNABLE = ["data stats", "data convert", "recipe show", "model info", "tokenize", "score"];
/** Written by src/export/card.ts: its commands need the corpus, but a model card has no marks. */
const GENERATED = ["models/base-zh/README.md"];

const all = documents();
const exists = (path: string) => existsSync(resolve(ROOT, path));
const readText = (path: string) => readSource(path).text;
const placedCommands = all.flatMap(({ file, text }) => [
  ...blocksOf(text)
    .filter(isShell)
    .flatMap((block) => commandsOf(block.text).map((words) => ({ where: `${file}:${block.line}`, words }))),
  ...inlineCommands(text).map((words) => ({ where: file, words })),
]);

/** The names that a command's help lists: its subcommands and options. */
interface Names {
  commands: string[];
  options: string[];
}

/** Of every command of the built program, by its path: "data stats". */
let names: ReadonlyMap<string, Names> = new Map();

function readNames(): ReadonlyMap<string, Names> {
  const output = execFileSync(process.execPath, [resolve(ROOT, "test/all-help.mjs")], { encoding: "utf8" });
  const namesIn = (help: string): Names => ({
    commands: Array.from(help.matchAll(/(?<=^Commands:\n[\s\S]*)^ {2}(\S+)/gm), (match) => match[1]),
    options: Array.from(help.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm), (match) => match[1]),
  });
  const helps: Record<string, string> = JSON.parse(output);
  return new Map(Object.entries(helps).map(([path, help]) => [path, namesIn(help)]));
}

const namesOf = (path: readonly string[]): Names => names.get(path.join(" ")) ?? { commands: [], options: [] };

/** What is wrong with the form of a `cre` command: an unknown command, option, recipe or folder; alternatives are written `stats|convert`. */
function formProblems(words: readonly string[]): string[] {
  const path: string[] = [];
  let rest = [...words];
  for (let { commands } = namesOf([]); commands.length > 0; { commands } = namesOf(path)) {
    const [name = "", ...more] = rest;
    if (name.startsWith("-") || name === "") break;
    const [unknown] = name.split("|").filter((one) => !commands.includes(one));
    if (unknown !== undefined) return [`cre ${[...path, unknown].join(" ")}: no such command`];
    path.push(name.split("|")[0]);
    rest = more;
  }
  const { options } = namesOf(path);
  const end = rest.indexOf("--");
  return (end === -1 ? rest : rest.slice(0, end)).flatMap((word) => {
    const option = /^\[?(--[\w-]+)/.exec(word)?.[1];
    if (option !== undefined) return options.includes(option) ? [] : [`cre ${path.join(" ")}: no option ${option}`];
    return /^(recipes|models|demo)\//.test(word) && !exists(word) ? [`${word} does not exist`] : [];
  });
}

const scripts: Record<string, string> = JSON.parse(readText("package.json")).scripts;

/** What is wrong with the form of an `npm` or `node` command. */
function otherProblems([program, name = "", script = ""]: readonly string[]): string[] {
  if (program === "node") return exists(name) || name === "dist/cli.js" ? [] : [`node ${name}: no such file`];
  if (program !== "npm" || ["ci", "test"].includes(name)) return [];
  return name === "run" && script in scripts ? [] : [`npm ${name} ${script}: no such script`];
}

beforeAll(async () => {
  await buildCli();
  names = readNames();
}, 120_000);

describe("the documents", () => {
  it("name commands, options, scripts and files that exist", () => {
    expect(placedCommands.length).toBeGreaterThan(30);
    const problems = placedCommands.flatMap(({ where, words }) => {
      const given = creWords(words);
      return (given ? formProblems(given) : otherProblems(words)).map((problem) => `${where}: ${problem}`);
    });
    expect(problems).toEqual([]);
  });

  it("have a mark above every block with commands that cannot be run here", () => {
    const isRunnable = (words: readonly string[]) =>
      RUNNABLE.some((name) => creWords(words)?.join(" ").startsWith(name));
    const unmarked = (block: Block) =>
      isShell(block) && !/^(needs|test:form-only)/.test(block.mark) && block.text.trim() !== "";
    const wrong = all
      .filter(({ file }) => !GENERATED.includes(file))
      .flatMap(({ file, text }) =>
        blocksOf(text)
          .filter(unmarked)
          .map((block) => ({ file, block })),
      )
      .flatMap(({ file, block }) =>
        commandsOf(block.text)
          .filter((words) => !isRunnable(words))
          .map((words) => `${file}:${block.line}: ${words.join(" ")}`),
      );
    expect(wrong, "<!-- needs: … --> or <!-- test:form-only … --> in the line above, see CONTRIBUTING.md").toEqual([]);
  });

  it("have examples that work", async () => {
    const blocks = all.flatMap(({ file, text }) => blocksOf(text).map((block) => ({ file, block })));
    for (const { file, block } of blocks.filter(({ block }) => isShell(block) && block.mark === "")) {
      for (const words of commandsOf(block.text)) {
        const given = creWords(words);
        if (given === null || GENERATED.includes(file)) continue;
        const { code, stderr } = await cre(given, { input: "甲公司收购乙公司。\n" });
        expect(code, `${file}:${block.line}: cre ${given.join(" ")}\n${stderr}`).toBe(0);
      }
    }
  });

  it("link to files and headings that exist", () => {
    expect(all.flatMap((source) => brokenLinks(source, exists, readText))).toEqual([]);
  });

  it("quote messages as the program writes them", () => {
    const sources = ["src", "native"]
      .flatMap(filesUnder)
      .filter((file) => !isTest(file))
      .map(readText);
    const quoted = blocksOf(readText("docs/troubleshooting.md")).filter(({ language }) => language === "text");
    expect(quoted.length).toBeGreaterThan(20);
    const missing = quoted.filter(({ text }) => !sources.some((source) => messagePattern(text).test(source)));
    expect(missing.map(({ line, text }) => `docs/troubleshooting.md:${line}: ${text}`)).toEqual([]);
  });
});

describe("the README", () => {
  const english = readText("README.md");
  const chinese = readText("README.zh-CN.md");

  it(`has at most ${MAX_README_WORDS} words, tables and examples included`, () => {
    expect(english.split(/\s+/).filter(Boolean).length).toBeLessThanOrEqual(MAX_README_WORDS);
  });

  it("says the same in both languages: commands, examples, numbers, links", () => {
    const commands = (text: string) =>
      blocksOf(text).map((block) => (isShell(block) ? commandsOf(block.text) : block.text));
    const headings = (text: string) => anchorsOf(text).length;
    const links = (text: string) => Array.from(text.matchAll(/\]\(([^)]+)\)/g), (match) => match[1]).sort();
    const numbersOf = (text: string) => {
      const rows = text.split("\n").filter((line) => line.startsWith("|"));
      return rows.map((row) => row.match(/\d+(\.\d+)?/g));
    };
    expect(commands(chinese)).toEqual(commands(english));
    expect(headings(chinese)).toBe(headings(english));
    expect(numbersOf(chinese)).toEqual(numbersOf(english));
    const other = (text: string) => links(text).filter((link) => !/^README/.test(link));
    expect(other(chinese)).toEqual(other(english));
  });

  it("takes its results from the tables of docs/measurements.md", () => {
    const rows = english.split("\n").filter((line) => /^\| (`(finre|sanwen)-)/.test(line));
    const measured = readText("docs/measurements.md").split("\n");
    expect(rows.length).toBeGreaterThan(3);
    for (const row of rows) {
      const [, name, , paper, micro, time] = row.split("|").map((cell) => cell.trim());
      const cells =
        measured
          .find((line) => line.startsWith(`| ${name} |`))
          ?.split("|")
          .map((cell) => cell.trim()) ?? [];
      expect([cells[3]?.split(" ")[0], cells[4]?.split(" ")[0], cells[6]], name).toEqual([paper, micro, time]);
    }
  });
});

describe("the checks themselves", () => {
  it("read blocks, marks and commands", () => {
    const text =
      "a\n<!-- needs: data -->\n```sh\nA=1 npx cre train R \\\n  --data D   # why\nnpm ci && cre x  words\n```\n`npx cre y\n--z`";
    const [block] = blocksOf(text);
    expect(block).toMatchObject({ line: 3, language: "sh", mark: "needs: data" });
    expect(commandsOf(block.text)).toEqual([
      ["cre", "train", "R", "--data", "D"],
      ["npm", "ci"],
      ["cre", "x"],
    ]);
    expect(inlineCommands(text)).toEqual([["cre", "y", "--z"]]);
    expect(creWords(["node", "dist/cli.js", "train"])).toEqual(["train"]);
    expect(creWords(["node", "bench/a.mjs"])).toBeNull();
  });

  it("find commands, options, files, scripts and links that do not exist", () => {
    expect(formProblems(["trian"])).toEqual(["cre trian: no such command"]);
    expect(formProblems(["data", "stats|wrong"])).toEqual(["cre data wrong: no such command"]);
    expect(formProblems(["train", "recipes/no.yaml", "--dta", "D"])).toEqual([
      "recipes/no.yaml does not exist",
      "cre train: no option --dta",
    ]);
    expect(formProblems(["data", "stats", "demo", "--json"])).toEqual([]);
    expect([otherProblems(["npm", "run", "no"]), otherProblems(["node", "no.mjs"])].flat()).toEqual([
      "npm run no: no such script",
      "node no.mjs: no such file",
    ]);
    expect(anchorsOf("# A `b`: c!\n## 中文 标题")).toEqual(["a-b-c", "中文-标题"]);
    const source = { file: "docs/a.md", text: "# A\n[x](b.md) [y](#a) [z](#no) [w](https://a.b)\n[r]: no.md" };
    expect(
      brokenLinks(
        source,
        (path) => path !== "docs/no.md",
        () => source.text,
      ),
    ).toEqual([
      "docs/a.md: #no leads to a heading that docs/a.md does not have",
      "docs/a.md: no.md leads to docs/no.md, which does not exist",
    ]);
    expect(messagePattern("The … became … (a).").test("The loss became NaN (a).")).toBe(true);
    expect(messagePattern("The … became").test("The b. become")).toBe(false);
  });
});
