import { encodePlain, type Tokenizer } from "../tokenizers/tokenizer.ts";

/** Token ids as text, for servers that read texts only. */
export interface Spelling {
  /** Tokens of the vocabulary. */
  readonly tokenCount: number;
  /** Whether ids begin with the begin token, which such servers add by themselves. */
  hasBegin(ids: readonly number[]): boolean;
  /**
   * The text of ids without the begin token; control tokens are spelled by their names. A server may read other tokens in it: compare their
   * number.
   */
  textOf(ids: readonly number[]): string;
  /** The text of one token; null when other tokens have the same text, or when it has none of its own (control tokens, parts of a character). */
  nameOf(id: number): string | null;
}

/** Behind this text a token keeps the space that it begins with. */
const BEFORE = "一";
const BROKEN = "\ufffd";

export function createSpelling(tokenizer: Tokenizer): Spelling {
  const before = encodePlain(tokenizer, BEFORE);
  const start = tokenizer.decode(before).length;
  const visible = (id: number) => tokenizer.decode([...before, id]).slice(start);
  let byText: Map<string, number> | null = null;
  /** Each text with its only token; −1 where several have it. */
  const names = (): Map<string, number> => {
    if (byText) return byText;
    byText = new Map();
    for (let id = 0; id < tokenizer.vocabularySize; id++) {
      const text = visible(id);
      byText.set(text, byText.has(text) ? -1 : id);
    }
    return byText;
  };
  const hasBegin = (ids: readonly number[]) => ids.length > 0 && ids[0] === tokenizer.bosId;
  return {
    tokenCount: tokenizer.vocabularySize,
    hasBegin,
    textOf(ids) {
      let text = "";
      let run: number[] = [];
      for (const id of hasBegin(ids) ? ids.slice(1) : ids) {
        if (visible(id) !== "") {
          run.push(id);
          continue;
        }
        text += tokenizer.decode(run) + tokenizer.pieceOf(id);
        run = [];
      }
      return text + tokenizer.decode(run);
    },
    nameOf(id) {
      const text = visible(id);
      return text !== "" && !text.includes(BROKEN) && names().get(text) === id ? text : null;
    },
  };
}
