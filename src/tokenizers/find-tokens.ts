import { createPrefixTrie } from "./prefix-trie.ts";

/** A token that is found in a text before the rest of the text is cut. */
export interface FoundToken {
  id: number;
  text: string;
  /** Decodes to nothing. */
  special: boolean;
  /** White space before or after it belongs to it. */
  stripsLeft: boolean;
  stripsRight: boolean;
  /** It is not found inside of a word. */
  singleWord: boolean;
}

/** Rust's `\s` and `\w`; JavaScript's differ. */
const SPACE_BEFORE = /\p{White_Space}*$/u;
const SPACE_AFTER = /^\p{White_Space}*/u;
const WORD_BEFORE = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const WORD_AFTER = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
/** Spaces around a token are looked for in this many characters at a time. */
const LOOK_UNITS = 256;

/** Cuts a text at tokens: the parts between them are texts, none of them empty. */
export type TokenFinder<T extends FoundToken> = (text: string, keepsSpecials: boolean) => (T | string)[];

/**
 * Makes the function that finds tokens exactly as Hugging Face's tokenizers do (AddedVocabulary of tokenizers 0.23): the leftmost first, of
 * these the longest. With `keepsSpecials` a special token in a text stays text. `patterns` are what is looked for, by default the tokens'
 * own texts.
 */
export function createTokenFinder<T extends FoundToken>(
  tokens: readonly T[],
  patterns: readonly string[] = tokens.map(({ text }) => text),
): TokenFinder<T> {
  if (tokens.length === 0) return (text) => (text === "" ? [] : [text]);
  const trie = createPrefixTrie(patterns);
  return (text, keepsSpecials) => {
    const parts: (T | string)[] = [];
    let from = 0;
    for (let at = 0; at < text.length; ) {
      const found = trie.longestAt(text, at);
      if (found < 0) {
        at++;
        continue;
      }
      const token = tokens[found];
      let start = at;
      let end = at + patterns[found].length;
      at = end;
      if (token.special && keepsSpecials) continue;
      if (token.singleWord && isInWord(text, start, end)) continue;
      if (token.stripsLeft) start = Math.max(spaceStart(text, start), from);
      if (token.stripsRight) end = spaceEnd(text, end);
      if (from < start) parts.push(text.slice(from, start));
      parts.push(token);
      from = end;
    }
    if (from < text.length) parts.push(text.slice(from));
    return parts;
  };
}

function isInWord(text: string, start: number, end: number): boolean {
  // Two units may be one character.
  return WORD_BEFORE.test(text.slice(Math.max(0, start - 2), start)) || WORD_AFTER.test(text.slice(end, end + 2));
}

function spaceStart(text: string, end: number): number {
  for (let start = end; ; ) {
    const before = text.slice(Math.max(0, start - LOOK_UNITS), start);
    const length = SPACE_BEFORE.exec(before)?.[0].length ?? 0;
    start -= length;
    if (length < before.length || start === 0) return start;
  }
}

function spaceEnd(text: string, start: number): number {
  for (let end = start; ; ) {
    const after = text.slice(end, end + LOOK_UNITS);
    const length = SPACE_AFTER.exec(after)?.[0].length ?? 0;
    end += length;
    if (length < LOOK_UNITS) return end;
  }
}
