import type { Triple, TripleMention } from "../extract/triples.ts";
import { externalSorter, type Sorter } from "./external-sort.ts";

/** An entity of a graph. */
export interface GraphNode {
  id: string;
  name: string;
  type: string | null;
  /** The texts of its mentions, in the order of their first place; at most {@link MAX_NAMES}. */
  names: string[];
  /** Triples that it is the head or the tail of. */
  mentions: number;
}

/** One place where a relation was found. Offsets are code points into the document. */
export interface Evidence {
  document: string;
  sentence: string;
  /** Code points of the document before the sentence. */
  sentenceStart: number;
  head: Place;
  tail: Place;
  probability: number;
}

interface Place {
  text: string;
  start: number;
  end: number;
}

/** A relation between two entities, found at one or more places. */
export interface GraphEdge {
  head: string;
  relation: string;
  tail: string;
  /** The greatest of its places. */
  probability: number;
  /** The number of places. */
  places: number;
  /** The first {@link MAX_EVIDENCE} places, in the order of the input. */
  evidence: Evidence[];
}

export const MAX_NAMES = 100;
export const MAX_EVIDENCE = 1000;

interface NodeRecord {
  name: string;
  type: string | null;
  text: string;
}

/** The graph of triples: nodes in the order of their ids, edges in the order of head, relation and tail. Memory is bounded. */
export interface GraphBuilder {
  add(triple: Triple): Promise<void>;
  nodes(): AsyncGenerator<GraphNode, void, void>;
  edges(): AsyncGenerator<GraphEdge, void, void>;
  close(): Promise<void>;
}

/** Groups triples by entity and by relation; what does not fit into memory is spilled into `folder`. */
export function graphBuilder(folder: string, memoryUnits?: number): GraphBuilder {
  const nodes: Sorter<NodeRecord> = externalSorter(folder, "nodes", memoryUnits);
  const edges: Sorter<Evidence> = externalSorter(folder, "edges", memoryUnits);
  return {
    async add({ document, sentence, sentenceStart, head, relation, tail, probability }) {
      for (const { id, name, type, text } of [head, tail]) await nodes.add(id, { name, type, text });
      const key = JSON.stringify([head.id, relation, tail.id]);
      const place = { document, sentence, sentenceStart, head: placeOf(head), tail: placeOf(tail), probability };
      await edges.add(key, place);
    },
    async *nodes() {
      let node = null as GraphNode | null;
      for await (const { key, value } of nodes.sorted()) {
        if (node?.id !== key) {
          if (node) yield node;
          node = { id: key, name: value.name, type: value.type, names: [], mentions: 0 };
        }
        node.mentions++;
        node.type ??= value.type;
        if (node.names.length < MAX_NAMES && !node.names.includes(value.text)) node.names.push(value.text);
      }
      if (node) yield node;
    },
    async *edges() {
      let last: string | null = null;
      let edge = null as GraphEdge | null;
      for await (const { key, value } of edges.sorted()) {
        if (key !== last) {
          if (edge) yield edge;
          const [head, relation, tail] = JSON.parse(key) as [string, string, string];
          edge = { head, relation, tail, probability: 0, places: 0, evidence: [] };
          last = key;
        }
        const now = edge as GraphEdge;
        now.places++;
        now.probability = Math.max(now.probability, value.probability);
        if (now.evidence.length < MAX_EVIDENCE) now.evidence.push(value);
      }
      if (edge) yield edge;
    },
    async close() {
      await nodes.close();
      await edges.close();
    },
  };
}

const placeOf = ({ text, start, end }: TripleMention): Place => ({ text, start, end });
