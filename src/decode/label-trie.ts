import { UserError } from "../base/errors.ts";

/** One label with the ids of its whole answer, end-of-sequence included. */
export interface LabelAnswer {
  label: string;
  ids: ArrayLike<number>;
}

/** The answer tokens from the root to here; the root is the end of the prompt. */
export interface TrieNode {
  token: number;
  parent: number;
  depth: number;
  children: number[];
}

/**
 * The answers of all labels as one tree of tokens. Each path ends where only one label is left: the tokens after it are copied entities and
 * punctuation, which say nothing about the relation.
 */
export interface LabelTrie {
  nodes: TrieNode[]; // the root is 0
  /** Leaf of each label, in the order given. */
  leaves: number[];
  /** Inner nodes without the root, parents first, the nodes of a chain (no fork between them) adjacent: the tokens that the model reads. */
  inner: number[];
  /** Edges whose probability counts: all from the first fork down. */
  edges: { parent: number; child: number }[];
}

/** A prompt and the labels that may be the answer. */
export interface LabelQuestion {
  promptIds: ArrayLike<number>;
  trie: LabelTrie;
}

/** Tokens of prompts, and what was computed for them. */
export interface TokenCount {
  prompt: number;
  /** Tokens of all passes: prompts with what they share once, labels, answers and drafts. */
  computed: number;
  passes: number;
  /** Tokens of generated answers, and those of them that were accepted from drafts. */
  generated: number;
  accepted: number;
}

export const noTokens = (): TokenCount => ({ prompt: 0, computed: 0, passes: 0, generated: 0, accepted: 0 });

/** Builds the tree. Throws a UserError when two labels have equal answers, or when one answer begins another. */
export function buildLabelTrie(answers: readonly LabelAnswer[]): LabelTrie {
  const nodes: TrieNode[] = [{ token: -1, parent: -1, depth: 0, children: [] }];
  const passing: number[] = [answers.length]; // how many labels pass through each node
  const childOfToken: Map<number, number>[] = [new Map()];
  const childOf = (parent: number, token: number) => childOfToken[parent].get(token);
  for (const { ids } of answers) {
    let at = 0;
    for (let i = 0; i < ids.length; i++) {
      let next = childOf(at, ids[i]);
      if (next === undefined) {
        next = nodes.length;
        nodes.push({ token: ids[i], parent: at, depth: i + 1, children: [] });
        childOfToken.push(new Map());
        childOfToken[at].set(ids[i], next);
        passing.push(0);
        nodes[at].children.push(next);
      }
      passing[next]++;
      at = next;
    }
  }
  const leaves: number[] = [];
  for (const [index, { label, ids }] of answers.entries()) {
    let at = 0;
    for (let i = 0; i < ids.length && (passing[at] > 1 || at === 0); i++) at = childOf(at, ids[i]) as number;
    if (at === 0 || passing[at] > 1) {
      const other = answers.find((one, i) => i !== index && startsWith(one.ids, ids));
      if (!other) throw new UserError(`label "${label}" has an empty answer, expected at least one token.`);
      throw new UserError(
        `labels "${label}" and "${other.label}" cannot be told apart: their answers have the same tokens.`,
      );
    }
    leaves.push(at);
  }
  for (const leaf of leaves) nodes[leaf].children = [];
  const order = parentsFirst(nodes);
  const inner = order.filter((at) => nodes[at].children.length > 0);
  return { nodes, leaves, inner, edges: countedEdges(nodes, order) };
}

function startsWith(ids: ArrayLike<number>, prefix: ArrayLike<number>): boolean {
  for (let i = 0; i < prefix.length; i++) if (ids[i] !== prefix[i]) return false;
  return ids.length >= prefix.length;
}

/** Every node below the root, each followed by its own subtree. */
function parentsFirst(nodes: readonly TrieNode[]): number[] {
  const order: number[] = [];
  const pending = [...nodes[0].children].reverse();
  while (pending.length > 0) {
    const at = pending.pop() as number;
    order.push(at);
    for (const child of [...nodes[at].children].reverse()) pending.push(child);
  }
  return order;
}

function countedEdges(nodes: readonly TrieNode[], order: readonly number[]): { parent: number; child: number }[] {
  const forked = new Set<number>(); // nodes with a fork at or above them
  const edges: { parent: number; child: number }[] = [];
  if (nodes[0].children.length > 1) forked.add(0);
  for (const child of order) {
    const { parent, children } = nodes[child];
    if (forked.has(parent)) edges.push({ parent, child });
    if (forked.has(parent) || children.length > 1) forked.add(child);
  }
  return edges;
}
