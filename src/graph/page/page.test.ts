import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { Mention } from "../../documents/mention.ts";
import type { GraphEdge } from "../graph.ts";
import { PAGE_LIMITS, pageCollector } from "./data.ts";
import { layout } from "./layout.ts";
import { pageHtml } from "./page.ts";
import { WORDS } from "./words.ts";

const HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>";
const FACTS = { run: "r", documents: 1, badDocuments: 0, minProbability: 0.5 };
const mention = (start: number, id: string): Mention => ({ start, end: start + 1, id, name: id, type: "公司" });
const edge = (head: string, tail: string, places: number): GraphEdge => ({
  ...{ head, relation: "合作", tail, probability: 0.9, places },
  evidence: [
    {
      ...{ document: "a", sentence: "😀甲与乙", sentenceStart: 10, probability: 0.9 },
      ...{ head: { text: "甲", start: 11, end: 12 }, tail: { text: "乙", start: 13, end: 14 } },
    },
  ],
});
const node = (id: string, mentions: number) => ({ id, name: id, type: "公司", names: [id], mentions });

function data(limits: typeof PAGE_LIMITS) {
  const collector = pageCollector(limits);
  for (const id of ["a", "b", "c"]) {
    collector.addDocument({ id, text: `甲与乙${HOSTILE}`, fields: {} }, [mention(0, "甲"), mention(2, "乙")]);
  }
  collector.addDocument({ id: "one", text: "甲", fields: {} }, [mention(0, "甲")]);
  const place = (start: number) => ({
    text: "甲",
    id: "甲",
    name: "甲",
    type: null,
    start,
    end: start + 1,
    startUtf16: start,
    endUtf16: start + 1,
  });
  const triple = { document: "c", sentence: "", sentenceStart: 0, relation: "合作", probability: 0.9, run: "r" };
  collector.addTriple({ ...triple, head: place(0), tail: place(2) });
  for (const [i, id] of ["丙", "甲", "乙"].entries()) collector.addNode(node(id, i + 1));
  collector.addEdge(edge("丙", "甲", 5));
  collector.addEdge(edge("甲", "乙", 1));
  collector.addEdge(edge("乙", "甲", 3));
  return collector.data(FACTS, { nodes: 3, edges: 3, triples: 9 });
}

describe("the data of a page", () => {
  it("has everything when it fits, and places in UTF-16 units of the sentence", () => {
    const { nodes, edges, texts } = data(PAGE_LIMITS);
    expect(nodes.map(({ id }) => id)).toEqual(["乙", "甲", "丙"]);
    expect(edges.map(({ head, tail, places }) => [nodes[head].id, nodes[tail].id, places])).toEqual([
      ["丙", "甲", 5],
      ["乙", "甲", 3],
      ["甲", "乙", 1],
    ]);
    expect(edges[0].evidence[0]).toMatchObject({ head: [2, 3], tail: [4, 5] });
    // The document of one entity has nothing to show.
    expect(texts.map(({ id, triples }) => [id, triples.length])).toEqual([
      ["a", 0],
      ["b", 0],
      ["c", 1],
    ]);
  });

  it("keeps the most mentioned entities, relations of most places, and documents with triples", () => {
    const { nodes, edges, texts, totals } = data({ ...PAGE_LIMITS, nodes: 2, edges: 1, texts: 2, textCharacters: 5 });
    expect(nodes.map(({ id }) => id)).toEqual(["乙", "甲"]);
    expect(edges.map(({ places }) => places)).toEqual([3]);
    expect(texts.map(({ id, isCut, text }) => [id, isCut, text.length])).toEqual([
      ["a", true, 5],
      ["c", true, 5],
    ]);
    expect(totals).toEqual({ nodes: 3, edges: 3, triples: 9 });
  });
});

describe("a page", () => {
  const page = pageHtml(data(PAGE_LIMITS));
  const [, program] = /<script>([\s\S]*?)<\/script>/.exec(page) ?? [];

  it("holds hostile text as data only", () => {
    expect(page.match(/<script/g)).toHaveLength(2);
    expect(page.match(/<\/script>/g)).toHaveLength(2);
    expect(page).not.toContain("<img");
    const json = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)?.[1] ?? "";
    expect(JSON.parse(json).texts[0].text).toBe(`甲与乙${HOSTILE}`);
    expect(program).not.toMatch(/innerHTML|insertAdjacentHTML|document\.write|eval\(/);
  });

  it("allows its own program and no request", () => {
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(page)?.[1] ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain(`script-src 'sha256-${createHash("sha256").update(program).digest("base64")}'`);
    expect(page.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:\/\//);
  });

  it("has every text in both languages", () => {
    expect(Object.keys(WORDS.en)).toEqual(Object.keys(WORDS.zh));
  });
});

describe("the layout", () => {
  it("gives every node a place of its own, linked ones nearer", () => {
    const places = layout(40, [[0, 39]], 1000);
    expect(places.every(Number.isFinite)).toBe(true);
    const distance = (a: number, b: number) =>
      Math.hypot(places[2 * a] - places[2 * b], places[2 * a + 1] - places[2 * b + 1]);
    const others = Array.from({ length: 38 }, (_, i) => distance(0, i + 1));
    expect(Math.min(...others)).toBeGreaterThan(10);
    expect(distance(0, 39)).toBeLessThan(others.reduce((a, b) => a + b) / others.length);
    expect(layout(0, [], 1000)).toHaveLength(0);
    expect(layout(1, [[0, 0]], 1000).every(Number.isFinite)).toBe(true);
  });
});
