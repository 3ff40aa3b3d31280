import type { Tokenizer } from "./tokenizer.ts";

/**
 * A tokenizer with command pieces after its own, in the order of their ids. No text gives them and they decode to nothing; with them there
 * is no begin mark, because commands begin a prompt (ChatGLM2).
 */
export function withCommandPieces(base: Tokenizer, pieces: readonly string[]): Tokenizer {
  const firstId = base.vocabularySize;
  const isCommand = (id: number) => Number.isInteger(id) && id >= firstId && id < firstId + pieces.length;
  return {
    ...base,
    vocabularySize: firstId + pieces.length,
    bosId: null,
    decode: (ids) => base.decode(Array.from(ids).filter((id) => !isCommand(id))),
    pieceOf: (id) => (isCommand(id) ? pieces[id - firstId] : base.pieceOf(id)),
    // As in ChatGLM2's own code, a command's name goes before an ordinary piece's.
    idOf: (piece) => {
      const index = pieces.indexOf(piece);
      return index >= 0 ? firstId + index : base.idOf(piece);
    },
  };
}
