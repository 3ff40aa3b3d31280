import type { Graph, GraphEdge } from "./graph-model.ts";
import type { Layout } from "./layout.ts";
import { type Curve, curveOf, radiusOf } from "./shapes.ts";
import type { Viewport } from "./viewport.ts";

/** Colours and type of the page, read from its styles. */
export interface Ink {
  ground: string;
  line: string;
  ink: string;
  soft: string;
  accent: string;
  bad: string;
  font: string;
}

export interface Drawn {
  graph: Graph;
  layout: Pick<Layout, "x" | "y">;
  view: Viewport;
  width: number;
  height: number;
  /** Of the display: device pixels of a CSS pixel. */
  ratio: number;
  /** Keys of the edges that are selected, and that the pointer or the keyboard is at. */
  selected: string | null;
  at: { node: number } | { edge: number } | null;
  isDirected(label: string): boolean;
  ink: Ink;
}

const NODE_FONT = 13;
const EDGE_FONT = 12;
const ARROW = 7;
/** Lines under this scale are dense: labels of edges are left out unless they are pointed at. */
const LABEL_SCALE = 0.55;
const CELL = 16;

/** Draws the graph. Labels that would cover another one are left out: those of important entities come first. */
export function draw(context: CanvasRenderingContext2D, drawn: Drawn): void {
  const { graph, layout, view, width, height, ratio, ink, at, selected } = drawn;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.lineCap = "round";
  const place = (x: number, y: number): [number, number] => [view.scale * x + view.x, view.scale * y + view.y];
  const near = neighboursOf(graph, at);
  const curves = graph.edges.map((edge) => curveOf(edge, graph.nodes, layout));
  const isMarked = (edge: GraphEdge, i: number) =>
    edge.key === selected || (at !== null && "edge" in at && at.edge === i) || near?.edges.has(i) === true;
  const isDim = (i: number, edge: GraphEdge) => near !== null && !isMarked(edge, i);
  for (const [i, edge] of graph.edges.entries()) {
    const isOwn = isMarked(edge, i);
    context.strokeStyle = isOwn ? ink.accent : edge.isRejected ? ink.bad : ink.line;
    context.globalAlpha = isDim(i, edge) ? 0.25 : 0.35 + 0.65 * edge.probability;
    context.lineWidth = isOwn ? 2 : Math.min(2.5, 1 + 0.4 * (edge.triples.length - 1));
    context.setLineDash(edge.isRejected ? [3, 4] : []);
    strokeCurve(context, curves[i], place, drawn.isDirected(edge.label), Math.min(1, 0.45 + view.scale));
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
  for (const [i, node] of graph.nodes.entries()) {
    const [x, y] = place(layout.x[i], layout.y[i]);
    const isOwn = near?.nodes.has(i) === true;
    context.globalAlpha = near !== null && !isOwn ? 0.35 : 1;
    context.beginPath();
    context.arc(x, y, Math.max(2, radiusOf(node) * Math.min(1.2, Math.max(0.4, view.scale))), 0, 2 * Math.PI);
    context.fillStyle = isOwn ? ink.accent : ink.ink;
    context.fill();
  }
  context.globalAlpha = 1;
  drawLabels(context, drawn, curves, place, near, isMarked);
}

/** The entity or relation that is pointed at with all that touches it; null for none. */
function neighboursOf({ edges }: Graph, at: Drawn["at"]): { nodes: Set<number>; edges: Set<number> } | null {
  if (at === null) return null;
  if ("edge" in at) {
    const { from, to } = edges[at.edge];
    return { nodes: new Set([from, to]), edges: new Set([at.edge]) };
  }
  const own = { nodes: new Set([at.node]), edges: new Set<number>() };
  for (const [i, { from, to }] of edges.entries()) {
    if (from !== at.node && to !== at.node) continue;
    own.edges.add(i);
    own.nodes.add(from).add(to);
  }
  return own;
}

type Place = (x: number, y: number) => [number, number];

function strokeCurve(context: CanvasRenderingContext2D, curve: Curve, place: Place, hasArrow: boolean, size: number) {
  const [fromX, fromY] = place(curve.fromX, curve.fromY);
  const [controlX, controlY] = place(curve.controlX, curve.controlY);
  const [toX, toY] = place(curve.toX, curve.toY);
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.quadraticCurveTo(controlX, controlY, toX, toY);
  if (hasArrow) {
    const angle = Math.atan2(toY - controlY, toX - controlX);
    for (const side of [-0.42, 0.42]) {
      context.moveTo(toX - ARROW * size * Math.cos(angle + side), toY - ARROW * size * Math.sin(angle + side));
      context.lineTo(toX, toY);
    }
  }
  context.stroke();
}

function drawLabels(
  context: CanvasRenderingContext2D,
  { graph, layout, view, width, height, ink, selected, at }: Drawn,
  curves: readonly Curve[],
  place: Place,
  near: ReturnType<typeof neighboursOf>,
  isMarked: (edge: GraphEdge, i: number) => boolean,
): void {
  const taken = new Set<string>();
  /** Whether a box is free; takes it then. */
  const take = (x: number, y: number, w: number, h: number, isForced: boolean): boolean => {
    if (x + w < 0 || y + h < 0 || x > width || y > height) return false;
    const cells: string[] = [];
    for (let cx = Math.floor(x / CELL); cx <= Math.floor((x + w) / CELL); cx++) {
      for (let cy = Math.floor(y / CELL); cy <= Math.floor((y + h) / CELL); cy++) cells.push(`${cx} ${cy}`);
    }
    if (!isForced && cells.some((cell) => taken.has(cell))) return false;
    for (const cell of cells) taken.add(cell);
    return true;
  };
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 4;
  context.strokeStyle = ink.ground;
  const write = (text: string, x: number, y: number, colour: string) => {
    context.strokeText(text, x, y);
    context.fillStyle = colour;
    context.fillText(text, x, y);
  };
  const weight = (i: number) => graph.nodes[i].degree + (near?.nodes.has(i) ? 1e6 : 0);
  const order = graph.nodes.map((_, i) => i).sort((a, b) => weight(b) - weight(a) || a - b);
  context.font = `${NODE_FONT}px ${ink.font}`;
  context.textAlign = "center";
  for (const i of order) {
    const isOwn = near?.nodes.has(i) === true;
    if (near !== null && !isOwn) continue;
    const [x, y] = place(layout.x[i], layout.y[i]);
    if (x < -200 || y < -50 || x > width + 200 || y > height + 50) continue;
    const text = shortened(graph.nodes[i].name);
    const w = context.measureText(text).width;
    const below = y + radiusOf(graph.nodes[i]) * Math.min(1.2, Math.max(0.4, view.scale)) + NODE_FONT * 0.85;
    if (take(x - w / 2, below - NODE_FONT / 2, w, NODE_FONT, isOwn)) write(text, x, below, ink.ink);
  }
  context.font = `${EDGE_FONT}px ${ink.font}`;
  for (const [i, edge] of graph.edges.entries()) {
    const isOwn = isMarked(edge, i);
    const isForced = edge.key === selected || (at !== null && "edge" in at && at.edge === i);
    if (!isOwn && (view.scale < LABEL_SCALE || near !== null)) continue;
    const [x, y] = place(curves[i].middleX, curves[i].middleY);
    const w = context.measureText(edge.label).width;
    const free = take(x - w / 2, y - EDGE_FONT / 2, w, EDGE_FONT, isForced);
    if (free) write(edge.label, x, y, isOwn ? ink.accent : ink.soft);
  }
}

const MOST_CHARACTERS = 14;
const shortened = (name: string) => {
  const characters = Array.from(name);
  return characters.length <= MOST_CHARACTERS ? name : `${characters.slice(0, MOST_CHARACTERS - 1).join("")}…`;
};
