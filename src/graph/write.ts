import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { readLines, writeFileAtomic } from "../base/files.ts";
import type { Triple, TripleMention } from "../extract/triples.ts";
import { spreadsheetLine } from "./csv.ts";
import { type GraphEdge, type GraphNode, graphBuilder } from "./graph.ts";
import * as graphml from "./graphml.ts";
import * as neo4j from "./neo4j.ts";
import type { OutputFiles, OutputText } from "./output-files.ts";
import type { PageCollector, PageFacts } from "./page/data.ts";
import { pageHtml } from "./page/page.ts";

export const GRAPH_FORMATS = ["jsonl", "csv", "turtle", "neo4j", "graphml", "html"] as const;
export type GraphFormat = (typeof GRAPH_FORMATS)[number];

export const TRIPLES_FILE = "triples.jsonl";
const SUMMARY_FILE = "summary.json";
/** Holds the spill files of a sort. */
const WORK_FOLDER = ".sort.part";

/** Numbers of a graph: one triple for each place, one edge for each relation of two entities. */
export interface GraphCounts {
  triples: number;
  nodes: number;
  edges: number;
  /** Statements of the Turtle file; null when there is none. */
  rdfTriples: number | null;
}

export interface WriteOptions {
  formats: readonly GraphFormat[];
  /** Fingerprint of the run. */
  run: string;
  page: { collector: PageCollector; facts: PageFacts } | null;
  /** What else the summary holds. */
  summary: Record<string, unknown>;
  /** For tests: UTF-16 units that are sorted in memory. */
  memoryUnits?: number;
}

/** Receives a graph part by part. */
interface Writer {
  triple?(triple: Triple): void;
  node?(node: GraphNode): void;
  edge?(edge: GraphEdge): void;
  end?(): void;
  texts: OutputText[];
}

/**
 * Writes the graph of a file of triples into a folder: `nodes.jsonl` and `edges.jsonl`, the chosen formats, and `summary.json`. Memory is
 * bounded: what does not fit is sorted in spill files in the folder. Files of an earlier graph there that are not written again are removed.
 * `files` are those of the folder; they get their names here, and the caller discards them after an error.
 */
export async function writeGraph(
  triples: string,
  files: OutputFiles,
  folder: string,
  options: WriteOptions,
): Promise<GraphCounts> {
  const work = join(folder, WORK_FOLDER);
  const builder = graphBuilder(work, options.memoryUnits);
  const counts: GraphCounts = { triples: 0, nodes: 0, edges: 0, rdfTriples: null };
  try {
    const writers = await openWriters(files, options, counts);
    const flush = async () => {
      for (const { texts } of writers) for (const text of texts) await text.flush();
    };
    for await (const { text } of readLines(triples, { maxLineBytes: Number.POSITIVE_INFINITY })) {
      const triple = JSON.parse(text as string) as Triple;
      counts.triples++;
      await builder.add(triple);
      for (const writer of writers) writer.triple?.(triple);
      await flush();
    }
    for await (const node of builder.nodes()) {
      counts.nodes++;
      for (const writer of writers) writer.node?.(node);
      await flush();
    }
    for await (const edge of builder.edges()) {
      counts.edges++;
      for (const writer of writers) writer.edge?.(edge);
      await flush();
    }
    for (const writer of writers) writer.end?.();
    const earlier = await earlierFiles(folder);
    const names = await files.finish();
    for (const name of earlier) if (!names.includes(name)) await rm(join(folder, name), { force: true });
    const summary = { run: options.run, ...options.summary, graph: counts, files: [TRIPLES_FILE, ...names] };
    await writeFileAtomic(join(folder, SUMMARY_FILE), `${JSON.stringify(summary, null, 2)}\n`);
    return counts;
  } finally {
    await builder.close();
    await rm(work, { recursive: true, force: true });
  }
}

/** Removes what a killed call left in a folder: files without their names yet, spill files. */
export async function removeLeftovers(folder: string): Promise<void> {
  for (const name of OWN_FILES) await rm(join(folder, `${name}.part`), { force: true });
  await rm(join(folder, WORK_FOLDER), { recursive: true, force: true });
}

/** The files that an earlier call wrote, by its summary; only names that this program gives. */
async function earlierFiles(folder: string): Promise<string[]> {
  const file = join(folder, SUMMARY_FILE);
  if (!existsSync(file)) return [];
  try {
    const { files } = JSON.parse(await readFile(file, "utf8")) as { files?: unknown };
    return OWN_FILES.filter((name) => Array.isArray(files) && files.includes(name));
  } catch {
    return [];
  }
}

const OWN_FILES = [
  ...["nodes.jsonl", "edges.jsonl", "triples.csv", "graph.ttl", "graph.graphml", "index.html"],
  ...["neo4j/nodes.csv", "neo4j/relationships.csv", "bad-documents.jsonl"],
];

async function openWriters(files: OutputFiles, options: WriteOptions, counts: GraphCounts): Promise<Writer[]> {
  const writers = [jsonlWriter(await files.file("nodes.jsonl"), await files.file("edges.jsonl"))];
  for (const format of new Set(options.formats)) {
    if (format === "csv") writers.push(csvWriter(await files.file("triples.csv")));
    if (format === "turtle") writers.push(await turtle(await files.file("graph.ttl"), options.run, counts));
    if (format === "neo4j") {
      writers.push(neo4jWriter(await files.file("neo4j/nodes.csv"), await files.file("neo4j/relationships.csv")));
    }
    if (format === "graphml") writers.push(graphmlWriter(await files.file("graph.graphml")));
    if (format === "html" && options.page)
      writers.push(pageWriter(await files.file("index.html"), options.page, counts));
  }
  return writers;
}

function jsonlWriter(nodes: OutputText, edges: OutputText): Writer {
  return {
    node: (node) => nodes.write(`${JSON.stringify(node)}\n`),
    edge: (edge) => edges.write(`${JSON.stringify(edge)}\n`),
    texts: [nodes, edges],
  };
}

const BYTE_ORDER_MARK = "\ufeff";

function csvWriter(text: OutputText): Writer {
  const ofMention = (role: string) => [role, `${role}_id`, `${role}_type`, `${role}_start`, `${role}_end`];
  const header = ["document", ...ofMention("head"), "relation", ...ofMention("tail"), "probability", "sentence", "run"];
  // Excel reads a CSV as UTF-8 only with the mark.
  text.write(`${BYTE_ORDER_MARK}${header.join(",")}\n`);
  const cells = ({ text, id, type, start, end }: TripleMention) => [text, id, type, start, end];
  return {
    triple: ({ document, sentence, head, relation, tail, probability, run }) =>
      text.write(spreadsheetLine([document, ...cells(head), relation, ...cells(tail), probability, sentence, run])),
    texts: [text],
  };
}

async function turtle(text: OutputText, run: string, counts: GraphCounts): Promise<Writer> {
  const { turtleWriter } = await import("./turtle.ts");
  const writer = turtleWriter((part) => text.write(part), run);
  return {
    node: writer.node,
    edge: writer.edge,
    end() {
      counts.rdfTriples = writer.end();
    },
    texts: [text],
  };
}

function neo4jWriter(nodes: OutputText, edges: OutputText): Writer {
  nodes.write(neo4j.NODE_HEADER);
  edges.write(neo4j.EDGE_HEADER);
  return {
    node: (node) => nodes.write(neo4j.nodeLine(node)),
    edge: (edge) => edges.write(neo4j.edgeLine(edge)),
    texts: [nodes, edges],
  };
}

function graphmlWriter(text: OutputText): Writer {
  text.write(graphml.GRAPHML_BEGIN);
  return {
    node: (node) => text.write(graphml.nodeElement(node)),
    edge: (edge) => text.write(graphml.edgeElement(edge)),
    end: () => text.write(graphml.GRAPHML_END),
    texts: [text],
  };
}

function pageWriter(text: OutputText, page: NonNullable<WriteOptions["page"]>, counts: GraphCounts): Writer {
  const { collector, facts } = page;
  return {
    triple: collector.addTriple,
    node: collector.addNode,
    edge: collector.addEdge,
    end: () => text.write(pageHtml(collector.data(facts, counts))),
    texts: [text],
  };
}
