import { describe, expect, it } from "vitest";
import type { PageTriple } from "../extract/page-triple.ts";
import { graphOf, MOST_NODES } from "./graph-model.ts";
import { createLabelPlaces } from "./label-places.ts";
import { createLayout } from "./layout.ts";
import { curveOf, distanceTo, hitAt } from "./shapes.ts";
import { boxOf, fitted, moved, planeOf, zoomed } from "./viewport.ts";

const mention = (id: string) => ({ text: id, id, name: id, type: null, start: 0, end: 1, startUtf16: 0, endUtf16: 1 });

function triple(head: string, label: string, tail: string, probability = 0.5): PageTriple {
  const own = { head: mention(head), tail: mention(tail), relation: label, label, probability, run: "f" };
  const place = { document: "t", sentence: "s", sentenceStart: 0, headSpan: [0, 1], tailSpan: [0, 1] };
  const key = `${head}${label}${tail}${probability}`;
  return { ...own, ...place, key, pair: "", verdict: null, isOfModel: true } as PageTriple;
}

/** Edges of a graph with hubs, as news have. */
const many = (count: number) =>
  Array.from({ length: count }, (_, i) =>
    triple(`实体${i % 40}`, `关系${i % 7}`, `实体${40 + ((i * 7) % 600)}`, i / count),
  );

describe("the graph", () => {
  it("has an edge for each label between two entities, with its evidence", () => {
    const { nodes, edges } = graphOf([
      triple("甲", "收购", "乙", 0.6),
      triple("甲", "收购", "乙", 0.9),
      triple("甲", "合作", "乙"),
      triple("乙", "持股", "甲"),
      triple("甲", "合作", "甲"),
    ]);
    expect(nodes).toEqual([
      { id: "甲", name: "甲", degree: 4 },
      { id: "乙", name: "乙", degree: 3 },
    ]);
    expect(edges.map(({ label, from, to, probability, bend }) => [label, from, to, probability, bend])).toEqual([
      ["收购", 0, 1, 0.9, 0],
      ["合作", 0, 1, 0.5, 1],
      ["持股", 1, 0, 0.5, 2],
      ["合作", 0, 0, 0.5, 0],
    ]);
    expect(edges[0].triples).toHaveLength(2);
  });

  it("leaves out the entities with the fewest relations where there are too many, and counts them", () => {
    const star = Array.from({ length: MOST_NODES + 9 }, (_, i) => triple("中心", "合作", `叶${i}`));
    const { nodes, edges, hidden } = graphOf(star);
    expect([nodes.length, edges.length, hidden]).toEqual([MOST_NODES, MOST_NODES - 1, { nodes: 10, edges: 10 }]);
    expect(nodes[0].name).toBe("中心");
  });
});

describe("the layout", () => {
  const STEPS_OF_LAYOUT = 252;
  const laid = (count: number) => {
    const { nodes, edges } = graphOf(many(count));
    const links = edges.map(({ from, to }) => [from, to] as const);
    const layout = createLayout(nodes.length, links);
    let steps = 0;
    while (layout.step()) steps++;
    expect(steps).toBe(STEPS_OF_LAYOUT);
    return { nodes, links, layout };
  };

  it("is the same for the same graph", () => {
    expect(laid(100).layout.x).toEqual(laid(100).layout.x);
  });

  it("keeps nodes apart and links short, for 1,000 edges", () => {
    const { nodes, links, layout } = laid(1000);
    expect([...layout.x, ...layout.y].every(Number.isFinite)).toBe(true);
    const lengths = links.map(([a, b]) => Math.hypot(layout.x[a] - layout.x[b], layout.y[a] - layout.y[b]));
    const mean = lengths.reduce((sum, one) => sum + one, 0) / lengths.length;
    const { left, right } = boxOf(layout.x, layout.y);
    expect(mean).toBeLessThan((right - left) / 2);
    let close = 0;
    for (let i = 0; i < nodes.length; i++) {
      for (let j = i + 1; j < nodes.length; j++) {
        if (Math.hypot(layout.x[i] - layout.x[j], layout.y[i] - layout.y[j]) < 4) close++;
      }
    }
    expect(close).toBeLessThan(5);
  });

  it("is as wide as it is asked to be", () => {
    const shape = (wide: number) => {
      const { nodes, edges } = graphOf(many(60));
      const layout = createLayout(
        nodes.length,
        edges.map(({ from, to }) => [from, to] as const),
        { wide },
      );
      while (layout.step()) {}
      const { left, right, top, bottom } = boxOf(layout.x, layout.y);
      return (right - left) / (bottom - top);
    };
    expect(shape(1.8) / shape(1)).toBeCloseTo(1.8, 6);
    expect(shape(0.65) / shape(1)).toBeCloseTo(0.65, 6);
  });

  it("stops within a step, and has the same places in the end", () => {
    const { nodes, links, layout } = laid(200);
    const cut = createLayout(nodes.length, links);
    // The time is over at every look at the clock.
    let calls = 0;
    while (cut.step(0)) calls++;
    expect(calls).toBeGreaterThan(1000);
    expect(cut.x).toEqual(layout.x);
    expect(cut.y).toEqual(layout.y);
  });

  it("computes a step of 200 and of 1,000 entities", () => {
    for (const count of [200, 1000]) {
      const links = Array.from({ length: 2 * count }, (_, i): [number, number] => [
        i % (count / 20),
        (7 * i + 3) % count,
      ]);
      const layout = createLayout(count, links);
      const steps = Array.from({ length: 15 }, () => {
        const before = process.cpuUsage();
        expect(layout.step()).toBe(true);
        const { user, system } = process.cpuUsage(before);
        return (user + system) / 1000;
      }).sort((a, b) => a - b);
      const median = steps[steps.length >> 1];
      console.info(
        `${count} entities, ${links.length} relations: a step takes ${median.toFixed(1)} ms of processor time, ` +
          `the layout of ${STEPS_OF_LAYOUT} steps ${((STEPS_OF_LAYOUT * median) / 1000).toFixed(1)} s`,
      );
    }
  }, 60_000);

  it("leaves what is known in its place", () => {
    const layout = createLayout(2, [[0, 1]], { start: (i) => ({ x: 100 * i, y: 7 }) });
    expect(layout.step()).toBe(false);
    expect(Array.from(layout.x)).toEqual([0, 100]);
  });
});

describe("labels", () => {
  const box = (x: number, y: number, width = 40, height = 14) => ({ x, y, width, height });

  it("take the first free place within the drawing, and leave what has none", () => {
    const places = createLabelPlaces(200, 100);
    places.take(box(0, 0, 100, 50));
    expect(places.takeFirst([box(60, 20), box(-1, 60), box(170, 60), box(100, 20)])).toEqual(box(100, 20));
    // Side by side they touch, and do not cover each other.
    expect(places.takeFirst([box(139, 20), box(140, 20)])).toEqual(box(140, 20));
    expect(places.takeFirst([box(10, 10), box(120, 30), box(180, 90)])).toBeNull();
  });

  it("never cover one another", () => {
    const places = createLabelPlaces(500, 300);
    const taken = Array.from({ length: 400 }, (_, i) => places.takeFirst([box((i * 37) % 470, (i * 53) % 290)])).filter(
      (one) => one !== null,
    );
    expect(taken.length).toBeGreaterThan(50);
    for (const [i, a] of taken.entries()) {
      for (const b of taken.slice(i + 1)) {
        expect(Math.abs(a.x - b.x) >= 40 || Math.abs(a.y - b.y) >= 14, JSON.stringify([a, b])).toBe(true);
      }
    }
  });
});

describe("the view", () => {
  it("zooms around a point, moves, and shows all", () => {
    const view = { scale: 1, x: 10, y: 20 };
    const before = planeOf(view, 200, 100);
    const next = zoomed(view, 2, 200, 100);
    expect(planeOf(next, 200, 100)).toEqual(before);
    expect(zoomed(view, 1e9, 0, 0).scale).toBe(4);
    expect(moved(view, 5, -5)).toEqual({ scale: 1, x: 15, y: 15 });
    const all = fitted({ left: -500, top: -100, right: 500, bottom: 100 }, 600, 400);
    expect(planeOf(all, 300, 200)).toEqual({ x: 0, y: 0 });
    expect(1000 * all.scale).toBeLessThanOrEqual(600);
    expect(fitted(boxOf([], []), 600, 400).scale).toBeGreaterThan(0);
  });

  it("finds nodes before edges, and edges of two directions apart", () => {
    const graph = graphOf([triple("甲", "收购", "乙"), triple("乙", "持股", "甲")]);
    const layout = { x: Float64Array.of(0, 200), y: Float64Array.of(0, 0) };
    expect(hitAt(graph, layout, { x: 2, y: 2 }, 8)).toEqual({ node: 0 });
    expect(hitAt(graph, layout, { x: 60, y: 2 }, 8)).toEqual({ edge: 0 });
    const { middleX, middleY } = curveOf(graph.edges[1], graph.nodes, layout);
    expect(Math.abs(middleY)).toBeGreaterThan(20);
    expect(hitAt(graph, layout, { x: middleX, y: middleY }, 8)).toEqual({ edge: 1 });
    expect(hitAt(graph, layout, { x: 100, y: 200 }, 8)).toBeNull();
    const loop = graphOf([triple("甲", "合作", "甲")]);
    const curve = curveOf(loop.edges[0], loop.nodes, layout);
    expect(distanceTo(curve, curve.middleX, curve.middleY)).toBeLessThan(4);
  });
});
