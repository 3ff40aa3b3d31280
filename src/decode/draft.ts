import type { LabelTrie } from "./label-trie.ts";

/**
 * Tokens that are proposed behind a sequence, as a tree: token i follows token `parents[i]`, or the end of the sequence where that is −1.
 * Parents come first, and tokens without a fork between them are next to each other. One pass reads them all; those that the model would have chosen itself
 * are accepted ("Fast Inference from Transformers via Speculative Decoding", Leviathan et al. 2023; trees: SpecInfer, Miao et al. 2024).
 */
export interface Draft {
  tokens: readonly number[];
  parents: readonly number[];
  /** Probabilities to tell: of a token behind node `parent` (−1: behind the sequence). */
  asked?: readonly { parent: number; token: number }[];
}

export const NO_DRAFT: Draft = { tokens: [], parents: [] };

export const chainDraft = (tokens: readonly number[]): Draft =>
  tokens.length === 0 ? NO_DRAFT : { tokens, parents: tokens.map((_, i) => i - 1) };

/** The inner nodes of a tree of labels, with the probabilities of its edges asked in their order. */
export function trieDraft({ nodes, inner, edges }: LabelTrie): Draft {
  const places = new Map(inner.map((node, place) => [node, place]));
  const placeOf = (node: number) => places.get(node) ?? -1;
  return {
    tokens: inner.map((node) => nodes[node].token),
    parents: inner.map((node) => placeOf(nodes[node].parent)),
    asked: edges.map(({ parent, child }) => ({ parent: placeOf(parent), token: nodes[child].token })),
  };
}

/** Most tokens of a draft. */
export const LONGEST_DRAFT = 64;

/**
 * The forced tokens of an answer that has `ids` already: what all labels that are still possible have in common, and the rest of the answer
 * once one label is left. Nothing where the answer is none of a label. `answerOf` gives the ids of a label's whole answer, with the end token.
 */
export function forcedDraft(
  trie: LabelTrie,
  answerOf: (label: number) => readonly number[],
  ids: readonly number[],
): Draft {
  const { nodes, leaves } = trie;
  let at = 0;
  for (const [i, token] of ids.entries()) {
    if (nodes[at].children.length === 0) return restOf(answerOf(leaves.indexOf(at)), ids, i);
    const next = nodes[at].children.find((child) => nodes[child].token === token);
    if (next === undefined) return NO_DRAFT;
    at = next;
  }
  if (at > 0 && nodes[at].children.length === 0) return restOf(answerOf(leaves.indexOf(at)), ids, ids.length);
  const chain: number[] = [];
  while (nodes[at].children.length === 1 && chain.length < LONGEST_DRAFT) {
    at = nodes[at].children[0];
    chain.push(nodes[at].token);
  }
  return chainDraft(chain);
}

/** What follows `ids` in an answer that is known to begin with the first `known` of them; without the end token, which is only chosen. */
function restOf(answer: readonly number[], ids: readonly number[], known: number): Draft {
  for (let i = known; i < ids.length; i++) if (answer[i] !== ids[i]) return NO_DRAFT;
  return chainDraft(answer.slice(ids.length, -1).slice(0, LONGEST_DRAFT));
}
