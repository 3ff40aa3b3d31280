import { UserError } from "../base/errors.ts";
import { createChunker } from "./train-bpe-chunks.ts";
import { createPairs } from "./train-bpe-pairs.ts";

/** A text and its weight. */
export interface WeightedText {
  text: string;
  weight: number;
}

export interface BpeSettings {
  /** Number of pieces: marks, symbols, bytes, joins and characters. */
  pieces: number;
  /** Share of the text whose characters become pieces of their own; rarer ones are written in bytes. */
  coverage: number;
  /** Characters of the longest piece. */
  longest: number;
  /** Texts that are always pieces by themselves and never join a neighbour. */
  symbols: readonly string[];
}

/** The learnt pieces: joins in the order of joining, and characters, the most frequent first. */
export interface LearntPieces {
  joins: string[];
  characters: string[];
}

/** Marks (unknown, begin, end, padding) and byte pieces. */
export const RESERVED_PIECES = 4 + 256;

/**
 * Learns byte-pair encoding (Sennrich, Haddow & Birch 2016): repeatedly makes the most frequent pair of neighbouring pieces a piece. No piece
 * crosses a border of {@link createChunker}'s chunks. Of equally frequent pairs the first seen comes first, so the same text gives the same
 * pieces. Throws a UserError when there is no room for joins or not enough text for them.
 */
export async function learnPieces(
  texts: AsyncIterable<WeightedText> | Iterable<WeightedText>,
  settings: BpeSettings,
): Promise<LearntPieces> {
  const chunksOf = createChunker(settings.symbols);
  const weights = new Map<string, number>();
  for await (const { text, weight } of texts) {
    for (const chunk of chunksOf(text)) weights.set(chunk, (weights.get(chunk) ?? 0) + weight);
  }
  const characters = coveredCharacters(weights, settings.coverage);
  const room = settings.pieces - RESERVED_PIECES - settings.symbols.length - characters.length;
  if (room < 0) {
    throw new UserError(
      `${settings.pieces} pieces have no room for ${characters.length} characters, ${settings.symbols.length} symbols and ${RESERVED_PIECES} marks and bytes.`,
      { hint: "More pieces, or a smaller coverage." },
    );
  }
  const joins = joinPairs(weights, characters, room, settings.longest);
  if (joins.length < room) {
    throw new UserError(`The text is enough for ${joins.length} joined pieces, expected ${room}.`, {
      hint: "More text, or fewer pieces.",
    });
  }
  return { joins, characters };
}

/** The most frequent characters that make up the wanted share of the text. */
function coveredCharacters(weights: ReadonlyMap<string, number>, coverage: number): string[] {
  const counts = new Map<string, number>();
  let total = 0;
  for (const [chunk, weight] of weights) {
    for (const character of chunk) {
      counts.set(character, (counts.get(character) ?? 0) + weight);
      total += weight;
    }
  }
  const kept: string[] = [];
  let covered = 0;
  for (const [character, count] of [...counts].sort((a, b) => b[1] - a[1])) {
    if (covered >= coverage * total) break;
    covered += count;
    kept.push(character);
  }
  return kept;
}

function joinPairs(
  weights: ReadonlyMap<string, number>,
  characters: readonly string[],
  wanted: number,
  longest: number,
): string[] {
  const texts = [...characters];
  const ids = new Map(texts.map((text, id) => [text, id]));
  const pairs = createPairs(weights, ids);
  const lengths = texts.map(() => 1);
  pairs.offerAll((left, right) => lengths[left] + lengths[right] <= longest);
  const joins: string[] = [];
  while (joins.length < wanted) {
    const best = pairs.takeBest();
    if (best === null) break;
    const text = texts[best.left] + texts[best.right];
    // Two pairs may give one text, which is one piece.
    let id = ids.get(text);
    if (id === undefined) {
      id = texts.push(text) - 1;
      ids.set(text, id);
      lengths.push(lengths[best.left] + lengths[best.right]);
      joins.push(text);
    }
    pairs.join(best, id, (left, right) => lengths[left] + lengths[right] <= longest);
  }
  return joins;
}
