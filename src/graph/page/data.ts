import type { Document } from "../../documents/document.ts";
import type { Mention } from "../../documents/mention.ts";
import type { Triple } from "../../extract/triples.ts";
import type { GraphEdge, GraphNode } from "../graph.ts";

/** Numbers of the whole extraction, which the page may show only a part of. */
export interface PageFacts {
  run: string;
  documents: number;
  badDocuments: number;
  minProbability: number;
}

/** What the page shows, as JSON inside of it. */
export interface PageData extends PageFacts {
  totals: { nodes: number; edges: number; triples: number };
  nodes: { name: string; id: string; type: string | null; names: string[]; mentions: number }[];
  edges: PageEdge[];
  texts: PageText[];
}

export interface PageEdge {
  /** Numbers of nodes. */
  head: number;
  tail: number;
  relation: string;
  probability: number;
  places: number;
  /** The first places, head and tail as UTF-16 offsets into the sentence. */
  evidence: {
    document: string;
    sentence: string;
    head: [number, number];
    tail: [number, number];
    probability: number;
  }[];
}

export interface PageText {
  id: string;
  /** The beginning of the document. */
  text: string;
  isCut: boolean;
  /** [start, end) in UTF-16 units, type or null, name of the entity. */
  mentions: [number, number, string | null, string][];
  /** Head and tail as UTF-16 offsets. */
  triples: { head: [number, number]; tail: [number, number]; relation: string; probability: number }[];
}

/** Most of each that a page holds; more make it slow. */
export const PAGE_LIMITS = {
  nodes: 1500,
  edges: 2000,
  evidence: 5,
  texts: 200,
  characters: 300_000,
  textCharacters: 20_000,
};

/** Gathers what a page shows with bounded memory: first the documents, then triples, nodes and edges. */
export interface PageCollector {
  addDocument(document: Document, mentions: readonly Mention[]): void;
  addTriple(triple: Triple): void;
  addNode(node: GraphNode): void;
  addEdge(edge: GraphEdge): void;
  data(facts: PageFacts, totals: PageData["totals"]): PageData;
}

/** The most mentioned entities, the relations between them that were found at most places, and the first documents with triples. */
export function pageCollector(limits: typeof PAGE_LIMITS = PAGE_LIMITS): PageCollector {
  const texts = new Map<string, PageText>();
  let characters = 0;
  const nodes = topList<GraphNode>(limits.nodes, (a, b) => b.mentions - a.mentions);
  const edges = topList<GraphEdge>(limits.edges, (a, b) => b.places - a.places || b.probability - a.probability);
  let kept: Map<string, number> | null = null;
  const numbers = () => {
    kept ??= new Map(nodes.items().map(({ id }, i) => [id, i]));
    return kept;
  };
  return {
    addDocument({ id, text }, mentions) {
      // Twice the limits, because only the triples tell which documents have some.
      if (texts.size >= 2 * limits.texts || characters >= 2 * limits.characters) return;
      if (new Set(mentions.map((mention) => mention.id)).size < 2) return;
      const end = cutPlace(text, limits.textCharacters);
      const own = mentions.filter((mention) => mention.end <= end);
      texts.set(id, {
        ...{ id, text: text.slice(0, end), isCut: end < text.length, triples: [] },
        mentions: own.map(({ start, end, type, name }) => [start, end, type, name]),
      });
      characters += end;
    },
    addTriple({ document, head, tail, relation, probability }) {
      const text = texts.get(document);
      if (!text || Math.max(head.endUtf16, tail.endUtf16) > text.text.length) return;
      const span = ({ startUtf16, endUtf16 }: typeof head): [number, number] => [startUtf16, endUtf16];
      text.triples.push({ head: span(head), tail: span(tail), relation, probability });
    },
    addNode: nodes.add,
    addEdge(edge) {
      if (!numbers().has(edge.head) || !numbers().has(edge.tail)) return;
      edges.add({ ...edge, evidence: edge.evidence.slice(0, limits.evidence) });
    },
    data(facts, { nodes: nodeCount, edges: edgeCount, triples }) {
      const number = numbers();
      const shown = edges.items().map((edge): PageEdge => {
        const { head, tail, relation, probability, places, evidence } = edge;
        return {
          ...{ head: number.get(head) as number, tail: number.get(tail) as number, relation, probability, places },
          evidence: evidence.map((one) => ({
            ...{ document: one.document, sentence: one.sentence, probability: one.probability },
            ...{ head: spanInSentence(one, one.head), tail: spanInSentence(one, one.tail) },
          })),
        };
      });
      return {
        ...facts,
        totals: { nodes: nodeCount, edges: edgeCount, triples },
        nodes: nodes
          .items()
          .map(({ name, id, type, names, mentions }) => ({ name, id, type, names: names.slice(0, 10), mentions })),
        edges: shown,
        texts: chosenTexts([...texts.values()], limits),
      };
    },
  };
}

/** Documents with triples first; in the order of the input. */
function chosenTexts(texts: readonly PageText[], limits: typeof PAGE_LIMITS): PageText[] {
  const ranked = [
    ...texts.filter(({ triples }) => triples.length > 0),
    ...texts.filter(({ triples }) => triples.length === 0),
  ];
  let characters = 0;
  const chosen = new Set(
    ranked.slice(0, limits.texts).filter(({ text }) => {
      characters += text.length;
      return characters <= limits.characters;
    }),
  );
  return texts.filter((text) => chosen.has(text));
}

function spanInSentence(
  { sentence, sentenceStart }: GraphEdge["evidence"][number],
  { start, end }: { start: number; end: number },
): [number, number] {
  const characters = Array.from(sentence);
  const before = characters.slice(0, start - sentenceStart).join("").length;
  return [before, before + characters.slice(start - sentenceStart, end - sentenceStart).join("").length];
}

/** Not between the halves of a surrogate pair. */
function cutPlace(text: string, most: number): number {
  if (text.length <= most) return text.length;
  return /[\ud800-\udbff]/.test(text[most - 1]) ? most - 1 : most;
}

/** Keeps the first items of an order; of equal ones those that came first. */
function topList<T>(most: number, order: (a: T, b: T) => number) {
  let kept: T[] = [];
  const cut = () => {
    kept = kept.sort(order).slice(0, most);
  };
  return {
    add(item: T) {
      kept.push(item);
      if (kept.length >= 2 * most) cut();
    },
    items(): T[] {
      cut();
      return kept;
    },
  };
}
