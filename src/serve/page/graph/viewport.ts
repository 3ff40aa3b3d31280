/** Which part of the plane is seen: a point of the plane is drawn at scale · point + offset, in CSS pixels. */
export interface Viewport {
  scale: number;
  x: number;
  y: number;
}

export const LEAST_SCALE = 0.05;
export const MOST_SCALE = 4;
/** Around all of a graph: names are half beside their dots. A narrow view has less. */
const MARGIN = 56;
const MARGIN_SHARE = 0.11;

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** All of a box in the middle of a view, not enlarged beyond `most`. */
export function fitted({ left, top, right, bottom }: Box, width: number, height: number, most = 1.4): Viewport {
  const [w, h] = [Math.max(1, right - left), Math.max(1, bottom - top)];
  const margin = Math.min(MARGIN, MARGIN_SHARE * width);
  const room = Math.min((width - 2 * margin) / w, (height - 2 * margin) / h);
  const scale = Math.min(most, Math.max(LEAST_SCALE, room));
  return { scale, x: width / 2 - (scale * (left + right)) / 2, y: height / 2 - (scale * (top + bottom)) / 2 };
}

/** Zooms so that the point of the plane under (atX, atY) stays there. */
export function zoomed({ scale, x, y }: Viewport, factor: number, atX: number, atY: number): Viewport {
  const next = Math.min(MOST_SCALE, Math.max(LEAST_SCALE, scale * factor));
  return { scale: next, x: atX - ((atX - x) * next) / scale, y: atY - ((atY - y) * next) / scale };
}

export const moved = ({ scale, x, y }: Viewport, dx: number, dy: number): Viewport => ({ scale, x: x + dx, y: y + dy });

export const planeOf = ({ scale, x, y }: Viewport, atX: number, atY: number) => ({
  x: (atX - x) / scale,
  y: (atY - y) / scale,
});

/** The least box around points; a box of no size for none. */
export function boxOf(xs: ArrayLike<number>, ys: ArrayLike<number>): Box {
  const box = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
  for (let i = 0; i < xs.length; i++) {
    box.left = Math.min(box.left, xs[i]);
    box.right = Math.max(box.right, xs[i]);
    box.top = Math.min(box.top, ys[i]);
    box.bottom = Math.max(box.bottom, ys[i]);
  }
  return xs.length === 0 ? { left: 0, top: 0, right: 0, bottom: 0 } : box;
}
