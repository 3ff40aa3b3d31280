import type { Span } from "../example.ts";

/** UTF-16 offsets of all code points of a text, its end included. */
export function utf16Offsets(text: string): Uint32Array {
  const offsets = new Uint32Array(text.length + 1);
  let count = 0;
  let at = 0;
  for (const character of text) {
    offsets[count++] = at;
    at += character.length;
  }
  offsets[count++] = at;
  return offsets.subarray(0, count);
}

/** The span whose text is `name`, when start and end count code points or, failing that, UTF-16 units; null when neither fits. */
export function spanOfName(text: string, toUtf16: Uint32Array, start: number, end: number, name: string): Span | null {
  if (end < toUtf16.length) {
    const span = { start: toUtf16[start], end: toUtf16[end] };
    if (text.slice(span.start, span.end) === name) return span;
  }
  return text.slice(start, end) === name ? { start, end } : null;
}
