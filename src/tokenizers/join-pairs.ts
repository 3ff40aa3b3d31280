/**
 * The result and the rank of each pair of symbols that can be joined: open addressing over (left, right), −1 as left where a slot is free. A
 * lower rank is joined first. Symbols that join are not negative.
 */
export interface Joins {
  mask: number;
  lefts: Int32Array;
  rights: Int32Array;
  pieces: Int32Array;
  ranks: Int32Array;
}

/** A text on its way from characters or bytes to pieces: a chain of symbols, and the pairs in it that could join. */
export interface Chain {
  symbols: Int32Array;
  next: Int32Array;
  prev: Int32Array;
  /** The slot of the pair that begins here, or −1. */
  joined: Int32Array;
  heap: Float64Array;
}

const LEFT_RANGE = 2 ** 32;

export function createChain(mostSymbols: number): Chain {
  return {
    symbols: new Int32Array(mostSymbols),
    next: new Int32Array(mostSymbols),
    prev: new Int32Array(mostSymbols),
    joined: new Int32Array(mostSymbols),
    // Every symbol begins one pair, and every join adds at most two.
    heap: new Float64Array(3 * mostSymbols),
  };
}

/** Makes the table of joins: `lefts[i]` and `rights[i]` give `pieces[i]` with rank `ranks[i]`; of equal pairs the last counts. */
export function createJoins(
  lefts: ArrayLike<number>,
  rights: ArrayLike<number>,
  pieces: ArrayLike<number>,
  ranks: ArrayLike<number>,
): Joins {
  let size = 16;
  while (size < 2 * pieces.length) size *= 2;
  const joins: Joins = {
    mask: size - 1,
    lefts: new Int32Array(size).fill(-1),
    rights: new Int32Array(size),
    pieces: new Int32Array(size),
    ranks: new Int32Array(size),
  };
  for (let i = 0; i < pieces.length; i++) {
    const slot = slotOf(joins, lefts[i], rights[i]);
    joins.lefts[slot] = lefts[i];
    joins.rights[slot] = rights[i];
    joins.pieces[slot] = pieces[i];
    joins.ranks[slot] = ranks[i];
  }
  return joins;
}

/**
 * Byte-pair encoding: joins the first `count` symbols of a chain until no pair can be joined, the pair with the lowest rank first, the
 * leftmost of equals. The result is read along `next`, from 0 to `count`. `onPair` is called for every pair that could be joined.
 */
export function joinPairs(
  joins: Joins,
  { symbols, next, prev, joined, heap }: Chain,
  count: number,
  onPair?: (piece: number, left: number, right: number) => void,
): void {
  const { lefts, pieces, ranks } = joins;
  let heapSize = 0;
  const offerPair = (left: number, right: number): void => {
    joined[left] = -1;
    if (symbols[left] < 0 || symbols[right] < 0) return;
    const slot = slotOf(joins, symbols[left], symbols[right]);
    if (lefts[slot] < 0) return;
    joined[left] = slot;
    onPair?.(pieces[slot], symbols[left], symbols[right]);
    heapSize = push(heap, heapSize, ranks[slot] * LEFT_RANGE + left);
  };

  for (let i = 0; i < count; i++) {
    prev[i] = i - 1;
    next[i] = i + 1;
    joined[i] = -1;
  }
  for (let i = 1; i < count; i++) offerPair(i - 1, i);
  while (heapSize > 0) {
    const key = heap[0];
    heapSize = dropTop(heap, heapSize);
    const rank = Math.floor(key / LEFT_RANGE);
    const left = key - rank * LEFT_RANGE;
    const slot = joined[left];
    // A key says only "rank r at place p": it is stale unless the pair now at p has that rank.
    if (slot < 0 || ranks[slot] !== rank) continue;
    const right = next[left];
    symbols[left] = pieces[slot];
    joined[left] = -1;
    joined[right] = -1;
    const after = next[right];
    next[left] = after;
    if (prev[left] >= 0) offerPair(prev[left], left);
    if (after < count) {
      prev[after] = left;
      offerPair(left, after);
    }
  }
}

/** The slot of a pair, or the free slot for it. */
function slotOf({ mask, lefts, rights }: Joins, left: number, right: number): number {
  const mixed = Math.imul(Math.imul(left, 0x9e3779b1) ^ right, 0x85ebca6b);
  for (let slot = (mixed ^ (mixed >>> 15)) & mask; ; slot = (slot + 1) & mask) {
    if (lefts[slot] < 0 || (lefts[slot] === left && rights[slot] === right)) return slot;
  }
}

/** Adds a key to a binary heap with the smallest on top; returns the new size. */
function push(heap: Float64Array, size: number, key: number): number {
  let at = size;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent] <= key) break;
    heap[at] = heap[parent];
    at = parent;
  }
  heap[at] = key;
  return size + 1;
}

/** Removes the top of the heap; returns the new size. */
function dropTop(heap: Float64Array, size: number): number {
  const last = size - 1;
  const key = heap[last];
  let at = 0;
  for (let child = 1; child < last; child = 2 * at + 1) {
    if (child + 1 < last && heap[child + 1] < heap[child]) child++;
    if (heap[child] >= key) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = key;
  return last;
}
