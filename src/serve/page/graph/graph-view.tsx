import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { PageTriple } from "../extract/page-triple.ts";
import { usePage, useTexts } from "../shell/page-context.ts";
import { createGraphCanvas, type GraphCanvas } from "./graph-canvas.ts";
import { type GraphEdge, graphOf } from "./graph-model.ts";
import { GRAPH_TEXTS } from "./texts.ts";

export interface GraphViewProps {
  /** The relations that the filters let through. */
  triples: readonly PageTriple[];
  /** Key of the relation that is selected in another part of the view. */
  selected: string | null;
  onSelect(triple: PageTriple): void;
}

const ZOOM = 1.35;
const MOVE = 60;

/** The entities and relations as a drawing. */
export function GraphView({ triples, selected, onSelect }: GraphViewProps) {
  const { run } = usePage();
  const texts = useTexts(GRAPH_TEXTS);
  const canvas = useRef<HTMLCanvasElement>(null);
  const drawing = useRef<GraphCanvas | null>(null);
  const [told, setTold] = useState("");
  const graph = useMemo(() => graphOf(triples), [triples]);
  const chosen = graph.edges.find(({ triples: own }) => own.some(({ key }) => key === selected)) ?? null;

  /** Of an edge with several places, the next one. */
  const select = (edge: GraphEdge) => {
    const place = edge.triples.findIndex(({ key }) => key === selected);
    onSelect(edge.triples[(place + 1) % edge.triples.length]);
  };
  const now = useRef({ graph, select, symmetric: run.labels.symmetric });
  now.current = { graph, select, symmetric: run.labels.symmetric };

  useEffect(() => {
    const own = createGraphCanvas(canvas.current as HTMLCanvasElement, {
      onEdge: (edge) => now.current.select(now.current.graph.edges[edge]),
      isDirected: (label) => !now.current.symmetric.includes(label),
    });
    drawing.current = own;
    return () => own.close();
  }, []);
  useEffect(() => drawing.current?.show(graph, chosen?.key ?? null), [graph, chosen]);

  /** Steps through the edges in the order of the text. */
  const step = (by: number) => {
    const { edges, nodes } = graph;
    if (edges.length === 0) return;
    const place = pointed.current === null ? (by > 0 ? -1 : 0) : pointed.current;
    const next = (place + by + edges.length) % edges.length;
    pointed.current = next;
    drawing.current?.point(next);
    const { from, to, label, triples: own } = edges[next];
    setTold(texts.edge(nodes[from].name, label, nodes[to].name, own.length));
  };
  const pointed = useRef<number | null>(null);
  useEffect(() => {
    pointed.current = null;
  }, [graph]);

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys: Record<string, () => void> = {
      ArrowLeft: () => drawing.current?.move(MOVE, 0),
      ArrowRight: () => drawing.current?.move(-MOVE, 0),
      ArrowUp: () => drawing.current?.move(0, MOVE),
      ArrowDown: () => drawing.current?.move(0, -MOVE),
      "+": () => drawing.current?.zoom(ZOOM),
      "=": () => drawing.current?.zoom(ZOOM),
      "-": () => drawing.current?.zoom(1 / ZOOM),
      "0": () => drawing.current?.fit(),
      j: () => step(1),
      k: () => step(-1),
      Enter: () => pointed.current !== null && select(graph.edges[pointed.current]),
    };
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };

  return (
    <section class="graph" aria-label={texts.label}>
      <div class="graph-head">
        <p class="soft small number">
          {graph.edges.length === 0 ? texts.empty : texts.counts(graph.nodes.length, graph.edges.length)}
        </p>
        <div class="graph-tools">
          <button
            type="button"
            aria-label={texts.zoomOut}
            title={texts.zoomOut}
            onClick={() => drawing.current?.zoom(1 / ZOOM)}
          >
            <svg viewBox="0 0 16 16" aria-hidden="true">
              <path d="M3 8h10" />
            </svg>
          </button>
          <button
            type="button"
            aria-label={texts.zoomIn}
            title={texts.zoomIn}
            onClick={() => drawing.current?.zoom(ZOOM)}
          >
            <svg viewBox="0 0 16 16" aria-hidden="true">
              <path d="M3 8h10M8 3v10" />
            </svg>
          </button>
          <button type="button" onClick={() => drawing.current?.fit()}>
            {texts.fit}
          </button>
        </div>
      </div>
      {/* biome-ignore-start lint/a11y/noNoninteractiveTabindex: the drawing is moved and searched by keys */}
      <div
        class="graph-board"
        role="application"
        tabIndex={0}
        aria-label={texts.label}
        aria-describedby="graph-help"
        onKeyDown={onKeyDown}
        onBlur={() => drawing.current?.point(null)}
      >
        <canvas ref={canvas} />
      </div>
      {/* biome-ignore-end lint/a11y/noNoninteractiveTabindex: the drawing is moved and searched by keys */}
      <p class="only-read" id="graph-help">
        {texts.help}
      </p>
      <p class="only-read" aria-live="polite">
        {told}
      </p>
      <p class="soft small">
        {graph.hidden.nodes > 0 ? texts.hidden(graph.hidden.nodes, graph.hidden.edges) : texts.keys}
      </p>
    </section>
  );
}
