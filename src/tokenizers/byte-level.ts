import { UserError } from "../base/errors.ts";
import { createChain, type Joins, joinPairs } from "./join-pairs.ts";

/** What cuts a text into words: the alternatives of an expression match every character, so that nothing is left out. */
export type WordPattern = RegExp;
export type Normalization = "NFC" | "NFD" | "NFKC" | "NFKD";

/** Longer runs of letters overflow the stack of V8's regular expressions (from 2^22 on). */
const MAX_TEXT_UNITS = 1 << 20;
const MAX_CACHED_WORDS = 1 << 16;
/** V8 keeps the whole text alive for a longer part of it. */
const MAX_CACHED_WORD_UNITS = 12;
/** Words up to so many bytes share one chain; longer ones get their own, which is then freed. */
const SHARED_CHAIN_BYTES = 1 << 14;

/**
 * GPT-2's way to write bytes as visible characters (encoder.py of GPT-2): those that are visible in Latin-1 stand for themselves, the others
 * follow from U+0100 on.
 */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let hidden = 0;
  return Array.from({ length: 256 }, (_, byte) => {
    const isVisible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(isVisible ? byte : 0x100 + hidden++);
  });
})();
const BYTE_OF_CHARACTER = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));

/** The bytes that a piece stands for; a piece that is not written in byte characters stands for its own text. */
export function bytesOf(piece: string): number[] | Uint8Array {
  const bytes: number[] = [];
  for (const character of piece) {
    const byte = BYTE_OF_CHARACTER.get(character);
    if (byte === undefined) return Buffer.from(piece);
    bytes.push(byte);
  }
  return bytes;
}

/** The expression that is built into the byte level: GPT-2's. */
export const GPT2_WORDS = compile("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");
const QWEN_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const LLAMA3_WORDS = QWEN_WORDS.replace("|\\p{N}|", "|\\p{N}{1,3}|");

/**
 * The expressions of Split that are known, as tokenizer.json writes them: Qwen2's (of Qwen2.5 and Qwen3 too) and Llama-3's. No other one is
 * taken: an expression out of a hostile file could run for ever.
 */
export const SPLIT_WORDS: ReadonlyMap<string, WordPattern> = new Map(
  [QWEN_WORDS, LLAMA3_WORDS].map((source) => [source, compile(source)]),
);

/** JavaScript's `\s` has U+FEFF and lacks U+0085; it has no `(?i:`, in which Oniguruma takes U+017F for an s. */
function compile(source: string): WordPattern {
  const contractions = "'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])";
  const own = source.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", contractions);
  return new RegExp(own.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}"), "gu");
}

export interface ByteLevelModel {
  normalization: Normalization | null;
  /** Applied one after the other, each to the words of the one before. */
  words: readonly WordPattern[];
  /** The id of the piece of each byte. */
  byteIds: Int32Array;
  joins: Joins;
  /** Ids of words that are taken whole, without joining; null where none are (`ignore_merges`). */
  wholeWords: ReadonlyMap<string, number> | null;
}

/**
 * Prepares byte-level byte-pair encoding as Hugging Face's tokenizers do it, without added tokens; `name` stands in errors. What it makes
 * throws a UserError for a text of more than 2^20 characters, and must not be called again from inside itself: buffers are shared.
 */
export function createByteLevelEncoder(model: ByteLevelModel, name: string): (text: string) => number[] {
  const { normalization, byteIds, joins, wholeWords } = model;
  const utf8 = new TextEncoder();
  const sharedChain = createChain(SHARED_CHAIN_BYTES);
  const sharedBytes = new Uint8Array(SHARED_CHAIN_BYTES);
  const cache = new Map<string, readonly number[]>();

  const encodeWord = (word: string): number[] => {
    // A UTF-16 unit takes at most three bytes.
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

  return (text) => {
    const normalized = normalization === null ? text : text.normalize(normalization);
    if (normalized.length > MAX_TEXT_UNITS) {
      throw new UserError(
        `${name}: a text has ${normalized.length} characters, expected at most ${MAX_TEXT_UNITS} to be encoded at once.`,
        { hint: "Cut it into lines or paragraphs." },
      );
    }
    let words: readonly string[] = normalized === "" ? [] : [normalized];
    for (const pattern of model.words) words = words.flatMap((word) => word.match(pattern) ?? []);
    const ids: number[] = [];
    for (const word of words) for (const id of idsOfWord(word)) ids.push(id);
    return ids;
  };
}
