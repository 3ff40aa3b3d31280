import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Parser } from "n3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRandom } from "../../src/base/random.ts";
import { readDocuments } from "../../src/documents/read/read-documents.ts";
import { type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { docxFile, gbkBytes, parquetFile, pdfFile, pdfPages } from "../document-files.ts";
import { type CreOptions, cre, temporaryFolder, toyRows } from "./support.ts";

// Documents in, a graph out: the built program on a folder of mixed files, also when it is killed.

const temporary = temporaryFolder("graph");
const file = (name: string) => join(temporary.path, name);
const FORMATS = "jsonl,csv,turtle,neo4j,graphml,html";
const BEST: CreOptions = { env: { CRE_BACKEND: "" } };
const KILLS = 10;
const DOCUMENTS = 1000;
let toys: ToyRuns;
let input = "";
let names = "";

const sentences = (count: number, seed: number) => toyRows(count, seed).map(({ sentence }) => `${sentence}。`);
const extract = (output: string, ...more: string[]) =>
  cre(["extract", toys.run, input, "--entities", names, "--output", file(output), ...more], BEST);

beforeAll(async () => {
  toys = await toyRuns();
  input = file("documents");
  mkdirSync(join(input, "sub"), { recursive: true });
  const put = (name: string, content: string | Buffer) => writeFileSync(join(input, name), content);
  put("a.txt", `😀𠮷${sentences(4, 1).join("")}`);
  put("b.html", `<html><body><p>${sentences(4, 2).join("</p><p>")}</p><script>远山与近水合作</script></body></html>`);
  put("c.docx", docxFile(sentences(4, 3)));
  put("d.pdf", pdfFile(pdfPages([sentences(3, 4)])));
  put(
    "e.csv",
    `id,text,org\n${sentences(6, 5)
      .map((text, i) => `${i},"${text}",新星`)
      .join("\n")}\n7,新星与远山合作。,新星\n`,
  );
  put("f.parquet", parquetFile(sentences(5, 6).map((text, i) => ({ id: i, text }))));
  put("g.txt", gbkBytes(sentences(4, 7).join("")));
  put(
    "sub/h.jsonl.gz",
    gzipSync(
      sentences(5, 8)
        .map((text) => JSON.stringify({ text, n: 1 }))
        .join("\n"),
    ),
  );
  put("sub/i.md", `# 標題\n\n${sentences(40, 9).join("\n\n").replaceAll("东风", "東風")}`);
  put("sub/bad.pdf", "%PDF-1.4 broken");
  for (let i = 0; i < 30; i++) put(`sub/z${String(i).padStart(2, "0")}.txt`, sentences(20, 100 + i).join("\n"));
  // Those above are 23, and 30.
  const rest = DOCUMENTS - 23 - 30;
  for (let i = 0; i < 100; i++) put(`sub/x${i}.html`, `<p>${sentences(1, 200 + i)[0]}</p>`);
  put(
    "sub/y.jsonl",
    sentences(rest - 100, 300)
      .map((text) => JSON.stringify({ text }))
      .join("\n"),
  );
  names = file("names.csv");
  const companies = ["远山", "近水", "东风", "西岭", "南湖", "北辰", "长河", "大江"];
  writeFileSync(
    names,
    `name,type,id,aliases\n${companies.map((name, i) => `${name}集团,公司,Q${i},${name}`).join("\n")}\n`,
  );
}, 240_000);
afterAll(() => temporary.remove());

/** Bytes of all files of a folder by name. */
function filesOf(folder: string): Record<string, string> {
  const entries = readdirSync(file(folder), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  // A process that was killed after its last file leaves its lock and its journal, which the next one takes away.
  const own = entries.filter(({ name }) => !name.endsWith(".lock") && name !== "triples.jsonl.part.json");
  const paths = own.map((entry) => join(entry.parentPath, entry.name)).sort();
  return Object.fromEntries(paths.map((path) => [path.slice(file(folder).length + 1), readFileSync(path, "latin1")]));
}
const rows = (name: string) =>
  readFileSync(file(name), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("cre extract --entities", () => {
  it("finds mentions at their exact places in every kind of file", async () => {
    const { code, stderr } = await extract("whole", "--to", FORMATS, "--entities", "column:org=公司");
    expect(code, stderr).toBe(0);
    expect(stderr).toContain("bad document, sub/bad.pdf: cannot be parsed");
    expect(stderr).toContain("g.txt");
    expect(stderr).toMatch(/\d+ triples: \d+ relations of \d+ entities/);
    const texts = new Map<string, string>();
    for await (const item of readDocuments([input])) if ("text" in item) texts.set(item.id, item.text);
    const triples = rows("whole/triples.jsonl");
    expect(triples.length).toBeGreaterThan(100);
    const endings = new Set<string>();
    for (const { document, head, tail } of triples) {
      endings.add(/\.[a-z]+(?:\.gz)?(?=#|$)/.exec(document)?.[0] ?? document);
      const characters = Array.from(texts.get(document) as string);
      for (const { text, start, end, startUtf16, endUtf16 } of [head, tail]) {
        expect(characters.slice(start, end).join("")).toBe(text);
        expect(texts.get(document)?.slice(startUtf16, endUtf16)).toBe(text);
      }
    }
    expect([...endings].sort()).toEqual([
      ".csv",
      ".docx",
      ".html",
      ".jsonl",
      ".jsonl.gz",
      ".md",
      ".parquet",
      ".pdf",
      ".txt",
    ]);
    const mentions = triples.flatMap(({ head, tail }) => [head, tail]);
    expect(mentions).toContainEqual(
      expect.objectContaining({ text: "東風", id: "Q2", name: "东风集团", type: "公司" }),
    );
    // Places of the emoji and the rare character count as one code point and two units.
    const first = mentions.find(({ startUtf16, start }) => startUtf16 - start === 2);
    expect(first).toBeDefined();
  });

  it("writes a Turtle file that n3 reads back whole, and one edge for a relation found at many places", async () => {
    const summary = JSON.parse(readFileSync(file("whole/summary.json"), "utf8"));
    const quads = new Parser().parse(readFileSync(file("whole/graph.ttl"), "utf8"));
    expect(quads).toHaveLength(summary.graph.rdfTriples);
    const relations = quads.filter(({ predicate }) => predicate.value.startsWith("urn:cre:relation:"));
    expect(relations).toHaveLength(rows("whole/edges.jsonl").length);
    expect(rows("whole/edges.jsonl").some(({ places }) => places > 3)).toBe(true);
    const lines = readFileSync(file("whole/neo4j/relationships.csv"), "utf8").trim().split("\n");
    expect(lines).toHaveLength(1 + relations.length);
    expect(readFileSync(file("whole/triples.csv"), "utf8").startsWith("\ufeffdocument,head,")).toBe(true);
  });

  it("asks less with types and a threshold", async () => {
    writeFileSync(
      file("types.json"),
      JSON.stringify({ 收购: [["人物", "公司"]], 合作: [["人物", "*"]], 持股: [["a", "b"]] }),
    );
    const cut = await extract("typed", "--types", file("types.json"), "--min-probability", "0.3");
    expect(cut.code, cut.stderr).toBe(0);
    expect(cut.stderr).toMatch(/0 pairs, \d+ pairs excluded by types/);
    const wrong = await extract("wrong", "--types", names);
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining("is not JSON") });
  });

  it(`of ${DOCUMENTS} documents, killed ${KILLS} times, ends with the same files`, async () => {
    await extract("undisturbed", "--to", FORMATS);
    expect(JSON.parse(readFileSync(file("undisturbed/summary.json"), "utf8")).documents.documents).toBe(DOCUMENTS);
    const expected = filesOf("undisturbed");
    const random = createRandom(7);
    const command = ["extract", toys.run, input, "--entities", names, "--output", file("killed"), "--to", FORMATS];
    let kills = 0;
    let output = "killed";
    for (let attempt = 0; attempt < 200; attempt++) {
      const afterMs = random.below(1200);
      const kill = { when: (stderr: string) => stderr.includes("dictionary:"), afterMs, signal: "SIGKILL" as const };
      const { code, signal, stderr } = await cre(command, { ...BEST, ...(kills < KILLS ? { kill } : {}) });
      if (signal === "SIGKILL") kills++;
      // Killed when the last file, triples.jsonl, was there already: done.
      const isDone = existsSync(file(`${output}/triples.jsonl`));
      if (signal === "SIGKILL" && !isDone) continue;
      if (signal !== "SIGKILL") expect(code, stderr).toBe(0);
      expect(filesOf(output)).toEqual(expected);
      if (kills >= KILLS) break;
      // It ended before all kills: begun anew.
      output = `killed-${attempt}`;
      command[command.indexOf("--output") + 1] = file(output);
    }
    expect(kills).toBe(KILLS);
  }, 300_000);

  it("stops for Ctrl-C with 130 and continues", async () => {
    const kill = { when: () => existsSync(file("stopped/triples.jsonl.part")), afterMs: 20, signal: "SIGINT" as const };
    const command = ["extract", toys.run, input, "--entities", names, "--output", file("stopped"), "--to", FORMATS];
    // The plain backend is slow enough to be stopped.
    const stopped = await cre(command, { kill });
    expect(stopped.code, stopped.stderr).toBe(130);
    expect(stopped.stderr).toContain("Repeat the same command to resume.");
  });

  it("tells what is missing", async () => {
    const folder = await cre(["extract", toys.run, input]);
    expect(folder).toMatchObject({ code: 1, stderr: expect.stringContaining("--entities names.csv") });
    const again = await extract("whole");
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("exists already") });
    const without = await cre(["extract", toys.run, input, "--entities", names]);
    expect(without).toMatchObject({ code: 1, stderr: expect.stringContaining("Documents need --output") });
    const format = await extract("x", "--to", "turtel");
    expect(format).toMatchObject({ code: 1, stderr: expect.stringContaining("did you mean turtle?") });
    const option = await cre(["extract", toys.run, file("rows.jsonl"), "--to", "csv"]);
    expect(option).toMatchObject({ code: 1, stderr: expect.stringContaining("--to: belongs to documents") });
    const piped = await cre(["extract", toys.run, "--entities", names, "--output", file("y")]);
    expect(piped).toMatchObject({ code: 1, stderr: expect.stringContaining("cannot come from standard input") });
  });
});
