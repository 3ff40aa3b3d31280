import type { Graph, GraphEdge, GraphNode } from "./graph-model.ts";
import { createLabelPlaces, type Rectangle } from "./label-places.ts";
import type { Layout } from "./layout.ts";
import { type Curve, curveOf, pointOf, radiusOf } from "./shapes.ts";
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
/** Where on its line a label can be, the best place first. */
const LABEL_POINTS = [0.5, 0.4, 0.6, 0.3, 0.7];

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
    context.arc(x, y, drawnRadius(node, view), 0, 2 * Math.PI);
    context.fillStyle = isOwn ? ink.accent : ink.ink;
    context.fill();
    // A rim keeps lines that pass by apart from the dot.
    context.strokeStyle = ink.ground;
    context.lineWidth = 2;
    context.stroke();
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
  const places = createLabelPlaces(width, height);
  context.textBaseline = "middle";
  context.textAlign = "center";
  context.lineJoin = "round";
  context.lineWidth = 4;
  context.strokeStyle = ink.ground;
  const write = (text: string, { x, y, width: w, height: h }: Rectangle, colour: string) => {
    context.strokeText(text, x + w / 2, y + h / 2);
    context.fillStyle = colour;
    context.fillText(text, x + w / 2, y + h / 2);
  };
  const dots = graph.nodes.map((node, i) => {
    const [x, y] = place(layout.x[i], layout.y[i]);
    return { x, y, radius: drawnRadius(node, view) };
  });
  for (const { x, y, radius } of dots) {
    if (x < -20 || y < -20 || x > width + 20 || y > height + 20) continue;
    places.take({ x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius });
  }
  const weight = (i: number) => graph.nodes[i].degree + (near?.nodes.has(i) ? 1e6 : 0);
  const order = graph.nodes.map((_, i) => i).sort((a, b) => weight(b) - weight(a) || a - b);
  context.font = `${NODE_FONT}px ${ink.font}`;
  for (const i of order) {
    const isOwn = near?.nodes.has(i) === true;
    if (near !== null && !isOwn) continue;
    const { x, y, radius } = dots[i];
    if (x < 0 || y < 0 || x > width || y > height) continue;
    const text = shortened(graph.nodes[i].name);
    const choices = besideDot(x, y, radius, widthOf(context, NODE_FONT, text));
    const chosen = places.takeFirst(choices) ?? (isOwn ? choices[0] : null);
    if (chosen) write(text, chosen, ink.ink);
  }
  context.font = `${EDGE_FONT}px ${ink.font}`;
  for (const [i, edge] of graph.edges.entries()) {
    const isOwn = isMarked(edge, i);
    const isForced = edge.key === selected || (at !== null && "edge" in at && at.edge === i);
    if (!isOwn && (view.scale < LABEL_SCALE || near !== null)) continue;
    const w = widthOf(context, EDGE_FONT, edge.label);
    const choices = LABEL_POINTS.map((share) => {
      const [x, y] = place(...pointOf(curves[i], share));
      return { x: x - w / 2 - 2, y: y - EDGE_FONT / 2 - 1, width: w + 4, height: EDGE_FONT + 2 };
    });
    const chosen = places.takeFirst(choices) ?? (isForced ? choices[0] : null);
    if (chosen) write(edge.label, chosen, isOwn ? ink.accent : ink.soft);
  }
}

const widths = new Map<string, number>();
const MOST_WIDTHS = 20_000;

/** Width of a text in the font of a context, which has a size. Every frame asks for the same names, and measuring costs more than placing them. */
function widthOf(context: CanvasRenderingContext2D, size: number, text: string): number {
  const key = `${size} ${text}`;
  const known = widths.get(key);
  if (known !== undefined) return known;
  if (widths.size >= MOST_WIDTHS) widths.clear();
  const { width } = context.measureText(text);
  widths.set(key, width);
  return width;
}

/** Radius of a dot on the screen: it grows less than the distances when the view is enlarged. */
const drawnRadius = (node: GraphNode, { scale }: Viewport) =>
  Math.max(2, radiusOf(node) * Math.min(1.2, Math.max(0.4, scale)));

/** Where the name of an entity can be: under its dot, above it, on its right or its left. */
function besideDot(x: number, y: number, radius: number, width: number): Rectangle[] {
  const [height, gap] = [NODE_FONT + 2, radius + 4];
  return [
    { x: x - width / 2, y: y + gap, width, height },
    { x: x - width / 2, y: y - gap - height, width, height },
    { x: x + gap, y: y - height / 2, width, height },
    { x: x - gap - width, y: y - height / 2, width, height },
  ];
}

const MOST_CHARACTERS = 14;
const shortened = (name: string) => {
  const characters = Array.from(name);
  return characters.length <= MOST_CHARACTERS ? name : `${characters.slice(0, MOST_CHARACTERS - 1).join("")}…`;
};
