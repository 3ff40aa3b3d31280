import type { GraphEdge, GraphNode } from "./graph.ts";

/** Attributes of nodes and edges: id, of what, name, type. */
const KEYS = [
  ["name", "node", "string"],
  ["type", "node", "string"],
  ["names", "node", "string"],
  ["mentions", "node", "int"],
  ["relation", "edge", "string"],
  ["probability", "edge", "double"],
  ["places", "edge", "int"],
  ["document", "edge", "string"],
  ["sentence", "edge", "string"],
] as const;

export const GRAPHML_BEGIN = [
  '<?xml version="1.0" encoding="UTF-8"?>',
  '<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"',
  ' xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">',
  ...KEYS.map(([id, of, type]) => `<key id="${id}" for="${of}" attr.name="${id}" attr.type="${type}"/>`),
  '<graph edgedefault="directed">',
  "",
].join("\n");

export const GRAPHML_END = "</graph>\n</graphml>\n";

export function nodeElement({ id, name, type, names, mentions }: GraphNode): string {
  const data = { name, ...(type === null ? {} : { type }), names: names.join("|"), mentions };
  return `<node id="${nameToken(id)}">${dataOf(data)}</node>\n`;
}

export function edgeElement({ head, relation, tail, probability, places, evidence }: GraphEdge): string {
  const { document, sentence } = evidence.reduce((a, b) => (b.probability > a.probability ? b : a));
  const data = { relation, probability, places, document, sentence };
  return `<edge source="${nameToken(head)}" target="${nameToken(tail)}">${dataOf(data)}</edge>\n`;
}

function dataOf(values: Record<string, string | number>): string {
  return Object.entries(values)
    .map(([key, value]) => `<data key="${key}">${escaped(String(value))}</data>`)
    .join("");
}

/** The ids of GraphML are name tokens of XML: letters and digits; other characters as "_" and their code. Different ids stay different. */
function nameToken(id: string): string {
  return Array.from(id, (character) =>
    /[0-9A-Za-z\u4e00-\u9fff]/.test(character) ? character : `_${character.codePointAt(0)?.toString(16)}_`,
  ).join("");
}

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Text of XML 1.0; characters that it forbids become U+FFFD. */
function escaped(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd")
    .replace(/[&<>"]/g, (character) => ESCAPES[character]);
}
