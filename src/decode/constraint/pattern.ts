import { UserError } from "../../base/errors.ts";

/** Code points [from, to], both included. */
export type CodeRange = readonly [from: number, to: number];

/** A regular language of text: what an answer may be. */
export type Pattern =
  /** One character of some ranges. */
  | { kind: "set"; ranges: readonly CodeRange[] }
  | { kind: "text"; text: string }
  | { kind: "sequence"; parts: readonly Pattern[] }
  | { kind: "choice"; options: readonly Pattern[] }
  /** `most` null: without a bound. */
  | { kind: "repeat"; of: Pattern; least: number; most: number | null };

export const text = (value: string): Pattern => ({ kind: "text", text: value });
export const sequence = (...parts: Pattern[]): Pattern => ({ kind: "sequence", parts });
export const choice = (...options: Pattern[]): Pattern => ({ kind: "choice", options });
export const repeat = (of: Pattern, least: number, most: number | null): Pattern => ({
  kind: "repeat",
  of,
  least,
  most,
});
export const optional = (of: Pattern): Pattern => repeat(of, 0, 1);
export const EMPTY: Pattern = sequence();

const LAST_CODE_POINT = 0x10ffff;
const SURROGATES: CodeRange = [0xd800, 0xdfff];

/** Sorted ranges that do not touch, without halves of surrogate pairs. Throws a UserError for a set without a character. */
export function setOf(ranges: readonly CodeRange[]): Pattern {
  const merged = withoutRanges(mergedRanges(ranges), [SURROGATES]);
  if (merged.length === 0) throw new UserError("the pattern has a class without a character.");
  return { kind: "set", ranges: merged };
}

export function mergedRanges(ranges: readonly CodeRange[]): CodeRange[] {
  const merged: [number, number][] = [];
  for (const [from, to] of ranges.slice().sort((a, b) => a[0] - b[0])) {
    const last = merged[merged.length - 1];
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** All characters but these. */
export function complementOf(ranges: readonly CodeRange[]): CodeRange[] {
  return withoutRanges([[0, LAST_CODE_POINT]], mergedRanges(ranges));
}

/** Merged ranges without other merged ranges. */
export function withoutRanges(ranges: readonly CodeRange[], without: readonly CodeRange[]): CodeRange[] {
  let left: CodeRange[] = [...ranges];
  for (const [from, to] of without) {
    left = left.flatMap(([a, b]): CodeRange[] => {
      if (to < a || from > b) return [[a, b]];
      const parts: CodeRange[] = [];
      if (a < from) parts.push([a, from - 1]);
      if (b > to) parts.push([to + 1, b]);
      return parts;
    });
  }
  return left;
}
