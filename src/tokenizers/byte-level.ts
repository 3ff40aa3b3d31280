import { UserError } from "../base/errors.ts";
import { createChain, type Joins, joinPairs } from "./join-pairs.ts";

/** An expression that cuts a text into words; its alternatives match every character, so that nothing is left out. */
export type WordPattern = RegExp;

/** Longer sequences of letters overflow the stack of V8's regular expressions (from 2^22 on). */
const MAX_TEXT_UNITS = 1 << 20;
const MAX_CACHED_WORDS = 1 << 16;
/** For a longer part of a text V8 keeps the whole text alive. */
const MAX_CACHED_WORD_UNITS = 12;
/** In bytes. Words up to this length share one chain; a longer word gets a chain of its own, which is freed after it. */
const SHARED_CHAIN_BYTES = 1 << 14;

/**
 * GPT-2's visible characters for bytes (encoder.py of GPT-2): a byte that is visible in Latin-1 is its own character, the others follow from
 * U+0100 on.
 */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let hidden = 0;
  return Array.from({ length: 256 }, (_, byte) => {
    const isVisible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(isVisible ? byte : 0x100 + hidden++);
  });
})();
const BYTE_OF_CHARACTER = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));

/** The bytes of a piece: those of its byte characters, or its own text where it is not written in byte characters. */
export function bytesOf(piece: string): number[] | Uint8Array {
  const bytes: number[] = [];
  for (const character of piece) {
    const byte = BYTE_OF_CHARACTER.get(character);
    if (byte === undefined) return new TextEncoder().encode(piece);
    bytes.push(byte);
  }
  return bytes;
}

/** GPT-2's expression, which is built into the byte level. */
export const GPT2_WORDS = compile("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");
const QWEN_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const LLAMA3_WORDS = QWEN_WORDS.replace("|\\p{N}|", "|\\p{N}{1,3}|");

/**
 * The supported expressions of Split, as tokenizer.json writes them: that of Qwen2, Qwen2.5 and Qwen3, and Llama-3's. Every other one is
 * refused: an expression from a hostile file could take forever.
 */
export const SPLIT_WORDS: ReadonlyMap<string, WordPattern> = new Map(
  [QWEN_WORDS, LLAMA3_WORDS].map((source) => [source, compile(source)]),
);

/** JavaScript's `\s` has U+FEFF and lacks U+0085; it has no `(?i:`, for which Oniguruma matches U+017F as an s. */
function compile(source: string): WordPattern {
  const contractions = "'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])";
  const own = source.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", contractions);
  return new RegExp(own.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}"), "gu");
}

export interface ByteLevelModel {
  /** Applied in this order, each to the words of the previous one. */
  words: readonly WordPattern[];
  /** The id of each byte's piece. */
  byteIds: Int32Array;
  joins: Joins;
  /** Ids of whole words that need no joining; null where `ignore_merges` is off. */
  wholeWords: ReadonlyMap<string, number> | null;
}

/**
 * Prepares byte-level byte-pair encoding as Hugging Face's tokenizers do it, of normalised text without added tokens; errors use `name`. The
 * encoder adds to a list of ids, throws a UserError for a text of more than 2^20 characters, and is not reentrant: buffers are shared.
 */
export function createByteLevelEncoder(model: ByteLevelModel, name: string): (text: string, ids: number[]) => void {
  const { byteIds, joins, wholeWords } = model;
  const utf8 = new TextEncoder();
  const sharedChain = createChain(SHARED_CHAIN_BYTES);
  const sharedBytes = new Uint8Array(SHARED_CHAIN_BYTES);
  const cache = new Map<string, readonly number[]>();

  const encodeWord = (word: string): number[] => {
    // A UTF-16 unit has at most three bytes of UTF-8.
    const isShort = 3 * word.length <= SHARED_CHAIN_BYTES;
    const bytes = isShort ? sharedBytes : new Uint8Array(3 * word.length);
    const count = utf8.encodeInto(word, bytes).written;
    if (wholeWords !== null) {
      let piece = "";
      for (let i = 0; i < count; i++) piece += BYTE_CHARACTERS[bytes[i]];
      const id = wholeWords.get(piece);
      if (id !== undefined) return [id];
    }
    const chain = isShort ? sharedChain : createChain(count);
    for (let i = 0; i < count; i++) chain.symbols[i] = byteIds[bytes[i]];
    joinPairs(joins, chain, count);
    const ids: number[] = [];
    for (let i = 0; i < count; i = chain.next[i]) ids.push(chain.symbols[i]);
    return ids;
  };
  const idsOfWord = (word: string): readonly number[] => {
    if (word.length > MAX_CACHED_WORD_UNITS) return encodeWord(word);
    const known = cache.get(word);
    if (known !== undefined) return known;
    const ids = encodeWord(word);
    if (cache.size === MAX_CACHED_WORDS) cache.clear();
    cache.set(word, ids);
    return ids;
  };

  return (text, ids) => {
    if (text.length > MAX_TEXT_UNITS) {
      throw new UserError(
        `${name}: a text has ${text.length} characters, expected at most ${MAX_TEXT_UNITS} to be encoded at once.`,
        { hint: "Cut it into lines or paragraphs." },
      );
    }
    let words: readonly string[] = text === "" ? [] : [text];
    for (const pattern of model.words) words = words.flatMap((word) => word.match(pattern) ?? []);
    for (const word of words) for (const id of idsOfWord(word)) ids.push(id);
  };
}
