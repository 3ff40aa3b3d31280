/** Where a mention is drawn. Lines count from 0; x in pixels. */
export interface DrawnMark {
  line: number;
  left: number;
  right: number;
}

/** A relation to draw, from mark to mark (indexes). */
export interface ArcRequest {
  from: number;
  to: number;
  /** Width of its label in pixels. */
  labelWidth: number;
}

/** A piece of an arc on one line. An arc between two lines has two, which leave the text at its edges. */
export interface ArcPiece {
  arc: number;
  line: number;
  left: number;
  right: number;
  /** 0 is next to the text. */
  level: number;
  /** Whether the end of this side is at a mention; the other end is at the edge of the text. */
  leftEnd: "from" | "to" | null;
  rightEnd: "from" | "to" | null;
  /** The middle of its label; null for the piece without. */
  labelX: number | null;
}

/** Space between neighbours of one level. */
const GAP = 8;
/** Ends of several arcs at one mention are apart by at most this. */
const END_STEP = 9;

/**
 * Places arcs above the lines of a text of this width, so that none lies on another one: short ones below long ones. Ends at one mention are
 * spread over it, those that go left on the left, so that stems cross few lines. Returns the pieces, in the order of the arcs, and the number of levels.
 */
export function placeArcs(
  marks: readonly DrawnMark[],
  arcs: readonly ArcRequest[],
  width: number,
): { pieces: ArcPiece[]; levels: number } {
  const ends = endsOf(marks, arcs);
  const pieces = arcs.flatMap((arc, i) => piecesOf(marks, arc, i, ends, width));
  const lines = new Map<number, ArcPiece[]>();
  for (const piece of pieces) lines.set(piece.line, [...(lines.get(piece.line) ?? []), piece]);
  let levels = 0;
  for (const own of lines.values()) {
    const taken: { left: number; right: number }[][] = [];
    // A piece that lies inside of another one is shorter, so it comes first and is lower.
    for (const piece of own.sort((a, b) => a.right - a.left - (b.right - b.left) || a.left - b.left)) {
      const extent = extentOf(piece, arcs[piece.arc].labelWidth);
      let level = 0;
      while (taken[level]?.some((one) => one.left < extent.right + GAP && extent.left < one.right + GAP)) level++;
      taken[level] = [...(taken[level] ?? []), extent];
      piece.level = level;
      levels = Math.max(levels, level + 1);
    }
  }
  return { pieces, levels };
}

function extentOf({ left, right, labelX }: ArcPiece, labelWidth: number): { left: number; right: number } {
  if (labelX === null) return { left, right };
  return { left: Math.min(left, labelX - labelWidth / 2), right: Math.max(right, labelX + labelWidth / 2) };
}

const middle = ({ left, right }: DrawnMark) => (left + right) / 2;

/** The x of both ends of every arc. */
function endsOf(marks: readonly DrawnMark[], arcs: readonly ArcRequest[]): { from: number; to: number }[] {
  const ends = arcs.map(() => ({ from: 0, to: 0 }));
  for (const [at, mark] of marks.entries()) {
    const own = arcs.flatMap(({ from, to }, arc) => [
      ...(from === at ? [{ arc, end: "from" as const, other: marks[to] }] : []),
      ...(to === at ? [{ arc, end: "to" as const, other: marks[from] }] : []),
    ]);
    const position = (other: DrawnMark) => (other.line - mark.line) * 1e6 + middle(other);
    const here = position(mark);
    // Those that go left come first. The long one of each side is in the middle, so that it goes around the short ones.
    const isRight = ({ other }: { other: DrawnMark }) => Number(position(other) > here);
    own.sort((a, b) => isRight(a) - isRight(b) || position(b.other) - position(a.other) || a.arc - b.arc);
    const step = Math.min(END_STEP, (mark.right - mark.left) / Math.max(1, own.length));
    for (const [i, { arc, end }] of own.entries()) {
      ends[arc][end] = middle(mark) + (i - (own.length - 1) / 2) * step;
    }
  }
  return ends;
}

function piecesOf(
  marks: readonly DrawnMark[],
  { from, to, labelWidth }: ArcRequest,
  arc: number,
  ends: readonly { from: number; to: number }[],
  width: number,
): ArcPiece[] {
  const within = (x: number) => Math.min(Math.max(x, labelWidth / 2), Math.max(labelWidth / 2, width - labelWidth / 2));
  const [a, b] = [marks[from], marks[to]];
  const { from: x1, to: x2 } = ends[arc];
  if (a.line === b.line) {
    const isForward = x1 <= x2;
    const [left, right] = isForward ? [x1, x2] : [x2, x1];
    const [leftEnd, rightEnd] = isForward ? (["from", "to"] as const) : (["to", "from"] as const);
    return [{ arc, line: a.line, left, right, level: 0, leftEnd, rightEnd, labelX: within((left + right) / 2) }];
  }
  const isForward = a.line < b.line;
  const [upper, lower] = isForward ? [x1, x2] : [x2, x1];
  const [upperEnd, lowerEnd] = isForward ? (["from", "to"] as const) : (["to", "from"] as const);
  const [upperLine, lowerLine] = isForward ? [a.line, b.line] : [b.line, a.line];
  const isLabelUp = width - upper >= lower;
  return [
    {
      ...{ arc, line: upperLine, left: upper, right: width, level: 0, leftEnd: upperEnd, rightEnd: null },
      labelX: isLabelUp ? within((upper + width) / 2) : null,
    },
    {
      ...{ arc, line: lowerLine, left: 0, right: lower, level: 0, leftEnd: null, rightEnd: lowerEnd },
      labelX: isLabelUp ? null : within(lower / 2),
    },
  ];
}

/** The path of a piece: up from the text at `bottom`, along at `top`, and down. */
export function piecePath({ left, right, leftEnd, rightEnd }: ArcPiece, top: number, bottom: number): string {
  const radius = Math.min(6, (right - left) / 2, bottom - top);
  const start =
    leftEnd === null ? `M${left} ${top}` : `M${left} ${bottom}V${top + radius}Q${left} ${top} ${left + radius} ${top}`;
  const end = rightEnd === null ? `H${right}` : `H${right - radius}Q${right} ${top} ${right} ${top + radius}V${bottom}`;
  return start + end;
}

/** Width of a label in pixels, near enough to keep labels apart: wide characters are as wide as the type is high. */
export function labelWidth(label: string, size: number): number {
  let width = 0;
  for (const character of label) width += character.charCodeAt(0) > 0x2e7f ? size : 0.58 * size;
  return Math.ceil(width);
}
