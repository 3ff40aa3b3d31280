/// <reference lib="dom" />
import type { PageData, PageEdge } from "./data.ts";
import type { layout } from "./layout.ts";
import type { Words } from "./words.ts";

export interface GraphView {
  element: HTMLElement;
  /** Draws these relations; returns the numbers of drawn entities and of all in them, of drawn relations and of all. */
  show(edges: readonly PageEdge[]): { shown: number; all: number; lines: number; edges: number };
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
  const MOST_NODES = window.innerWidth < 600 ? 50 : 120;
  const MOST_EDGES = 300;
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
  const labelLayer = make("g", {}, svg);
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
    /** Half the width of its name, in pixels. */
    halfWidth: number;
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
  /** Of the layout; one axis may be stretched to fill the space. */
  let view = { scale: 1, wide: 1, x: 0, y: 0 };
  let selected: { node: number | null; edge: PageEdge | null } = { node: null, edge: null };

  const short = (name: string) => {
    const characters = Array.from(name);
    return characters.length > 12 ? `${characters.slice(0, 11).join("")}…` : name;
  };

  const update = () => {
    const at = ({ x, y }: DrawnNode) => [x * view.scale * view.wide + view.x, y * view.scale + view.y];
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
    // Names that would lie on each other are left out, those of nodes with few relations first.
    const taken: [number, number, number][] = [];
    for (const one of nodes) {
      const [x, y] = at(one);
      one.group.setAttribute("transform", `translate(${x} ${y})`);
      one.label.setAttribute("x", String(x));
      one.label.setAttribute("y", String(y + one.radius + 14));
      const isStrong = near.has(one) || one.node === selected.node;
      const isWeak = isChosen && !isStrong;
      one.group.setAttribute("class", `node${one.node === selected.node ? " strong" : ""}${isWeak ? " weak" : ""}`);
      const [half, below] = [one.halfWidth, y + one.radius];
      const isFree = taken.every(([tx, ty, th]) => Math.abs(tx - x) > th + half || Math.abs(ty - below) > 13);
      if (isFree) taken.push([x, below, half]);
      one.label.setAttribute("visibility", isFree || isStrong ? "visible" : "hidden");
      one.label.setAttribute("class", isWeak ? "weak" : "");
    }
  };

  const fitView = () => {
    const { width, height } = element.getBoundingClientRect();
    if (nodes.length === 0 || width === 0) return update();
    const [xs, ys] = [nodes.map(({ x }) => x), nodes.map(({ y }) => y)];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const across = Math.max(right - left, 1);
    const down = Math.max(bottom - top, 1);
    const scale = Math.min(1.6, (height - 110) / down, (width - 110) / across / 0.6);
    const wide = Math.max(0.6, Math.min(1.8, (width - 110) / across / scale));
    const [x, y] = [width / 2 - (scale * wide * (left + right)) / 2, height / 2 - 8 - (scale * (top + bottom)) / 2];
    view = { scale, wide, x, y };
    update();
  };

  const zoom = (factor: number, x: number, y: number) => {
    const scale = Math.min(8, Math.max(0.1, view.scale * factor));
    const by = scale / view.scale;
    view = { ...view, scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
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
    const all = new Set(shown.flatMap(({ head, tail }) => [head, tail]));
    // The relations found at most places come first, with their entities.
    const index = new Map<number, number>();
    for (const { head, tail } of shown) {
      const added = [head, tail].filter((node) => !index.has(node));
      if (index.size + added.length > MOST_NODES) continue;
      for (const node of added) index.set(node, index.size);
    }
    const drawn = [...index.keys()];
    const own = shown.filter(({ head, tail }) => index.has(head) && index.has(tail)).slice(0, MOST_EDGES);
    edgeLayer.setAttribute("class", own.length > 120 ? "edges dense" : "edges");
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
    nodeLayer.replaceChildren();
    labelLayer.replaceChildren();
    edgeLayer.replaceChildren();
    nodes = drawn.map((node, i) => {
      const { name, type } = data.nodes[node];
      const group = make("g", { class: "node", tabindex: 0, role: "button", "aria-label": name }, nodeLayer);
      const radius = Math.min(18, 5 + 2 * Math.sqrt(degree[i]));
      make("circle", { r: radius, style: `fill:${colour(type)}` }, group);
      const label = make("text", {}, labelLayer);
      label.textContent = short(name);
      make("title", {}, group).textContent = type === null ? name : `${name} · ${type}`;
      group.addEventListener("click", () => onNode(node));
      group.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") onNode(node);
      });
      const halfWidth = Array.from(short(name)).reduce((sum, one) => sum + (one < "\u2000" ? 3.5 : 6), 2);
      return { node, x: places[2 * i], y: places[2 * i + 1], radius, group, label, halfWidth };
    });
    const byNode = new Map(nodes.map((one) => [one.node, one]));
    nodes.sort((a, b) => b.radius - a.radius);
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
      return {
        from: byNode.get(head) as DrawnNode,
        to: byNode.get(tail) as DrawnNode,
        edges,
        bend,
        group,
        line,
        hit,
        tip,
        label,
      };
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
    return { shown: drawn.length, all: all.size, lines: own.length, edges: shown.length };
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
