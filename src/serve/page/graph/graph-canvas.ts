import { type Drawn, draw, type Ink } from "./draw.ts";
import type { Graph } from "./graph-model.ts";
import { createLayout, type Layout } from "./layout.ts";
import { hitAt } from "./shapes.ts";
import { boxOf, fitted, moved, planeOf, type Viewport, zoomed } from "./viewport.ts";

/** A drawing in a canvas: it lays out, draws when something has changed, and answers to pointers. */
export interface GraphCanvas {
  show(graph: Graph, selected: string | null): void;
  zoom(factor: number): void;
  move(dx: number, dy: number): void;
  fit(): void;
  /** Marks an edge, and moves the view so that it is seen; null marks none. */
  point(edge: number | null): void;
  close(): void;
}

export interface GraphEvents {
  onEdge(edge: number): void;
  isDirected(label: string): boolean;
}

/** Reach of a pointer, in CSS pixels: a finger is less exact than a mouse. */
const REACH = { mouse: 8, touch: 18 };
/** Time of a frame for the layout. */
const STEP_MS = 12;
/** How much wider than high a picture may be, at least and at most. */
const WIDE = [0.65, 1.8] as const;
/** A pointer that moved less has clicked. */
const STILL = 5;

export function createGraphCanvas(canvas: HTMLCanvasElement, events: GraphEvents): GraphCanvas {
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  /** Places of entities over all that was shown: what comes back is where it was. */
  const places = new Map<string, { x: number; y: number }>();
  let graph: Graph = { nodes: [], edges: [], hidden: { nodes: 0, edges: 0 } };
  let layout: Layout = createLayout(0, []);
  let view: Viewport = { scale: 1, x: 0, y: 0 };
  let [width, height] = [0, 0];
  let selected: string | null = null;
  let at: Drawn["at"] = null;
  /** Until the person moves the view, it follows the layout. */
  let isFollowing = true;
  let isSettled = false;
  let frame = 0;

  const paint = () => {
    frame = 0;
    const until = performance.now() + STEP_MS;
    while (!isSettled && performance.now() < until) isSettled = !layout.step(until);
    if (isFollowing && width > 0) view = fitted(boxOf(layout.x, layout.y), width, height);
    const ratio = devicePixelRatio;
    draw(context, {
      ...{ graph, layout, view, width, height, ratio, selected, at, ink: inkOf(canvas) },
      isDirected: events.isDirected,
    });
    canvas.dataset.settled = String(isSettled);
    if (!isSettled) request();
    else for (const [i, { id }] of graph.nodes.entries()) places.set(id, { x: layout.x[i], y: layout.y[i] });
  };
  const request = () => {
    frame ||= requestAnimationFrame(paint);
  };
  const change = (next: Viewport) => {
    view = next;
    isFollowing = false;
    request();
  };

  const resized = new ResizeObserver(() => {
    const { clientWidth, clientHeight } = canvas;
    if (clientWidth === 0) return;
    if (!isFollowing) view = moved(view, (clientWidth - width) / 2, (clientHeight - height) / 2);
    [width, height] = [clientWidth, clientHeight];
    canvas.width = Math.round(width * devicePixelRatio);
    canvas.height = Math.round(height * devicePixelRatio);
    request();
  });
  resized.observe(canvas);
  const themes = new MutationObserver(request);
  themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", request);
  const unlisten = listen();

  /** Pointers that are down, by their id, at their last place. */
  function listen(): () => void {
    const down = new Map<number, { x: number; y: number }>();
    let travelled = 0;
    let held: number | null = null;
    const placeOf = (event: PointerEvent | WheelEvent) => {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    const hit = (event: PointerEvent) => {
      const { x, y } = placeOf(event);
      const reach = event.pointerType === "mouse" ? REACH.mouse : REACH.touch;
      return hitAt(graph, layout, planeOf(view, x, y), reach / view.scale);
    };
    const handlers: { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void } = {
      pointerdown(event) {
        if (event.button !== 0) return;
        // Synthetic events of tests have no pointer to capture.
        if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
        down.set(event.pointerId, placeOf(event));
        if (down.size > 1) {
          held = null;
          return;
        }
        travelled = 0;
        const found = hit(event);
        held = found && "node" in found ? found.node : null;
      },
      pointermove(event) {
        const before = down.get(event.pointerId);
        const now = placeOf(event);
        if (!before) {
          const found = hit(event);
          canvas.style.cursor = found ? "pointer" : "grab";
          if (JSON.stringify(found) !== JSON.stringify(at)) {
            at = found;
            request();
          }
          return;
        }
        down.set(event.pointerId, now);
        const [dx, dy] = [now.x - before.x, now.y - before.y];
        travelled += Math.hypot(dx, dy);
        if (travelled < STILL && down.size === 1) return;
        if (down.size === 1 && held !== null) {
          const { x, y } = planeOf(view, now.x, now.y);
          layout.hold(held, x, y);
          places.set(graph.nodes[held].id, { x, y });
          isFollowing = false;
          request();
          return;
        }
        if (down.size === 1) {
          canvas.style.cursor = "grabbing";
          change(moved(view, dx, dy));
          return;
        }
        const other = [...down].find(([id]) => id !== event.pointerId)?.[1] as { x: number; y: number };
        const [was, is] = [before, now].map((one) => Math.hypot(one.x - other.x, one.y - other.y));
        const [middleX, middleY] = [(now.x + other.x) / 2, (now.y + other.y) / 2];
        change(moved(zoomed(view, is / Math.max(1, was), middleX, middleY), dx / 2, dy / 2));
      },
      pointerup(event) {
        const wasAlone = down.size === 1;
        if (!down.delete(event.pointerId) || !wasAlone || travelled >= STILL) return;
        const found = hit(event);
        if (found && "edge" in found) events.onEdge(found.edge);
        at = found;
        request();
      },
      pointercancel: (event) => {
        down.delete(event.pointerId);
      },
      pointerleave() {
        if (down.size > 0 || at === null) return;
        at = null;
        request();
      },
      wheel(event) {
        // The page scrolls over the drawing, unless the drawing was clicked; a pinch on a touchpad is a wheel with Ctrl.
        if (document.activeElement !== canvas.parentElement && !event.ctrlKey) return;
        event.preventDefault();
        const lines = event.deltaMode === 1 ? 20 : 1;
        const { x, y } = placeOf(event);
        change(zoomed(view, Math.exp((-event.deltaY * lines * (event.ctrlKey ? 8 : 1)) / 800), x, y));
      },
    };
    const all = Object.entries(handlers) as [string, (event: Event) => void][];
    for (const [name, handler] of all) canvas.addEventListener(name, handler, { passive: name !== "wheel" });
    return () => {
      for (const [name, handler] of all) canvas.removeEventListener(name, handler);
    };
  }

  return {
    show(next, key) {
      selected = key;
      if (next !== graph) {
        const isNew = next.nodes.some(({ id }) => !places.has(id));
        graph = next;
        at = null;
        const links = graph.edges.map(({ from, to }) => [from, to] as const);
        layout = createLayout(graph.nodes.length, links, {
          start: (i) => places.get(graph.nodes[i].id),
          wide: wideOf(canvas),
        });
        isSettled = false;
        if (isNew) isFollowing = true;
      }
      request();
    },
    zoom: (factor) => change(zoomed(view, factor, width / 2, height / 2)),
    move: (dx, dy) => change(moved(view, dx, dy)),
    fit() {
      isFollowing = true;
      request();
    },
    point(edge) {
      at = edge === null ? null : { edge };
      if (edge !== null) {
        const { from, to } = graph.edges[edge];
        const [x, y] = [(layout.x[from] + layout.x[to]) / 2, (layout.y[from] + layout.y[to]) / 2];
        const scale = Math.max(view.scale, 0.8);
        change({ scale, x: width / 2 - scale * x, y: height / 2 - scale * y });
      }
      request();
    },
    close() {
      cancelAnimationFrame(frame);
      resized.disconnect();
      themes.disconnect();
      system.removeEventListener("change", request);
      unlisten();
    },
  };
}

/** How much wider than high the picture of a graph is in a canvas. */
function wideOf({ clientWidth, clientHeight }: HTMLCanvasElement): number {
  return clientHeight === 0 ? 1 : Math.min(WIDE[1], Math.max(WIDE[0], clientWidth / clientHeight));
}

/** Canvas knows no variables of styles: a colour is read from a property that has been computed. */
function inkOf(canvas: HTMLCanvasElement): Ink {
  const style = getComputedStyle(canvas);
  const read = (name: string) => {
    const value = style.getPropertyValue(`--${name}`);
    const [, light, dark] = /^light-dark\(\s*(.+?)\s*,\s*(.+?)\s*\)$/.exec(value.trim()) ?? [];
    if (light === undefined) return value;
    const { colorScheme } = style;
    const isDark =
      colorScheme === "dark" || (colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
    return isDark ? dark : light;
  };
  return {
    ...{ ground: read("ground"), line: read("line-strong"), ink: read("ink"), soft: read("ink-soft") },
    ...{ accent: read("accent"), bad: read("bad"), font: style.fontFamily },
  };
}
