import { UserError } from "../base/errors.ts";
import { createChain, createJoins, type Joins, joinPairs } from "./join-pairs.ts";
import type { PrefixTrie } from "./prefix-trie.ts";
import { NORMAL, type SentencePieceModel, UNUSED } from "./sentencepiece-model.ts";

/** Bounds the work of loading: the sum of the squared lengths of all pieces in characters (real models stay under 2^24). */
const MAX_SPLIT_WORK = 2 ** 28;
/** Texts up to this length share one set of buffers; a longer text gets buffers of its own, which are freed after it. */
const SHARED_BUFFER_UNITS = 1 << 16;

/**
 * Cuts normalised text into symbols. A symbol is the id of a piece or, for a character that is no piece, −1 − its code point.
 * Not reentrant: buffers are shared.
 */
export type Segmenter = (normalized: string) => number[];

/** Symbols of single characters. Those from `pieceCount` on are no pieces by themselves but occur in longer ones. */
interface Characters {
  basic: Int32Array;
  astral: Map<number, number>;
  codePoints: number[];
  pieceCount: number;
}

/**
 * Prepares byte-pair encoding exactly as SentencePiece's bpe_model.cc does it: the pair with the best score is joined first, the leftmost of
 * equals; user-defined symbols (`userDefinedIds` by key of `userDefined`) never join; an unused piece is split again into the pair that last
 * formed it. Throws a UserError when the pieces are so long that preparing would not end.
 */
export function createSegmenter(
  model: SentencePieceModel,
  userDefined: PrefixTrie,
  userDefinedIds: readonly number[],
): Segmenter {
  const { types } = model.pieces;
  const { characters, joins } = findPairs(model);
  const hasUnused = types.includes(UNUSED);
  const shared = createChain(SHARED_BUFFER_UNITS);

  return (text) => {
    const chain = text.length <= SHARED_BUFFER_UNITS ? shared : createChain(text.length);
    const { symbols, next } = chain;
    /** Unused piece → the pair that last formed it. */
    const origins = new Map<number, [number, number]>();
    const noteUnused = (piece: number, left: number, right: number): void => {
      if (types[piece] === UNUSED) origins.set(piece, [left, right]);
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
    joinPairs(joins, chain, count, hasUnused ? noteUnused : undefined);

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
function findPairs(model: SentencePieceModel): { characters: Characters; joins: Joins } {
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
  const ranks = rankPieces(model.pieces.scores);
  return {
    characters,
    joins: createJoins(
      lefts,
      rights,
      pieces,
      pieces.map((piece) => ranks[piece]),
    ),
  };
}

/** Ranks by score, best first; equal scores share a rank. */
function rankPieces(scores: Float32Array): Int32Array {
  const ranks = new Map<number, number>();
  for (const score of scores.slice().sort().reverse()) if (!ranks.has(score)) ranks.set(score, ranks.size);
  return Int32Array.from(scores, (score) => ranks.get(score) as number);
}
