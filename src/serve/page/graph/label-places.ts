/** A rectangle in CSS pixels. */
export interface Rectangle {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Which parts of a drawing are written on. */
export interface LabelPlaces {
  /** Takes a rectangle, whatever is there. */
  take(one: Rectangle): void;
  /** Takes the first of some rectangles that is within the drawing and free; null where none is. */
  takeFirst(choices: readonly Rectangle[]): Rectangle | null;
}

/** Side of the squares that rectangles are looked up by. */
const CELL = 32;

export function createLabelPlaces(width: number, height: number): LabelPlaces {
  const cells = new Map<number, Rectangle[]>();
  const columns = Math.ceil(width / CELL) + 1;
  const cellsOf = ({ x, y, width: w, height: h }: Rectangle): number[] => {
    const found: number[] = [];
    for (let row = Math.floor(y / CELL); row <= Math.floor((y + h) / CELL); row++) {
      for (let column = Math.floor(x / CELL); column <= Math.floor((x + w) / CELL); column++) {
        found.push(row * columns + column);
      }
    }
    return found;
  };
  const isIn = ({ x, y, width: w, height: h }: Rectangle) => x >= 0 && y >= 0 && x + w <= width && y + h <= height;
  const take = (one: Rectangle) => {
    for (const cell of cellsOf(one)) {
      const own = cells.get(cell);
      if (own) own.push(one);
      else cells.set(cell, [one]);
    }
  };
  const isFree = (one: Rectangle) =>
    cellsOf(one).every((cell) => cells.get(cell)?.every((other) => !meets(one, other)) ?? true);
  return {
    take,
    takeFirst(choices) {
      const found = choices.find((one) => isIn(one) && isFree(one)) ?? null;
      if (found) take(found);
      return found;
    },
  };
}

const meets = (a: Rectangle, b: Rectangle) =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
