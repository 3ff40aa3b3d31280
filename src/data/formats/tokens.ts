/** The text of tokens and the place of each. */
export interface JoinedTokens {
  text: string;
  starts: number[];
  ends: number[];
}

const WIDE = /[\u2e80-\ua4cf\uac00-\ud7a3\uf900-\uffef\u3000-\u303f]|[\u{20000}-\u{3ffff}]/u;

/**
 * Joins tokens to a text: with a space between two words of letters or digits, with none in Chinese text, and with none at all when every
 * token is one character, as data that is cut into characters has them.
 */
export function joinTokens(tokens: readonly string[]): JoinedTokens {
  const isCharacters = tokens.every((token) => Array.from(token).length <= 1);
  const starts: number[] = [];
  const ends: number[] = [];
  let text = "";
  for (const token of tokens) {
    const last = Array.from(text.slice(-2)).at(-1) ?? "";
    const first = Array.from(token.slice(0, 2))[0] ?? "";
    const isSpaced = text !== "" && !isCharacters && !WIDE.test(last) && !WIDE.test(first);
    if (isSpaced) text += " ";
    starts.push(text.length);
    text += token;
    ends.push(text.length);
  }
  return { text, starts, ends };
}
