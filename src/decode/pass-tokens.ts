import type { AttentionSegment, KeySpan } from "../compute/backend.ts";
import type { RowSpan } from "./cache-rows.ts";

/** The tokens of one pass with a key/value cache. */
export interface PassTokens {
  ids: number[];
  /** Where each token's keys and values are written. */
  cacheRows: number[];
  segments: AttentionSegment[];
  /** Rows with wanted logits. */
  outputRows: number[];
}

export const emptyPass = (): PassTokens => ({ ids: [], cacheRows: [], segments: [], outputRows: [] });

/** Adds tokens that follow each other, behind `context`; returns their keys. The first `bidirectional` ones see each other. */
export function addChain(
  pass: PassTokens,
  tokens: ArrayLike<number>,
  { start, length }: RowSpan,
  { context, position, bidirectional }: { context: readonly KeySpan[]; position: number; bidirectional?: number },
): KeySpan {
  pass.segments.push({ start: pass.ids.length, length, keyStart: start, position, context, bidirectional });
  for (let i = 0; i < length; i++) {
    pass.ids.push(tokens[i]);
    pass.cacheRows.push(start + i);
  }
  return { start, length, position };
}

/**
 * Adds a tree of tokens behind `context`: token i follows token `parents[i]`, or the context where that is −1, and sees its own ancestors only.
 * `rows` are the cache rows of all of them. A chain without a fork in adjacent rows is one segment.
 */
export function addTree(
  pass: PassTokens,
  tree: { tokens: readonly number[]; parents: readonly number[] },
  rows: readonly number[],
  context: readonly KeySpan[],
  position: number,
): void {
  const children = new Int32Array(tree.tokens.length);
  for (const parent of tree.parents) if (parent >= 0) children[parent]++;
  const chains: { segment: AttentionSegment; above: readonly KeySpan[] }[] = [];
  for (const [i, token] of tree.tokens.entries()) {
    const parent = tree.parents[i];
    const chain = parent >= 0 ? chains[parent] : null;
    const row = pass.ids.length;
    pass.ids.push(token);
    pass.cacheRows.push(rows[i]);
    if (chain && parent === i - 1 && children[parent] === 1 && rows[i] === rows[parent] + 1) {
      chain.segment.length++;
      chains.push(chain);
      continue;
    }
    const above = chain ? [...chain.above, keysOf(chain.segment)] : context;
    const depth = chain ? chain.segment.position + chain.segment.length : position;
    const segment = { start: row, length: 1, keyStart: rows[i], position: depth, context: above };
    pass.segments.push(segment);
    chains.push({ segment, above });
  }
}

const keysOf = ({ keyStart, length, position }: AttentionSegment): KeySpan => ({ start: keyStart, length, position });

/** Spans of cache rows as the keys of tokens that follow each other from `position` on; rows next to each other are one span. */
export function spansOf(rows: readonly number[], position: number): KeySpan[] {
  const spans: { start: number; length: number; position: number }[] = [];
  for (const [i, row] of rows.entries()) {
    const last = spans[spans.length - 1];
    if (last && last.start + last.length === row) last.length++;
    else spans.push({ start: row, length: 1, position: position + i });
  }
  return spans;
}
