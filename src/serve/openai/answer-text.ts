import type { ScoredToken } from "../../decode/score-tokens.ts";
import type { Tokenizer } from "../../tokenizers/tokenizer.ts";

/** The text of an answer while its tokens come. */
export interface AnswerText {
  readonly tokens: ScoredToken[];
  /** Adds a token; true when a stop text is there, which ends the answer. */
  add(token: ScoredToken): boolean;
  /** The whole text; what was held back is told. */
  end(): string;
}

/**
 * Follows the text of tokens. Text is told once it cannot change: half a character, and what may be the beginning of a stop text, is held back.
 * A stop text is no part of the answer.
 */
export function createAnswerText(
  tokenizer: Pick<Tokenizer, "decode">,
  stop: readonly string[],
  onText: (text: string, tokens: readonly ScoredToken[]) => void = () => {},
): AnswerText {
  const tokens: ScoredToken[] = [];
  let text = "";
  let told = 0;
  let toldTokens = 0;
  const tell = (end: number) => {
    if (end <= told && toldTokens === tokens.length) return;
    onText(text.slice(told, Math.max(told, end)), tokens.slice(toldTokens));
    told = Math.max(told, end);
    toldTokens = tokens.length;
  };
  return {
    tokens,
    add(token) {
      tokens.push(token);
      text = tokenizer.decode(tokens.map(({ id }) => id));
      const found = stop.map((one) => text.indexOf(one)).filter((at) => at >= 0);
      if (found.length > 0) {
        text = text.slice(0, Math.min(...found));
        return true;
      }
      const end = text.length - Math.max(heldBack(text, stop), /\ufffd{1,3}$/.exec(text)?.[0].length ?? 0);
      if (end > told) tell(end);
      return false;
    },
    end() {
      tell(text.length);
      return text;
    },
  };
}

/** Characters at the end of a text that begin a stop text. */
function heldBack(text: string, stop: readonly string[]): number {
  let most = 0;
  for (const one of stop) {
    for (let length = Math.min(one.length - 1, text.length); length > most; length--) {
      if (text.endsWith(one.slice(0, length))) most = length;
    }
  }
  return most;
}
