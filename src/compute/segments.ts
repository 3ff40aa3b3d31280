import type { AttentionSegment, KeySpan } from "./backend.ts";

// The rows that segments name, with their sequence positions.

/** The spans of keys that a segment sees, its own rows last. */
export function keySpans({ length, keyStart, position, context }: AttentionSegment): KeySpan[] {
  return [...context, { start: keyStart, length, position }];
}

/** How many of its own keys row i of a segment sees; they are the first ones. */
export function ownKeysSeen({ bidirectional = 0 }: AttentionSegment, i: number): number {
  return i < bidirectional ? bidirectional : i + 1;
}

/** The position of every query row [rows]; 0 outside of the segments. */
export function queryPositions(segments: readonly AttentionSegment[], rows: number): Int32Array {
  return positionsOf(segments, rows);
}

/** The position of every key row [rows]; 0 where no segment sees it. */
export function keyPositions(segments: readonly AttentionSegment[], rows: number): Int32Array {
  return positionsOf(segments.flatMap(keySpans), rows);
}

function positionsOf(spans: readonly KeySpan[], rows: number): Int32Array {
  const positions = new Int32Array(rows);
  for (const { start, length, position } of spans) {
    for (let i = 0; i < length; i++) positions[start + i] = position + i;
  }
  return positions;
}
