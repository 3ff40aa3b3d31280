import type { PageTriple } from "../extract/page-triple.ts";

/** An entity: all mentions with one id. */
export interface GraphNode {
  id: string;
  name: string;
  /** Edges that it is an end of. */
  degree: number;
}

/** All relations of a label from one entity to another one, with their evidence. */
export interface GraphEdge {
  key: string;
  /** Places in the list of nodes. */
  from: number;
  to: number;
  label: string;
  /** The greatest of its relations; 1 for one that a person gave. */
  probability: number;
  isRejected: boolean;
  triples: PageTriple[];
  /** Its place among the edges between the same two entities: 0 is straight, others bend to alternating sides. */
  bend: number;
}

export interface Graph {
  nodes: GraphNode[];
  edges: GraphEdge[];
  /** Entities beyond the limit, and the edges left out with them. */
  hidden: { nodes: number; edges: number };
}

/** What a person can look at, and what is laid out in seconds. */
export const MOST_NODES = 1500;
export const MOST_EDGES = 4000;

/** The graph of relations, in the order of the text. Of too many entities those with the most relations are kept. */
export function graphOf(triples: readonly PageTriple[]): Graph {
  const names = new Map<string, { name: string; degree: number }>();
  const edges = new Map<string, Omit<GraphEdge, "from" | "to" | "bend"> & { head: string; tail: string }>();
  for (const triple of triples) {
    const { head, tail, label, probability, isOfModel, verdict } = triple;
    const key = JSON.stringify([head.id, label, tail.id]);
    const own = isOfModel ? probability : 1;
    const edge = edges.get(key);
    if (edge) {
      edge.triples.push(triple);
      edge.probability = Math.max(edge.probability, own);
      edge.isRejected &&= verdict === "rejected";
      continue;
    }
    const isRejected = verdict === "rejected";
    edges.set(key, { key, label, probability: own, isRejected, triples: [triple], head: head.id, tail: tail.id });
    for (const { id, name } of new Map([head, tail].map((one) => [one.id, one])).values()) {
      const node = names.get(id);
      if (node) node.degree++;
      else names.set(id, { name, degree: 1 });
    }
  }
  const all = [...names].map(([id, node]) => ({ id, ...node }));
  const kept = new Set(
    all.length <= MOST_NODES ? all : all.toSorted((a, b) => b.degree - a.degree).slice(0, MOST_NODES),
  );
  const nodes = all.filter((node) => kept.has(node));
  const places = new Map(nodes.map(({ id }, i) => [id, i]));
  const between = new Map<string, number>();
  const drawn: GraphEdge[] = [];
  for (const { head, tail, ...edge } of edges.values()) {
    const [from, to] = [places.get(head), places.get(tail)];
    if (from === undefined || to === undefined || drawn.length === MOST_EDGES) continue;
    const pair = from < to ? `${from} ${to}` : `${to} ${from}`;
    const bend = between.get(pair) ?? 0;
    between.set(pair, bend + 1);
    drawn.push({ ...edge, from, to, bend });
  }
  return { nodes, edges: drawn, hidden: { nodes: all.length - nodes.length, edges: edges.size - drawn.length } };
}
