import { SPACE_MARK } from "./normalizer.ts";
import { createPrefixTrie } from "./prefix-trie.ts";

const HAN = 1;
const LATIN = 2;
const LETTER = 3;
const SIGN = 4;
const DIGIT = 5;
const SPACE = 6;
const CLASSES: readonly [RegExp, number][] = [
  [/^ $/, SPACE],
  [/^\p{Nd}$/u, DIGIT],
  [/^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}ー]$/u, HAN],
  [/^\p{Script=Latin}$/u, LATIN],
  [/^[\p{L}\p{M}]$/u, LETTER],
];

/**
 * Cuts text into the chunks within which pieces are learnt: sequences of one kind of character (Chinese and Japanese, Latin, other
 * letters, signs), each digit alone, symbols left out. A space belongs to the chunk after it.
 */
export function createChunker(symbols: readonly string[]): (text: string) => Generator<string> {
  const trie = createPrefixTrie([...symbols]);
  const known = new Map<string, number>();
  const classOf = (character: string): number => {
    let found = known.get(character);
    if (found === undefined) {
      found = CLASSES.find(([pattern]) => pattern.test(character))?.[1] ?? SIGN;
      known.set(character, found);
    }
    return found;
  };
  return function* (text) {
    let chunk = "";
    let kind = 0;
    for (let at = 0; at < text.length; ) {
      const symbol = trie.longestAt(text, at);
      if (symbol >= 0) {
        if (chunk !== "") yield chunk;
        chunk = "";
        at += symbols[symbol].length;
        continue;
      }
      const character = String.fromCodePoint(text.codePointAt(at) as number);
      at += character.length;
      const own = classOf(character);
      const goesOn = chunk !== "" && own !== SPACE && (kind === SPACE || (own === kind && own !== DIGIT));
      if (!goesOn && chunk !== "") {
        yield chunk;
        chunk = "";
      }
      chunk += own === SPACE ? SPACE_MARK : character;
      kind = own;
    }
    if (chunk !== "") yield chunk;
  };
}
