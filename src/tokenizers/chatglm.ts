import type { Tokenizer } from "./tokenizer.ts";

/** In the order of their ids, which follow those of the SentencePiece model (tokenization_chatglm.py of ChatGLM2-6B): 64,789 and on. */
const COMMAND_PIECES = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"];

/**
 * ChatGLM2's tokenizer: a SentencePiece model and five command pieces behind it, which no text gives and which decode to nothing. It has no
 * begin mark: `[gMASK]` `sop` stand before a prompt.
 */
export function withChatGlmCommands(base: Tokenizer): Tokenizer {
  const firstId = base.vocabularySize;
  const isCommand = (id: number) => Number.isInteger(id) && id >= firstId && id < firstId + COMMAND_PIECES.length;
  return {
    ...base,
    vocabularySize: firstId + COMMAND_PIECES.length,
    bosId: null,
    decode: (ids) => base.decode(Array.from(ids).filter((id) => !isCommand(id))),
    pieceOf: (id) => (isCommand(id) ? COMMAND_PIECES[id - firstId] : base.pieceOf(id)),
    // As in ChatGLM2's own code, a command's name goes before an ordinary piece's.
    idOf: (piece) => {
      const index = COMMAND_PIECES.indexOf(piece);
      return index >= 0 ? firstId + index : base.idOf(piece);
    },
  };
}
