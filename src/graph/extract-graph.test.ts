import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fakeExtractor } from "../../test/fake-extractor.ts";
import { openEntities, parseEntitySource } from "../documents/entities.ts";
import type { SlowMentionFinder } from "../documents/mention.ts";
import type { ReadItem } from "../documents/read/format.ts";
import { checkGraphOutput, extractGraph, type GraphOptions } from "./extract-graph.ts";
import { GRAPH_FORMATS } from "./write.ts";

const root = mkdtempSync(join(tmpdir(), "cre-graph-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const names = join(root, "names.csv");
writeFileSync(names, "name,type,id,aliases\n甲公司,公司,A,甲\n乙公司,公司,B,乙\n丙市,地点,,\n");

async function* documents(count = 12): AsyncGenerator<ReadItem> {
  for (let i = 0; i < count; i++) {
    if (i % 5 === 3) yield { bad: { id: `${i}.pdf`, reason: "cannot be parsed" } };
    else if (i % 5 === 4) yield { id: `${i}.txt`, text: "没有名字。", fields: {} };
    else yield { id: `${i}.txt`, text: `😀第${i}期。甲公司与乙在丙市合作。乙公司的甲来了。`, fields: {} };
  }
}

const OPTIONS: GraphOptions = {
  ...{ window: 1, maxPairs: 100, maxCharacters: 100, minProbability: 0, run: "r", windowItems: 4 },
  formats: GRAPH_FORMATS,
};

async function extract(
  folder: string,
  options: Partial<GraphOptions> = {},
  failAfterWindows?: number,
  source = documents(),
) {
  const entities = await openEntities([parseEntitySource(names)], "longest");
  return extractGraph(fakeExtractor({ failAfterWindows }), source, entities, folder, { ...OPTIONS, ...options });
}

/** Texts of all files of a folder by name. */
function filesOf(folder: string, below = ""): Record<string, string> {
  const entries = readdirSync(join(folder, below), { withFileTypes: true }).map((entry) => {
    const name = join(below, entry.name);
    return entry.isDirectory() ? filesOf(folder, name) : { [name]: readFileSync(join(folder, name), "utf8") };
  });
  return Object.assign({}, ...entries);
}

const rows = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("a graph of documents", () => {
  it("has triples whose places are those of the document, and one edge for many places", async () => {
    const folder = join(root, "whole");
    const { counts, graph } = await extract(folder);
    expect(counts).toMatchObject({
      documents: 10,
      badDocuments: 2,
      withoutPairs: 2,
      pairs: 32,
      badPairs: 0,
      resumed: 0,
    });
    const files = filesOf(folder);
    expect(Object.keys(files).sort()).toEqual([
      ...["bad-documents.jsonl", "edges.jsonl", "graph.graphml", "graph.ttl", "index.html", "neo4j/nodes.csv"],
      ...["neo4j/relationships.csv", "nodes.jsonl", "summary.json", "triples.csv", "triples.jsonl"],
    ]);
    const texts = new Map<string, string>();
    for await (const item of documents()) if ("text" in item) texts.set(item.id, item.text);
    const triples = rows(files["triples.jsonl"]);
    expect(triples).toHaveLength(counts.triples);
    for (const { document, sentence, sentenceStart, head, tail } of triples) {
      const text = texts.get(document) as string;
      const characters = Array.from(text);
      for (const { text: mention, start, end, startUtf16, endUtf16 } of [head, tail]) {
        expect(characters.slice(start, end).join("")).toBe(mention);
        expect(text.slice(startUtf16, endUtf16)).toBe(mention);
      }
      expect(characters.slice(sentenceStart).join("").startsWith(sentence)).toBe(true);
    }
    const edges = rows(files["edges.jsonl"]);
    expect(edges).toHaveLength(graph.edges);
    const keys = triples.map(({ head, relation, tail }) => JSON.stringify([head.id, relation, tail.id]));
    expect(new Set(keys).size).toBe(graph.edges);
    expect(edges.reduce((sum, { places }) => sum + places, 0)).toBe(triples.length);
    const most = triples.filter(
      (one) => one.head.id === edges[0].head && one.relation === edges[0].relation && one.tail.id === edges[0].tail,
    );
    expect(edges[0].probability).toBe(Math.max(...most.map(({ probability }) => probability)));
    expect(rows(files["nodes.jsonl"]).find(({ id }) => id === "A")).toMatchObject({
      name: "甲公司",
      names: ["甲公司", "甲"],
    });
    expect(rows(files["bad-documents.jsonl"])[0]).toEqual({ id: "3.pdf", reason: "cannot be parsed" });
    expect(JSON.parse(files["summary.json"])).toMatchObject({ documents: { documents: 10, badDocuments: 2 }, graph });
  });

  it("continues after any interruption and ends with identical files", async () => {
    await extract(join(root, "undisturbed"));
    const expected = filesOf(join(root, "undisturbed"));
    for (const windows of [0, 1, 2, 5, 9]) {
      const folder = join(root, `cut-${windows}`);
      await expect(extract(folder, {}, windows)).rejects.toThrow("power cut");
      expect(existsSync(join(folder, "triples.jsonl"))).toBe(false);
      expect(Object.keys(filesOf(folder)).sort()).toEqual(["triples.jsonl.part", "triples.jsonl.part.json"]);
      const { counts } = await extract(folder);
      if (windows > 1) expect(counts.resumed).toBeGreaterThan(0);
      expect(filesOf(folder)).toEqual(expected);
    }
  });

  it("does not find mentions again that an interrupted call found", async () => {
    const { finder } = await openEntities([parseEntitySource(names)], "longest");
    let calls = 0;
    const slow: SlowMentionFinder = {
      async find(document, sentences) {
        calls++;
        return finder.find(document, sentences);
      },
    };
    const options = { finder: slow, keepMentions: true };
    await extract(join(root, "slow-whole"), options);
    expect(calls).toBe(10);
    calls = 0;
    const folder = join(root, "slow-cut");
    await expect(extract(folder, options, 5)).rejects.toThrow("power cut");
    const before = calls;
    expect(Object.keys(filesOf(folder))).toContain("triples.jsonl.part.mentions");
    await extract(folder, options);
    expect(before).toBeGreaterThan(3);
    expect(calls).toBe(10);
    expect(filesOf(folder)).toEqual(filesOf(join(root, "slow-whole")));
  });

  it("refuses an unfinished output of another input or other options", async () => {
    const folder = join(root, "other");
    await expect(extract(folder, {}, 2)).rejects.toThrow("power cut");
    await expect(extract(folder, { window: 2 })).rejects.toThrow("is the unfinished output of another call");
    async function* changed(): AsyncGenerator<ReadItem> {
      yield { id: "0.txt", text: "甲公司与丙市。", fields: {} };
    }
    await expect(extract(folder, {}, undefined, changed())).rejects.toThrow("is the unfinished output of another call");
  });

  it("drops what is below the least probability and removes files of the graph before", async () => {
    const folder = join(root, "again");
    await extract(folder, { formats: ["turtle"] });
    expect(existsSync(join(folder, "graph.ttl"))).toBe(true);
    const { counts } = await extract(folder, { formats: ["csv"], minProbability: 0.03 });
    expect(counts.below).toBeGreaterThan(0);
    expect(Object.keys(filesOf(folder)).sort()).toEqual([
      ...["bad-documents.jsonl", "edges.jsonl", "nodes.jsonl", "summary.json", "triples.csv", "triples.jsonl"],
    ]);
    expect(
      rows(readFileSync(join(folder, "triples.jsonl"), "utf8")).every(({ probability }) => probability >= 0.03),
    ).toBe(true);
  });

  it("tells when no document can be read", async () => {
    async function* bad(): AsyncGenerator<ReadItem> {
      for (let i = 0; i < 5; i++) yield { bad: { id: `${i}.pdf`, reason: "broken" } };
    }
    const folder = join(root, "bad");
    await expect(extract(folder, {}, undefined, bad())).rejects.toThrow(
      /Not one of 5 documents can be read:\n.*0\.pdf: broken/,
    );
    expect(readdirSync(folder)).toEqual([]);
    await expect(extract(folder, {}, undefined, documents(0))).rejects.toThrow("The input has no document with text.");
  });

  it("stops at once when it is told to", async () => {
    const stop = new AbortController();
    const folder = join(root, "stopped");
    const options = { signal: stop.signal, onProgress: () => stop.abort(new Error("stop")) };
    await expect(extract(folder, options)).rejects.toThrow("stop");
    await extract(folder);
    expect(filesOf(folder)).toEqual(filesOf(join(root, "undisturbed")));
  });

  it("refuses an output that exists, or that would be read", async () => {
    const folder = join(root, "documents");
    mkdirSync(folder);
    await expect(checkGraphOutput(join(root, "whole"), ["x"], false)).rejects.toThrow("triples.jsonl: exists already");
    await checkGraphOutput(join(root, "whole"), ["x"], true);
    await expect(checkGraphOutput(join(folder, "graph"), [folder], false)).rejects.toThrow(`is inside of ${folder}`);
    await checkGraphOutput(join(root, "documents-graph"), [folder], false);
  });
});
