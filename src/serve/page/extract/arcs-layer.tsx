import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { type ArcPiece, type DrawnMark, labelWidth, piecePath, placeArcs } from "./arcs.ts";
import type { PageTriple } from "./page-triple.ts";
import type { Selection } from "./selection.ts";
import type { ExtractTexts } from "./texts.ts";

interface ArcsProps {
  triples: readonly PageTriple[];
  /** Changes with the mentions. */
  layout: string;
  selection: Selection;
  texts: ExtractTexts;
  onTriple(triple: PageTriple): void;
  children: ComponentChildren;
}

/** More arcs would hide the text. */
const MOST_ARCS = 12;
const LABEL_SIZE = 12;
/** Pixels from the text to the first level, and from level to level. */
const FIRST = 14;
const STEP = 20;
const TIP = 3;

interface Drawing {
  width: number;
  height: number;
  pieces: readonly (ArcPiece & { top: number; bottom: number })[];
}

/** A paragraph with arcs above its lines. A line gets room for as much as lies over each other above it. */
export function Arcs({ triples, layout, selection, texts, onTriple, children }: ArcsProps) {
  const paragraph = useRef<HTMLParagraphElement>(null);
  const [drawing, setDrawing] = useState<Drawing | null>(null);
  const [width, setWidth] = useState(0);
  const drawn = triples.length > MOST_ARCS ? mostProbable(triples) : triples;
  const key = drawn.map(({ key, label }) => `${key} ${label}`).join("|");

  useLayoutEffect(() => {
    const element = paragraph.current;
    if (element === null) return;
    const observer = new ResizeObserver(([{ contentRect }]) => setWidth(Math.round(contentRect.width)));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  // The width decides where lines end, the key what is drawn.
  useLayoutEffect(() => {
    if (paragraph.current !== null) setDrawing(draw(paragraph.current, drawn));
  }, [key, layout, width]);

  const chosen = selection?.kind === "pair" ? selection.pair.key : null;
  return (
    <p ref={paragraph} class="sentence-text" lang="zh-CN">
      {children}
      {drawing && (
        <svg class="arcs" width={drawing.width} height={drawing.height} aria-hidden={drawn.length === 0}>
          <title>{texts.relation}</title>
          {drawn.map((triple, i) => (
            <Arc
              key={triple.key}
              triple={triple}
              pieces={drawing.pieces.filter(({ arc }) => arc === i)}
              isChosen={triple.key === chosen}
              texts={texts}
              onTriple={onTriple}
            />
          ))}
        </svg>
      )}
      {triples.length > drawn.length && (
        <span class="more-arcs soft small">{texts.moreArcs(triples.length - drawn.length)}</span>
      )}
    </p>
  );
}

interface ArcProps {
  triple: PageTriple;
  pieces: Drawing["pieces"];
  isChosen: boolean;
  texts: ExtractTexts;
  onTriple(triple: PageTriple): void;
}

function Arc({ triple, pieces, isChosen, texts, onTriple }: ArcProps) {
  const { head, tail, label, verdict, isOfModel, probability } = triple;
  const percent = isOfModel ? ` ${(100 * probability).toFixed(1)}%` : "";
  const said = verdict === null ? "" : ` ${texts.verdicts[verdict]}`;
  const weak = isOfModel && verdict === null && probability < 0.5 ? " is-weak" : "";
  return (
    // SVG has no button.
    // biome-ignore lint/a11y/useSemanticElements: see above
    <g
      class={`arc${isChosen ? " is-chosen" : ""}${verdict === null ? "" : ` is-${verdict}`}${weak}`}
      role="button"
      tabindex={-1}
      data-item=""
      aria-label={`${head.text} ${label} ${tail.text}${percent}${said}`}
      aria-pressed={isChosen}
      onClick={() => onTriple(triple)}
      onKeyDown={(event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        onTriple(triple);
      }}
    >
      {pieces.map((piece) => (
        <g key={piece.line}>
          <path class="arc-line" d={piecePath(piece, piece.top, piece.bottom)} />
          {tipOf(piece)}
          {piece.labelX !== null && <Label x={piece.labelX} y={piece.top} label={label} />}
        </g>
      ))}
    </g>
  );
}

function Label({ x, y, label }: { x: number; y: number; label: string }) {
  const width = labelWidth(label, LABEL_SIZE) + 8;
  return (
    <>
      <rect class="arc-ground" x={x - width / 2} y={y - 9} width={width} height={18} />
      <text class="arc-label" x={x} y={y} dy="0.36em" font-size={LABEL_SIZE}>
        {label}
      </text>
    </>
  );
}

/** The arrow at the tail. */
function tipOf({ left, right, leftEnd, rightEnd, bottom }: Drawing["pieces"][number]) {
  const x = leftEnd === "to" ? left : rightEnd === "to" ? right : null;
  return x === null ? null : <path class="arc-tip" d={`M${x} ${bottom + TIP}l-3.5 -6h7Z`} />;
}

function mostProbable(triples: readonly PageTriple[]): PageTriple[] {
  const value = ({ isOfModel, probability }: PageTriple) => (isOfModel ? probability : 2);
  return triples.toSorted((a, b) => value(b) - value(a)).slice(0, MOST_ARCS);
}

/** Measures the mentions, makes room above the lines, and places the arcs. */
function draw(paragraph: HTMLElement, triples: readonly PageTriple[]): Drawing | null {
  const elements = [...paragraph.querySelectorAll<HTMLElement>(".mention")];
  const rise = (element: HTMLElement, levels: number) =>
    element.style.setProperty("--rise", levels === 0 ? "0px" : `${levels * STEP + FIRST - 4}px`);
  if (triples.length === 0) {
    for (const element of elements) rise(element, 0);
    return null;
  }
  const marks = new Map(elements.map((element, i) => [Number(element.dataset.at), i]));
  const box = paragraph.getBoundingClientRect();
  const rects = elements.map((element) => element.getClientRects()[0] ?? box);
  const tops = [...new Set(rects.map(({ top }) => Math.round(top)))].sort((a, b) => a - b);
  const lines: number[] = [];
  for (const [i, top] of tops.entries()) lines.push(i > 0 && top - tops[i - 1] < 6 ? lines[i - 1] : i);
  const drawnMarks: DrawnMark[] = rects.map(({ top, left, right }) => ({
    line: lines[tops.indexOf(Math.round(top))],
    left: left - box.left,
    right: right - box.left,
  }));
  const known: { arc: number; from: number; to: number; labelWidth: number }[] = [];
  for (const [arc, { head, tail, label }] of triples.entries()) {
    const [from, to] = [marks.get(head.startUtf16), marks.get(tail.startUtf16)];
    if (from === undefined || to === undefined || from === to) continue;
    known.push({ arc, from, to, labelWidth: labelWidth(label, LABEL_SIZE) + 8 });
  }
  const { pieces } = placeArcs(drawnMarks, known, box.width);
  const levels = new Map<number, number>();
  for (const { line, level } of pieces) levels.set(line, Math.max(levels.get(line) ?? 0, level + 1));
  for (const [i, element] of elements.entries()) rise(element, levels.get(drawnMarks[i].line) ?? 0);
  const after = paragraph.getBoundingClientRect();
  const lineTops = new Map(
    elements.map((element, i) => [drawnMarks[i].line, (element.getClientRects()[0] ?? after).top - after.top]),
  );
  return {
    width: after.width,
    height: after.height,
    pieces: pieces.map((piece) => {
      const bottom = (lineTops.get(piece.line) ?? 0) - TIP;
      return { ...piece, arc: known[piece.arc].arc, bottom, top: bottom - FIRST - piece.level * STEP };
    }),
  };
}
