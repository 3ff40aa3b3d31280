import { execFile } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { Parser } from "n3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { wrongSpans } from "../graph/cut-spans.ts";
import { type MixedFiles, writeMixedFiles } from "../graph/mixed-files.ts";
import { importProblems } from "../graph/neo4j-import.ts";
import { cre, temporaryFolder } from "./support.ts";

// 300 files of twelve kinds and a dictionary of 500 names become a graph; everything that is written is checked by something else.

const FILES = 300;
const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const temporary = temporaryFolder("mixed");
const file = (name: string) => join(temporary.path, name);
const read = (name: string) => readFileSync(file(name), "utf8");
let toys: ToyRuns;
let mixed: MixedFiles;
let stderr = "";

beforeAll(async () => {
  toys = await toyRuns();
  mixed = writeMixedFiles(file("documents"), file("names.csv"), FILES);
  const command = ["extract", toys.run, file("documents"), "--entities", file("names.csv"), "--output", file("graph")];
  const outcome = await cre([...command, "--to", "jsonl,csv,turtle,neo4j,graphml,html"], { env: { CRE_BACKEND: "" } });
  stderr = outcome.stderr;
  expect(outcome.code, stderr).toBe(0);
}, 240_000);
afterAll(() => temporary.remove());

describe("a graph of 300 mixed files", () => {
  it("is made of all documents", () => {
    const { documents, read: counts } = JSON.parse(read("graph/summary.json"));
    expect(counts).toMatchObject({ files: FILES, documents: mixed.texts.size, bad: 0, gb18030: FILES / 12 });
    expect(documents).toMatchObject({ documents: mixed.texts.size, badDocuments: 0 });
    expect(stderr).toContain("500 rows");
  });

  it("has every span where the mention is, in every kind of file", () => {
    const triples = read("graph/triples.jsonl");
    expect(wrongSpans(triples, mixed.texts)).toEqual([]);
    const rows = triples
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(rows.length).toBeGreaterThan(FILES);
    const kinds = new Set(rows.map(({ document }) => /-\d+((?:\.[a-z0-9]+)+)/.exec(document)?.[1]));
    expect([...kinds].sort()).toEqual([
      ".csv",
      ".docx",
      ".gb.txt",
      ".html",
      ".json",
      ".jsonl.gz",
      ".md",
      ".parquet",
      ".pdf",
      ".txt",
      ".txt.gz",
      ".utf16.txt",
    ]);
    const mentions = rows.flatMap(({ head, tail }) => [head, tail]);
    for (const beginning of ["𠮷野", "😀笑", "ＡＢ", "東風"]) {
      expect(
        mentions.some(({ text }) => text.startsWith(beginning)),
        beginning,
      ).toBe(true);
    }
    // The check finds a span that is wrong by one.
    const moved = JSON.stringify({ ...rows[0], head: { ...rows[0].head, start: rows[0].head.start + 1 } });
    expect(wrongSpans(moved, mixed.texts)).toHaveLength(1);
  });

  it("is read back by n3 with the same number of statements", () => {
    const quads = new Parser().parse(read("graph/graph.ttl"));
    expect(quads).toHaveLength(JSON.parse(read("graph/summary.json")).graph.rdfTriples);
  });

  it("keeps the rules of neo4j-admin's import", () => {
    const [nodes, relationships] = [read("graph/neo4j/nodes.csv"), read("graph/neo4j/relationships.csv")];
    expect(importProblems(nodes, relationships)).toEqual([]);
    expect(relationships.trim().split("\n")).toHaveLength(1 + read("graph/edges.jsonl").trim().split("\n").length);
    // The check finds what it is for.
    expect(importProblems(nodes.replace(":ID", ""), relationships)).toContain("nodes: expected one field of type ID");
    expect(importProblems(nodes, relationships.replace(":TYPE", ":KIND"))).toContain("relationships: KIND is no type");
    const [header, first] = nodes.split("\n");
    const unknown = importProblems(`${header}\n${first}\n`, relationships);
    expect(unknown.some((problem) => /START_ID .* is no node/.test(problem))).toBe(true);
  });

  it.skipIf(!CHROMIUM)(
    "shows its page without an error of the browser, wide and narrow",
    async () => {
      for (const width of [1280, 390]) {
        const picture = file(`page-${width}.png`);
        const { stdout, stderr: log } = await promisify(execFile)(
          CHROMIUM as string,
          [
            ...["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0"],
            ...[
              `--user-data-dir=${file(`profile-${width}`)}`,
              `--window-size=${width},900`,
              "--virtual-time-budget=5000",
            ],
            ...[`--screenshot=${picture}`, "--dump-dom", pathToFileURL(file("graph/index.html")).href],
          ],
          { maxBuffer: 64 * 2 ** 20, timeout: 60_000 },
        );
        expect(log.split("\n").filter((line) => line.includes(":CONSOLE"))).toEqual([]);
        // The program of the page has drawn nodes, texts and the list.
        expect(stdout).toContain("<svg");
        expect(stdout).toContain("第4");
        expect(statSync(picture).size).toBeGreaterThan(10_000);
      }
    },
    120_000,
  );
  if (!CHROMIUM) console.log("skipped: the page in a browser, because there is no Chromium");
});
