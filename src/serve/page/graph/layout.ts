/** Places of nodes in a plane. */
export interface Layout {
  readonly x: Float64Array;
  readonly y: Float64Array;
  /**
   * Moves the nodes; false once they have settled. At a time (of `performance.now`) it stops, and the next call continues the step: a step of
   * many nodes takes longer than a frame has.
   */
  step(until?: number): boolean;
  /** Moves a node and holds it there. */
  hold(node: number, x: number, y: number): void;
}

const STEPS = 280;
const LINK = 150;
const REPULSION = 7500;
const GRAVITY = 0.045;
const FRICTION = 0.62;
/** A node with many links needs room around it: what each link adds to its push, and the limit. */
const HUB = 0.35;
const MOST_WEIGHT = 4;
/** Beyond it two nodes do not push each other: parts that are not connected stay near. */
const REACH = 900;
/** Nodes whose pushes are computed between two looks at the clock: 1 ms for 1,500 nodes. */
const LOOK_EVERY = 32;
/** The angle that keeps the points of a spiral evenly apart. */
const GOLDEN = Math.PI * (3 - Math.sqrt(5));

export interface LayoutOptions {
  /** Places of nodes that are known; others begin on a spiral. */
  start?: (node: number) => { x: number; y: number } | undefined;
  /** How many times wider than high the picture is: names are written side by side, and views are wide. */
  wide?: number;
}

/**
 * A force-directed layout: nodes push each other, those with many links more, links pull, and all are drawn to the middle. It draws no random
 * numbers: the same graph has the same picture.
 */
export function createLayout(
  count: number,
  links: readonly (readonly [number, number])[],
  { start = () => undefined, wide = 1 }: LayoutOptions = {},
): Layout {
  const [x, y] = [new Float64Array(count), new Float64Array(count)];
  const [moveX, moveY] = [new Float64Array(count), new Float64Array(count)];
  const held = new Uint8Array(count);
  const degree = new Float64Array(count);
  for (const [from, to] of links) {
    degree[from]++;
    degree[to]++;
  }
  let known = 0;
  for (let i = 0; i < count; i++) {
    const own = start(i);
    if (own) known++;
    const radius = 42 * Math.sqrt(i + 0.5);
    x[i] = own?.x ?? wide * radius * Math.cos(i * GOLDEN);
    y[i] = own?.y ?? radius * Math.sin(i * GOLDEN);
  }
  // What is known moves little.
  let heat = known === count ? 0 : known > 0 ? 0.35 : 1;
  const cooling = 0.001 ** (1 / STEPS);

  const weight = degree.map((links) => Math.min(MOST_WEIGHT, 1 + HUB * links));

  /** The node whose pushes are next in a step that has begun. */
  let next = 0;
  const push = (i: number) => {
    for (let j = i + 1; j < count; j++) {
      let dx = (x[j] - x[i]) / wide;
      const dy = y[j] - y[i];
      if (dx === 0 && dy === 0) dx = 1e-3 * (1 + ((i + j) % 7));
      const squared = Math.max(dx * dx + dy * dy, 100);
      if (squared > REACH * REACH) continue;
      const force = (REPULSION * heat * Math.sqrt(weight[i] * weight[j])) / squared / Math.sqrt(squared);
      moveX[i] -= dx * force;
      moveY[i] -= dy * force;
      moveX[j] += dx * force;
      moveY[j] += dy * force;
    }
  };
  const pull = () => {
    for (const [from, to] of links) {
      if (from === to) continue;
      const [dx, dy] = [(x[to] - x[from]) / wide, y[to] - y[from]];
      const distance = Math.max(1, Math.hypot(dx, dy));
      const force = ((distance - LINK) / distance / Math.min(degree[from], degree[to])) * heat * 0.7;
      // The end with more links moves less.
      const share = degree[from] / (degree[from] + degree[to]);
      moveX[from] += dx * force * (1 - share);
      moveY[from] += dy * force * (1 - share);
      moveX[to] -= dx * force * share;
      moveY[to] -= dy * force * share;
    }
  };
  return {
    ...{ x, y },
    step(until = Number.POSITIVE_INFINITY) {
      if (heat < 0.002 || count === 0) return false;
      while (next < count) {
        push(next++);
        if (next % LOOK_EVERY === 0 && performance.now() >= until) return true;
      }
      next = 0;
      pull();
      for (let i = 0; i < count; i++) {
        moveX[i] = (moveX[i] - (x[i] / wide) * GRAVITY * heat) * FRICTION;
        moveY[i] = (moveY[i] - y[i] * GRAVITY * heat) * FRICTION;
        if (held[i]) continue;
        x[i] += wide * moveX[i];
        y[i] += moveY[i];
      }
      heat *= cooling;
      return true;
    },
    hold(node, toX, toY) {
      held[node] = 1;
      x[node] = toX;
      y[node] = toY;
    },
  };
}
