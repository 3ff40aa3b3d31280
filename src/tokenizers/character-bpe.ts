import { UserError } from "../base/errors.ts";
import { createChain, joinPairs } from "./join-pairs.ts";
import type { BpeFile } from "./tokenizer-json-model.ts";

/** Words up to this length share one chain; a longer one gets a chain of its own, which is freed after it. */
const SHARED_CHAIN_UNITS = 1 << 14;

/**
 * Prepares byte-pair encoding over characters as Hugging Face's tokenizers do it (models/bpe of tokenizers 0.23): a character without a piece
 * becomes its bytes or an unknown token. The encoder is not reentrant: buffers are shared. Throws a UserError that names `name` for a model
 * by which such a character would be lost.
 */
export function createCharacterEncoder(model: BpeFile, name: string): (word: string) => number[] {
  const { idByPiece, joins, ignoresMerges, fallback } = model;
  const { byteIds, unkId, fusesUnknown } = fallback;
  if (byteIds === null && unkId === null) {
    throw new UserError(`${name}: has neither byte_fallback nor unk_token: a character without a piece would be lost.`);
  }
  const shared = createChain(SHARED_CHAIN_UNITS);
  const utf8 = new TextEncoder();

  return (word) => {
    const whole = ignoresMerges ? idByPiece.get(word) : undefined;
    if (whole !== undefined) return [whole];
    // A UTF-16 unit has at most three bytes of UTF-8.
    const chain = 3 * word.length <= SHARED_CHAIN_UNITS ? shared : createChain(3 * word.length);
    const { symbols, next } = chain;
    let count = 0;
    let afterUnknown = false;
    for (const character of word) {
      const id = idByPiece.get(character);
      if (id !== undefined) symbols[count++] = id;
      else if (byteIds) for (const byte of utf8.encode(character)) symbols[count++] = byteIds[byte];
      else if (!(afterUnknown && fusesUnknown)) symbols[count++] = unkId as number;
      afterUnknown = id === undefined && byteIds === null;
    }
    joinPairs(joins, chain, count);
    const ids: number[] = [];
    for (let i = 0; i < count; i = next[i]) ids.push(symbols[i]);
    return ids;
  };
}
