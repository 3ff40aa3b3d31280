import { UserError } from "../base/errors.ts";
import type { PrefixTrie } from "./prefix-trie.ts";
import { NORMAL, type SentencePieceModel, UNUSED } from "./sentencepiece-model.ts";

/** Bounds the work of loading: the sum over the pieces of their squared length in characters (real models stay under 2^24). */
const MAX_SPLIT_WORK = 2 ** 28;
/** Texts up to this length share one set of buffers; longer ones get their own, which are then freed. */
const SHARED_BUFFER_UNITS = 1 << 16;
const LEFT_RANGE = 2 ** 32;

/**
 * Cuts normalised text into symbols. A symbol is the id of a piece or, for a character that is none, −1 − its code point.
 * Not safe to call again from inside itself: buffers are shared.
 */
export type Segmenter = (normalized: string) => number[];

/** Which pairs of symbols join into which piece: open addressing over (left, right). */
interface PairTable {
  mask: number;
  lefts: Int32Array;
  rights: Int32Array;
  pieces: Int32Array;
}

/** Symbols of single characters. Those from `pieceCount` on are characters that are no piece alone but stand in longer ones. */
interface Characters {
  basic: Int32Array;
  astral: Map<number, number>;
  codePoints: number[];
  pieceCount: number;
}

/**
 * Prepares byte-pair encoding exactly as SentencePiece's bpe_model.cc does it: the joinable pair with the best score goes first, of equals the
 * leftmost; user-defined symbols (`userDefinedIds` by key of `userDefined`) never join; an unused piece falls apart again into the
 * pair that last formed it. Throws a UserError when the pieces are so long that preparing would not end.
 */
export function createSegmenter(
  model: SentencePieceModel,
  userDefined: PrefixTrie,
  userDefinedIds: readonly number[],
): Segmenter {
  const { types } = model.pieces;
  const { characters, pairs } = findPairs(model);
  const ranks = rankPieces(model.pieces.scores);
  const hasUnused = types.includes(UNUSED);
  const shared = createBuffers(SHARED_BUFFER_UNITS);

  return (text) => {
    const { symbols, next, prev, joined, heap } =
      text.length <= SHARED_BUFFER_UNITS ? shared : createBuffers(text.length);
    /** Unused piece → the pair it was last seen to form from. */
    const origins = new Map<number, [number, number]>();
    let heapSize = 0;

    const offerPair = (left: number, right: number): void => {
      const piece = lookUp(pairs, symbols[left], symbols[right]);
      joined[left] = piece;
      if (piece < 0) return;
      if (hasUnused && types[piece] === UNUSED) origins.set(piece, [symbols[left], symbols[right]]);
      heapSize = push(heap, heapSize, ranks[piece] * LEFT_RANGE + left);
    };

    let count = 0;
    for (let at = 0; at < text.length; count++) {
      const key = userDefined.longestAt(text, at);
      if (key >= 0) {
        symbols[count] = userDefinedIds[key];
        at += userDefined.keys[key].length;
        continue;
      }
      const codePoint = text.codePointAt(at) as number;
      at += codePoint > 0xffff ? 2 : 1;
      symbols[count] = symbolOf(characters, codePoint);
    }
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
      const piece = joined[left];
      // A key says only "rank r at place p": it is stale unless the pair that stands there now has that rank.
      if (piece < 0 || ranks[piece] !== rank) continue;
      const right = next[left];
      symbols[left] = piece;
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

    const ids: number[] = [];
    for (let i = 0; i < count; i = next[i]) {
      if (hasUnused && types[symbols[i]] === UNUSED) pushParts(symbols[i], origins, ids);
      else ids.push(symbols[i]);
    }
    for (let i = 0; i < ids.length; i++) {
      if (ids[i] >= characters.pieceCount) ids[i] = -1 - characters.codePoints[ids[i] - characters.pieceCount];
    }
    return ids;
  };
}

function createBuffers(units: number) {
  return {
    symbols: new Int32Array(units),
    next: new Int32Array(units),
    prev: new Int32Array(units),
    joined: new Int32Array(units),
    // Every character starts one pair, and every join starts at most two more.
    heap: new Float64Array(3 * units),
  };
}

function pushParts(piece: number, origins: Map<number, [number, number]>, ids: number[]): void {
  const open = [piece];
  while (open.length > 0) {
    const symbol = open.pop() as number;
    const parts = origins.get(symbol);
    if (parts === undefined) ids.push(symbol);
    else open.push(parts[1], parts[0]);
  }
}

function symbolOf(characters: Characters, codePoint: number): number {
  if (codePoint > 0xffff) return characters.astral.get(codePoint) ?? -1 - codePoint;
  const symbol = characters.basic[codePoint];
  if (symbol >= 0) return symbol;
  // Half of a surrogate pair cannot be written as UTF-8.
  return codePoint >= 0xd800 && codePoint <= 0xdfff ? symbolOf(characters, 0xfffd) : -1 - codePoint;
}

/** Finds every way to cut a piece into two symbols. */
function findPairs(model: SentencePieceModel): { characters: Characters; pairs: PairTable } {
  const { texts, types } = model.pieces;
  const { ordinary } = model.ids;
  const characters: Characters = {
    basic: new Int32Array(0x10000).fill(-1),
    astral: new Map(),
    codePoints: [],
    pieceCount: texts.length,
  };
  const addCharacter = (codePoint: number, symbol: number): void => {
    if (codePoint > 0xffff) characters.astral.set(codePoint, symbol);
    else characters.basic[codePoint] = symbol;
  };
  // User-defined symbols are found before any joining and stay whole: they are neither part nor result of a pair.
  const joinable = (id: number) => types[id] === NORMAL || types[id] === UNUSED;
  let work = 0;
  for (let id = 0; id < texts.length; id++) {
    if (!joinable(id)) continue;
    const text = texts[id];
    work += text.length * text.length;
    if (work > MAX_SPLIT_WORK) {
      throw new UserError(`${model.name}: its pieces are too long (piece ${id} has ${text.length} characters).`);
    }
    const first = text.codePointAt(0) as number;
    if (text.length === (first > 0xffff ? 2 : 1)) addCharacter(first, id);
  }
  const symbolOfPart = (text: string): number => {
    const codePoint = text.codePointAt(0) as number;
    if (text.length > (codePoint > 0xffff ? 2 : 1)) {
      const id = ordinary.get(text);
      return id !== undefined && joinable(id) ? id : -1;
    }
    const known = symbolOf(characters, codePoint);
    if (known >= 0) return known;
    const symbol = texts.length + characters.codePoints.push(codePoint) - 1;
    addCharacter(codePoint, symbol);
    return symbol;
  };
  const lefts: number[] = [];
  const rights: number[] = [];
  const pieces: number[] = [];
  for (let id = 0; id < texts.length; id++) {
    if (!joinable(id)) continue;
    const text = texts[id];
    for (let cut = 1; cut < text.length; cut++) {
      const unit = text.charCodeAt(cut);
      if (unit >= 0xdc00 && unit <= 0xdfff) continue;
      const left = symbolOfPart(text.slice(0, cut));
      const right = left < 0 ? -1 : symbolOfPart(text.slice(cut));
      if (right < 0) continue;
      lefts.push(left);
      rights.push(right);
      pieces.push(id);
    }
  }
  return { characters, pairs: createPairTable(lefts, rights, pieces) };
}

function createPairTable(lefts: number[], rights: number[], pieces: number[]): PairTable {
  let size = 16;
  while (size < 2 * pieces.length) size *= 2;
  const table: PairTable = {
    mask: size - 1,
    lefts: new Int32Array(size).fill(-1),
    rights: new Int32Array(size),
    pieces: new Int32Array(size),
  };
  for (let i = 0; i < pieces.length; i++) {
    let slot = hash(lefts[i], rights[i]) & table.mask;
    while (table.lefts[slot] >= 0) slot = (slot + 1) & table.mask;
    table.lefts[slot] = lefts[i];
    table.rights[slot] = rights[i];
    table.pieces[slot] = pieces[i];
  }
  return table;
}

function hash(left: number, right: number): number {
  const mixed = Math.imul(Math.imul(left, 0x9e3779b1) ^ right, 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}

/** The piece that two symbols join into, or −1. */
function lookUp(table: PairTable, left: number, right: number): number {
  if (left < 0 || right < 0) return -1;
  for (let slot = hash(left, right) & table.mask; ; slot = (slot + 1) & table.mask) {
    const found = table.lefts[slot];
    if (found < 0) return -1;
    if (found === left && table.rights[slot] === right) return table.pieces[slot];
  }
}

/** Ranks by score, best first; equal scores share a rank. */
function rankPieces(scores: Float32Array): Int32Array {
  const ranks = new Map<number, number>();
  for (const score of scores.slice().sort().reverse()) if (!ranks.has(score)) ranks.set(score, ranks.size);
  return Int32Array.from(scores, (score) => ranks.get(score) as number);
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

/** Takes the top of the heap away; returns the new size. */
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
