import { Parser } from "n3";
import { describe, expect, it } from "vitest";
import { csvLine, spreadsheetLine } from "./csv.ts";
import type { GraphEdge, GraphNode } from "./graph.ts";
import { edgeElement, GRAPHML_BEGIN, GRAPHML_END, nodeElement } from "./graphml.ts";
import { EDGE_HEADER, edgeLine, NODE_HEADER, nodeLine } from "./neo4j.ts";
import { turtleWriter } from "./turtle.ts";

const HOSTILE = "甲\"';</data><x>\n\t=1+1 {}\\ \u0000 😀 \ud800 . ;";

const node = (id: string, type: string | null = "公司"): GraphNode => ({
  ...{ id, name: `名${id}`, type, names: [`名${id}`, "别名"], mentions: 2 },
});
const edge = (head: string, relation: string, tail: string): GraphEdge => {
  const place = (text: string, start: number) => ({ text, start, end: start + 1 });
  const evidence = [0.5, 1e-7].map((probability, i) => ({
    ...{ document: `${HOSTILE}${i}`, sentence: HOSTILE, sentenceStart: 3, probability },
    ...{ head: place("甲", 3), tail: place("乙", 5) },
  }));
  return { head, relation, tail, probability: 0.5, places: 2, evidence };
};

describe("Turtle", () => {
  it("is read back by n3 with the same number of triples", () => {
    const parts: string[] = [];
    const writer = turtleWriter((text) => parts.push(text), "run 1");
    const ids = ["甲", HOSTILE, "a b", "http://example.org/甲", "http://example.org/<x>", "x."];
    for (const id of ids) writer.node(node(id, id === "甲" ? null : HOSTILE));
    for (const id of ids) writer.edge(edge(id, HOSTILE, "乙"));
    const count = writer.end();
    const quads = new Parser({ format: "text/turtle" }).parse(parts.join(""));
    expect(quads).toHaveLength(count);
    const relations = quads.filter(({ predicate }) => predicate.value.startsWith("urn:cre:relation:"));
    expect(relations).toHaveLength(ids.length);
    expect(new Set(relations.map(({ subject }) => subject.value)).size).toBe(ids.length);
    expect(relations[0].subject.value).toBe("urn:cre:entity:甲");
    expect(relations[3].subject.value).toBe("http://example.org/甲");
    const sentences = quads.filter(({ predicate }) => predicate.value === "urn:cre:sentence");
    expect(sentences).toHaveLength(2 * ids.length);
    expect(sentences[0].object.value.replaceAll("\ufffd", "\ud800")).toBe(HOSTILE);
    const probabilities = quads.filter(({ predicate }) => predicate.value === "urn:cre:probability");
    expect(probabilities.map(({ object }) => object.value).slice(0, 3)).toEqual(["0.500000", "0.500000", "0.000000"]);
  });
});

describe("CSV", () => {
  it("quotes texts, and takes the sting out of formulas for spreadsheets", () => {
    expect(csvLine(['a"b', "c\nd", 1.5, null, "=1"])).toBe('"a""b","c\nd",1.5,,"=1"\n');
    expect(spreadsheetLine(["=1+1", "+1", "-1", "@a", "\t=1", "甲=1", -1])).toBe(
      `"'=1+1","'+1","'-1","'@a","'\t=1","甲=1",-1\n`,
    );
  });
});

/** Cells of one line of CSV without line breaks in cells. */
const cells = (line: string) =>
  Array.from(
    line.trimEnd().matchAll(/"((?:[^"]|"")*)"|([^,"]+)/g),
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain,
  );

describe("Neo4j", () => {
  it("has the header fields of neo4j-admin and one line for each row", () => {
    expect(NODE_HEADER).toBe("id:ID,name,names:string[],mentions:int,:LABEL\n");
    expect(EDGE_HEADER.startsWith(":START_ID,:END_ID,:TYPE,")).toBe(true);
    const line = nodeLine(node(HOSTILE, "公司;银行"));
    expect(line.match(/[\n\r]/g)).toHaveLength(1);
    const [id, , names, mentions, labels] = cells(line);
    expect(names).toHaveLength(`名${id};别名`.length);
    expect([mentions, labels]).toEqual(["2", "Entity;公司；银行"]);
    expect(cells(nodeLine(node("甲", null))).at(-1)).toBe("Entity");
    const relationship = edgeLine(edge(HOSTILE, "收购", "乙"));
    expect(relationship.match(/[\n\r]/g)).toHaveLength(1);
    // The ends of a relationship are the ids of the nodes.
    expect(cells(relationship).slice(0, 5)).toEqual([id, "乙", "收购", "0.5", "2"]);
    expect(cells(relationship)[5].split(";")).toHaveLength(2);
  });
});

describe("GraphML", () => {
  it("escapes texts and gives ids that are name tokens", () => {
    const text = GRAPHML_BEGIN + nodeElement(node(HOSTILE)) + edgeElement(edge(HOSTILE, "收购", "乙")) + GRAPHML_END;
    expect(text).not.toMatch(/<x>|\p{Surrogate}/u);
    expect(text).not.toContain("\u0000");
    const id = /<node id="([^"]*)"/.exec(text)?.[1] ?? "";
    expect(id).toMatch(/^[\w\u4e00-\u9fff.-]+$/);
    expect(text).toContain(`source="${id}" target="乙"`);
    // Different ids stay different.
    expect(nodeElement(node("a_b"))).not.toBe(nodeElement(node("a_5f_b")));
    for (const tag of ["graphml", "graph", "node", "edge", "data"]) {
      expect(text.match(new RegExp(`<${tag}[ >]`, "g"))?.length).toBe(text.match(new RegExp(`</${tag}>`, "g"))?.length);
    }
  });
});
