import { describe, expect, it } from "vitest";
import { type ArcPiece, type DrawnMark, labelWidth, piecePath, placeArcs } from "./arcs.ts";

const mark = (line: number, left: number, right: number): DrawnMark => ({ line, left, right });
const arc = (from: number, to: number, width = 24) => ({ from, to, labelWidth: width });

describe("arcs over a text", () => {
  it("lie over each other, the short one below", () => {
    const marks = [mark(0, 0, 40), mark(0, 100, 140), mark(0, 300, 340)];
    const { pieces, levels } = placeArcs(marks, [arc(0, 2), arc(0, 1), arc(2, 1)], 400);
    expect(levels).toBe(2);
    expect(pieces.map(({ level }) => level)).toEqual([1, 0, 0]);
    // Ends at one mention are apart, and the one that goes further is outside: no stem crosses a line.
    expect(pieces[0].left).toBeLessThan(pieces[1].left);
    expect(pieces[1].right).toBeLessThan(pieces[2].left);
    expect(pieces[2]).toMatchObject({ leftEnd: "to", rightEnd: "from" });
  });

  it("are apart where their labels are wider than they are", () => {
    const marks = [mark(0, 0, 16), mark(0, 20, 36), mark(0, 50, 66), mark(0, 70, 86)];
    const apart = placeArcs(marks, [arc(0, 1, 12), arc(2, 3, 12)], 400);
    expect(apart.levels).toBe(1);
    const { pieces, levels } = placeArcs(marks, [arc(0, 1, 60), arc(2, 3, 60)], 400);
    expect(levels).toBe(2);
    expect(Math.min(...pieces.map(({ labelX }) => (labelX as number) - 30))).toBeGreaterThanOrEqual(0);
  });

  it("leave a line at its end and come in at the start of the other one", () => {
    const marks = [mark(0, 300, 340), mark(2, 60, 100)];
    const { pieces } = placeArcs(marks, [arc(0, 1), arc(1, 0)], 400);
    expect(pieces.map(({ line, leftEnd, rightEnd }) => [line, leftEnd, rightEnd])).toEqual([
      [0, "from", null],
      [2, null, "to"],
      [0, "to", null],
      [2, null, "from"],
    ]);
    expect(pieces.filter(({ labelX }) => labelX !== null)).toHaveLength(2);
    expect(new Set(pieces.filter(({ line }) => line === 0).map(({ level }) => level))).toEqual(new Set([0, 1]));
  });

  it("never meet another one of their level", () => {
    const marks = Array.from({ length: 9 }, (_, i) => mark(i % 3, 40 * i, 40 * i + 30));
    const all = marks.flatMap((_, a) => marks.slice(a + 1).map((_, b) => arc(a, a + 1 + b)));
    const { pieces, levels } = placeArcs(marks, all, 400);
    const meets = (a: ArcPiece, b: ArcPiece) =>
      a !== b && a.line === b.line && a.level === b.level && a.left < b.right && b.left < a.right;
    expect(pieces.filter((a) => pieces.some((b) => meets(a, b)))).toEqual([]);
    expect(levels).toBeLessThanOrEqual(all.length);
  });

  it("have paths and widths", () => {
    const piece = placeArcs([mark(0, 0, 20), mark(0, 100, 120)], [arc(0, 1)], 200).pieces[0];
    expect(piecePath(piece, 10, 30)).toBe("M10 30V16Q10 10 16 10H104Q110 10 110 16V30");
    expect(piecePath({ ...piece, rightEnd: null }, 10, 30)).toBe("M10 30V16Q10 10 16 10H110");
    expect(labelWidth("收购", 12)).toBe(24);
    expect(labelWidth("acquire", 10)).toBe(41);
  });
});
