import type { ByteAutomaton } from "./byte-automaton.ts";
import type { TokenBytes, VocabularyBytes } from "./token-bytes.ts";

/** Which tokens may come next so that the whole answer is in a language. States are those of the automaton. */
export interface TokenConstraint {
  readonly start: number;
  /** 1 for each token that may come next; `isFirst` for the first token of the answer. */
  allowed(state: number, isFirst: boolean): Uint8Array;
  /** The state behind a token that is allowed. */
  next(state: number, token: number, isFirst: boolean): number;
  /** Whether the answer may end here. */
  mayEnd(state: number): boolean;
  /** Whether the answer must end here. */
  mustEnd(state: number): boolean;
}

/** Masks that are kept; the walk over the vocabulary makes one again. */
const MAX_MASKS = 128;

/** Enforces an automaton over the tokens of a vocabulary of `tokenCount` ids. */
export function tokenConstraint(
  automaton: ByteAutomaton,
  vocabulary: VocabularyBytes,
  tokenCount: number,
): TokenConstraint {
  const masks = new Map<string, Uint8Array>();
  const bytesById = (tokens: TokenBytes) => new Map(Array.from(tokens.ids, (id, i) => [id, tokens.bytes[i]]));
  let [inside, first]: (Map<number, Uint8Array> | null)[] = [null, null];
  const bytesOf = (token: number, isFirst: boolean): Uint8Array => {
    if (isFirst) {
      first ??= bytesById(vocabulary.first);
      return first.get(token) as Uint8Array;
    }
    inside ??= bytesById(vocabulary.inside);
    return inside.get(token) as Uint8Array;
  };
  return {
    start: automaton.start,
    allowed(state, isFirst) {
      const key = `${state} ${isFirst}`;
      let mask = masks.get(key);
      if (mask) return mask;
      mask = walk(automaton, isFirst ? vocabulary.first : vocabulary.inside, state, tokenCount);
      if (masks.size >= MAX_MASKS) masks.clear();
      masks.set(key, mask);
      return mask;
    },
    next(state, token, isFirst) {
      let at = state;
      for (const byte of bytesOf(token, isFirst)) at = automaton.next(at, byte);
      return at;
    },
    mayEnd: (state) => automaton.accepts(state),
    mustEnd: (state) => !automaton.continues(state),
  };
}

/** Walks all tokens from a state. Tokens with one beginning are next to each other: it is walked once, and left at its first dead byte. */
function walk(automaton: ByteAutomaton, { ids, bytes, shared }: TokenBytes, state: number, tokenCount: number) {
  const mask = new Uint8Array(tokenCount);
  /** States behind 0, 1, 2, … bytes of the last token that was walked. */
  const states = [state];
  /** Length of the shortest beginning that is dead; those of later tokens that have it are, too. */
  let deadAt = Number.POSITIVE_INFINITY;
  for (let i = 0; i < ids.length; i++) {
    if (shared[i] >= deadAt) continue;
    deadAt = Number.POSITIVE_INFINITY;
    const own = bytes[i];
    let at = shared[i];
    while (at < own.length) {
      const next = automaton.next(states[at], own[at]);
      at++;
      if (next < 0) {
        deadAt = at;
        break;
      }
      states[at] = next;
    }
    // A token that adds nothing would never end.
    if (deadAt === Number.POSITIVE_INFINITY && own.length > 0 && ids[i] < tokenCount) mask[ids[i]] = 1;
  }
  return mask;
}
