import { csvLine } from "./csv.ts";
import type { GraphEdge, GraphNode } from "./graph.ts";

// Files for `neo4j-admin database import full`. By default it allows no line breaks inside a value, and ";" separates the values of a list.

export const NODE_HEADER = csvLine(["id:ID", "name", "names:string[]", "mentions:int", ":LABEL"]).replaceAll('"', "");
export const EDGE_HEADER = csvLine([
  ":START_ID",
  ":END_ID",
  ":TYPE",
  "probability:float",
  "places:int",
  "documents:string[]",
  "sentence",
]).replaceAll('"', "");

/** Documents that an edge names. */
const MAX_DOCUMENTS = 100;

/** The label of every node, in front of the label of its type. */
const ENTITY = "Entity";

export function nodeLine({ id, name, names, mentions, type }: GraphNode): string {
  const labels = type === null || type === ENTITY ? [ENTITY] : [ENTITY, type];
  return csvLine([oneLine(id), oneLine(name), list(names), mentions, list(labels)]);
}

export function edgeLine({ head, relation, tail, probability, places, evidence }: GraphEdge): string {
  const documents = [...new Set(evidence.map(({ document }) => document))].slice(0, MAX_DOCUMENTS);
  const best = evidence.reduce((a, b) => (b.probability > a.probability ? b : a));
  return csvLine([
    ...[oneLine(head), oneLine(tail), oneLine(relation), probability, places],
    ...[list(documents), oneLine(best.sentence)],
  ]);
}

const list = (values: readonly string[]) => values.map((value) => oneLine(value).replaceAll(";", "；")).join(";");

/** Control characters, line breaks included, as blanks. */
const oneLine = (text: string) => text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ");
