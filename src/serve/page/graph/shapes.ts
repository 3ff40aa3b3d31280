import type { GraphEdge, GraphNode } from "./graph-model.ts";
import type { Layout } from "./layout.ts";

/** The line of an edge in the plane: a quadratic curve from border to border of its nodes. */
export interface Curve {
  fromX: number;
  fromY: number;
  controlX: number;
  controlY: number;
  toX: number;
  toY: number;
  /** The point that a label is at. */
  middleX: number;
  middleY: number;
}

const BEND = 34;
const LOOP = 46;

/** Radius of the dot of a node. */
export const radiusOf = ({ degree }: Pick<GraphNode, "degree">) => Math.min(15, 4.5 + 1.5 * Math.sqrt(degree));

/** The curve of an edge; an edge from an entity to itself is a loop above it. */
export function curveOf(edge: GraphEdge, nodes: readonly GraphNode[], { x, y }: Pick<Layout, "x" | "y">): Curve {
  const { from, to, bend } = edge;
  const [ax, ay, bx, by] = [x[from], y[from], x[to], y[to]];
  if (from === to) {
    const size = LOOP + bend * 16;
    const [controlX, controlY] = [ax, ay - 2 * size];
    const ends = { fromX: ax - 7, fromY: ay - radiusOf(nodes[from]), toX: ax + 7, toY: ay - radiusOf(nodes[from]) };
    return { ...ends, controlX, controlY, middleX: ax, middleY: (ends.fromY + controlY) / 2 };
  }
  const distance = Math.max(1, Math.hypot(bx - ax, by - ay));
  // Edges of both directions between two entities bend on the same axis, so that they do not cover each other.
  const sign = from < to ? 1 : -1;
  const offset = bend === 0 ? 0 : sign * BEND * Math.ceil(bend / 2) * (bend % 2 === 1 ? 1 : -1);
  const [normalX, normalY] = [-(by - ay) / distance, (bx - ax) / distance];
  const controlX = (ax + bx) / 2 + 2 * offset * normalX;
  const controlY = (ay + by) / 2 + 2 * offset * normalY;
  const [fromX, fromY] = towards(ax, ay, controlX, controlY, radiusOf(nodes[from]) + 2);
  const [toX, toY] = towards(bx, by, controlX, controlY, radiusOf(nodes[to]) + 3);
  const [middleX, middleY] = [(fromX + 2 * controlX + toX) / 4, (fromY + 2 * controlY + toY) / 4];
  return { fromX, fromY, controlX, controlY, toX, toY, middleX, middleY };
}

/** The point at a share of the way along a curve. */
export function pointOf({ fromX, fromY, controlX, controlY, toX, toY }: Curve, share: number): [number, number] {
  const [a, b, c] = [(1 - share) * (1 - share), 2 * share * (1 - share), share * share];
  return [a * fromX + b * controlX + c * toX, a * fromY + b * controlY + c * toY];
}

function towards(x: number, y: number, toX: number, toY: number, by: number): [number, number] {
  const distance = Math.max(1, Math.hypot(toX - x, toY - y));
  const share = Math.min(0.45, by / distance);
  return [x + (toX - x) * share, y + (toY - y) * share];
}

const PIECES = 8;

/** Distance of a point from a curve. */
export function distanceTo(curve: Curve, x: number, y: number): number {
  let least = Infinity;
  let [lastX, lastY] = [curve.fromX, curve.fromY];
  for (let i = 1; i <= PIECES; i++) {
    const [nextX, nextY] = pointOf(curve, i / PIECES);
    least = Math.min(least, distanceToSegment(x, y, lastX, lastY, nextX, nextY));
    [lastX, lastY] = [nextX, nextY];
  }
  return least;
}

function distanceToSegment(x: number, y: number, ax: number, ay: number, bx: number, by: number): number {
  const [dx, dy] = [bx - ax, by - ay];
  const squared = dx * dx + dy * dy;
  const t = squared === 0 ? 0 : Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / squared));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

/** What is at a point of the plane, within `reach`: a node before an edge; null for nothing. */
export function hitAt(
  { nodes, edges }: { nodes: readonly GraphNode[]; edges: readonly GraphEdge[] },
  layout: Pick<Layout, "x" | "y">,
  at: { x: number; y: number },
  reach: number,
): { node: number } | { edge: number } | null {
  let found: { node: number } | { edge: number } | null = null;
  let least = reach;
  for (const [i, node] of nodes.entries()) {
    const distance = Math.hypot(layout.x[i] - at.x, layout.y[i] - at.y) - radiusOf(node);
    if (distance < least / 2) [found, least] = [{ node: i }, distance];
  }
  if (found) return found;
  for (const [i, edge] of edges.entries()) {
    const curve = curveOf(edge, nodes, layout);
    // A label is as good a place to point at as its line.
    const distance = Math.min(
      distanceTo(curve, at.x, at.y),
      Math.hypot(curve.middleX - at.x, curve.middleY - at.y) - reach,
    );
    if (distance < least) [found, least] = [{ edge: i }, distance];
  }
  return found;
}
