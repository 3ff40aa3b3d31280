/** Text to ids and back, one interface for every model family. */
export interface Tokenizer {
  readonly vocabularySize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  readonly unkId: number | null;
  /**
   * The ids of plain text, without begin or end marks. Text that looks like a control piece of the tokenizer's own file stays text; tokens
   * that a SentencePiece tokenizer was given later, in files next to it, are found in the text as transformers finds them.
   */
  encode(text: string): number[];
  encodeAll(texts: readonly string[]): number[][];
  /** The text of ids; control pieces give nothing. Throws a UserError for an id outside the vocabulary. */
  decode(ids: Iterable<number>): string;
  /** The piece of an id as the vocabulary writes it. Throws a UserError for an id outside the vocabulary. */
  pieceOf(id: number): string;
  idOf(piece: string): number | null;
}
