/// <reference lib="dom" />
import type { PageData, PageEdge } from "./data.ts";
import type { layout } from "./layout.ts";
import type { Words } from "./words.ts";

export interface GraphView {
  element: HTMLElement;
  /** Draws these relations; returns the numbers of drawn and of all entities in them. */
  show(edges: readonly PageEdge[]): { shown: number; all: number };
  select(node: number | null, edge: PageEdge | null): void;
}

export interface GraphContext {
  data: PageData;
  words: () => Words;
  place: typeof layout;
  colour: (type: string | null) => string;
  onNode: (node: number) => void;
  onEdge: (edges: readonly PageEdge[]) => void;
}

/** The drawing of a graph as SVG that can be moved and zoomed. It runs inside of the page: it must not use anything outside of itself. */
export function graphView({ data, words, place, colour, onNode, onEdge }: GraphContext): GraphView {
  const MOST_NODES = 300;
  const MOST_LABELS = 70;
  const SIZE = 1000;
  const make = (name: string, attributes: Record<string, string | number> = {}, parent?: Element): SVGElement => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name) as SVGElement;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    parent?.append(element);
    return element;
  };
  const element = document.createElement("div");
  element.className = "card canvas";
  const svg = make("svg", { role: "img" }, element);
  const edgeLayer = make("g", { class: "edges" }, svg);
  const nodeLayer = make("g", {}, svg);
  const legend = document.createElement("div");
  legend.className = "legend";
  element.append(legend);

  interface DrawnNode {
    node: number;
    x: number;
    y: number;
    radius: number;
    group: SVGElement;
    label: SVGElement;
    hasLabel: boolean;
  }
  interface DrawnEdge {
    from: DrawnNode;
    to: DrawnNode;
    edges: PageEdge[];
    bend: number;
    group: SVGElement;
    line: SVGElement;
    hit: SVGElement;
    tip: SVGElement;
    label: SVGElement;
  }
  let nodes: DrawnNode[] = [];
  let lines: DrawnEdge[] = [];
  let view = { scale: 1, x: 0, y: 0 };
  let selected: { node: number | null; edge: PageEdge | null } = { node: null, edge: null };

  const short = (name: string) => {
    const characters = Array.from(name);
    return characters.length > 12 ? `${characters.slice(0, 11).join("")}…` : name;
  };

  const update = () => {
    const at = ({ x, y }: DrawnNode) => [x * view.scale + view.x, y * view.scale + view.y];
    const isChosen = selected.node !== null || selected.edge !== null;
    const near = new Set<DrawnNode>();
    for (const line of lines) {
      const { from, to, radius } = { ...line, radius: line.to.radius };
      const isStrong =
        (selected.edge !== null && line.edges.includes(selected.edge)) ||
        (selected.node !== null && (from.node === selected.node || to.node === selected.node));
      if (isStrong) near.add(from).add(to);
      const [[x1, y1], [x2, y2]] = [at(from), at(to)];
      const length = Math.hypot(x2 - x1, y2 - y1) || 1;
      const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
      const [mx, my] = [(x1 + x2) / 2 - uy * line.bend, (y1 + y2) / 2 + ux * line.bend];
      // The tip touches the circle along the last part of the curve.
      const reach = Math.hypot(x2 - mx, y2 - my) || 1;
      const [vx, vy] = [(x2 - mx) / reach, (y2 - my) / reach];
      const [ex, ey] = [x2 - vx * (radius + 2), y2 - vy * (radius + 2)];
      const path = `M${x1} ${y1}Q${mx} ${my} ${ex - vx * 5} ${ey - vy * 5}`;
      line.line.setAttribute("d", path);
      line.hit.setAttribute("d", path);
      const wing = `${ex - vx * 8 - vy * 4} ${ey - vy * 8 + vx * 4}L${ex - vx * 8 + vy * 4} ${ey - vy * 8 - vx * 4}`;
      line.tip.setAttribute("d", `M${ex} ${ey}L${wing}Z`);
      line.group.setAttribute("class", isStrong ? "strong" : isChosen ? "weak" : "");
      const isNamed = isStrong || (!isChosen && lines.length <= 60 && length > 70);
      line.label.setAttribute("visibility", isNamed ? "visible" : "hidden");
      line.label.setAttribute("x", String((x1 + 2 * mx + x2) / 4));
      line.label.setAttribute("y", String((y1 + 2 * my + y2) / 4 + 4));
    }
    for (const one of nodes) {
      const [x, y] = at(one);
      one.group.setAttribute("transform", `translate(${x} ${y})`);
      const isWeak = isChosen && !near.has(one) && one.node !== selected.node;
      one.group.setAttribute("class", `node${one.node === selected.node ? " strong" : ""}${isWeak ? " weak" : ""}`);
      one.label.setAttribute(
        "visibility",
        one.hasLabel || near.has(one) || one.node === selected.node ? "visible" : "hidden",
      );
    }
  };

  const fitView = () => {
    const { width, height } = element.getBoundingClientRect();
    if (nodes.length === 0 || width === 0) return update();
    const [xs, ys] = [nodes.map(({ x }) => x), nodes.map(({ y }) => y)];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const across = Math.max(right - left, 1);
    const down = Math.max(bottom - top, 1);
    const scale = Math.min((width - 110) / across, (height - 100) / down, 1.6);
    view = { scale, x: width / 2 - (scale * (left + right)) / 2, y: height / 2 - 8 - (scale * (top + bottom)) / 2 };
    update();
  };

  const zoom = (factor: number, x: number, y: number) => {
    const scale = Math.min(8, Math.max(0.1, view.scale * factor));
    const by = scale / view.scale;
    view = { scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
    update();
  };
  const zoomMiddle = (factor: number) => {
    const { width, height } = element.getBoundingClientRect();
    zoom(factor, width / 2, height / 2);
  };
  const tools = document.createElement("div");
  tools.className = "tools";
  for (const [sign, word, work] of [
    ["+", "zoomIn", () => zoomMiddle(1.4)],
    ["−", "zoomOut", () => zoomMiddle(1 / 1.4)],
    ["⤢", "reset", fitView],
  ] as const) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = sign;
    button.setAttribute("aria-label", words()[word]);
    button.title = words()[word];
    button.addEventListener("click", work);
    tools.append(button);
  }
  element.append(tools);
  svg.addEventListener(
    "wheel",
    (event) => {
      // Without the key the page scrolls.
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = element.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
    },
    { passive: false },
  );
  svg.addEventListener("pointerdown", (start) => {
    if (start.target !== svg) return;
    const from = { ...view };
    const move = (event: PointerEvent) => {
      view = { ...from, x: from.x + event.clientX - start.clientX, y: from.y + event.clientY - start.clientY };
      update();
    };
    const end = () => {
      svg.removeEventListener("pointermove", move);
      svg.removeEventListener("pointerup", end);
      svg.removeEventListener("pointercancel", end);
    };
    svg.setPointerCapture(start.pointerId);
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerup", end);
    svg.addEventListener("pointercancel", end);
  });
  let width = 0;
  new ResizeObserver(() => {
    const now = element.getBoundingClientRect().width;
    if (now !== width) fitView();
    width = now;
  }).observe(element);

  const show = (shown: readonly PageEdge[]) => {
    const all = [...new Set(shown.flatMap(({ head, tail }) => [head, tail]))].sort((a, b) => a - b);
    const drawn = all.slice(0, MOST_NODES);
    const index = new Map(drawn.map((node, i) => [node, i]));
    const own = shown.filter(({ head, tail }) => index.has(head) && index.has(tail));
    const number = (node: number) => index.get(node) as number;
    const places = place(
      drawn.length,
      own.map(({ head, tail }) => [number(head), number(tail)] as const),
      SIZE,
    );
    const degree = new Float64Array(drawn.length);
    for (const { head, tail } of own) {
      degree[number(head)]++;
      degree[number(tail)]++;
    }
    const ranked = [...degree.keys()].sort((a, b) => degree[b] - degree[a] || a - b);
    const labelled = new Set(ranked.slice(0, MOST_LABELS));
    nodeLayer.replaceChildren();
    edgeLayer.replaceChildren();
    nodes = drawn.map((node, i) => {
      const { name, type } = data.nodes[node];
      const group = make("g", { class: "node", tabindex: 0, role: "button", "aria-label": name }, nodeLayer);
      const radius = Math.min(18, 5 + 2 * Math.sqrt(degree[i]));
      make("circle", { r: radius, style: `fill:${colour(type)}` }, group);
      const label = make("text", { y: radius + 14 }, group);
      label.textContent = short(name);
      make("title", {}, group).textContent = type === null ? name : `${name} · ${type}`;
      group.addEventListener("click", () => onNode(node));
      group.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") onNode(node);
      });
      return { node, x: places[2 * i], y: places[2 * i + 1], radius, group, label, hasLabel: labelled.has(i) };
    });
    const pairs = new Map<string, PageEdge[]>();
    for (const edge of own) {
      const key = `${edge.head} ${edge.tail}`;
      pairs.set(key, [...(pairs.get(key) ?? []), edge]);
    }
    lines = [...pairs.values()].map((edges) => {
      const [{ head, tail }] = edges;
      const group = make("g", {}, edgeLayer);
      const line = make("path", { class: "edge" }, group);
      const tip = make("path", { class: "tip" }, group);
      const hit = make("path", { class: "hit" }, group);
      const label = make("text", {}, group);
      label.textContent = edges.map(({ relation }) => relation).join("、");
      hit.addEventListener("click", () => onEdge(edges));
      const bend = pairs.has(`${tail} ${head}`) ? 26 : 0;
      return { from: nodes[number(head)], to: nodes[number(tail)], edges, bend, group, line, hit, tip, label };
    });
    const types = new Map(drawn.map((node) => [data.nodes[node].type, 0]));
    legend.replaceChildren(
      ...[...types.keys()].slice(0, 8).map((type) => {
        const entry = document.createElement("span");
        const dot = document.createElement("i");
        dot.style.background = colour(type);
        entry.append(dot, type ?? words().noType);
        return entry;
      }),
    );
    fitView();
    return { shown: drawn.length, all: all.length };
  };
  return {
    element,
    show,
    select(node, edge) {
      selected = { node, edge };
      update();
    },
  };
}
