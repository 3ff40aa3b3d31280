/** Text to ids and back, one interface for every model family. */
export interface Tokenizer {
  readonly vocabularySize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  readonly unkId: number | null;
  /**
   * The ids of a text, without begin or end marks. Tokens that were added to the vocabulary, special ones too, are found in the text as
   * transformers finds them. Text that looks like a control piece of a SentencePiece file stays text, as in SentencePiece.
   */
  encode(text: string): number[];
  /**
   * As {@link encode}, but what looks like a special token stays text (transformers' split_special_tokens); missing where `encode` finds
   * none.
   */
  encodePlain?(text: string): number[];
  encodeAll(texts: readonly string[]): number[][];
  /** The text of ids; control pieces give nothing. Throws a UserError for an id outside the vocabulary. */
  decode(ids: Iterable<number>): string;
  /** The piece of an id as the vocabulary writes it. Throws a UserError for an id outside the vocabulary. */
  pieceOf(id: number): string;
  idOf(piece: string): number | null;
}

/** The ids of a text that is data: nothing in it becomes a special token. */
export function encodePlain(tokenizer: Pick<Tokenizer, "encode" | "encodePlain">, text: string): number[] {
  return tokenizer.encodePlain ? tokenizer.encodePlain(text) : tokenizer.encode(text);
}
