import { UserError } from "../base/errors.ts";

/** One label with the ids of its whole answer, end-of-sequence included. */
export interface LabelAnswer {
  label: string;
  ids: ArrayLike<number>;
}

/** A node stands for the answer tokens from the root to it; the root is the end of the prompt. */
export interface TrieNode {
  token: number;
  parent: number;
  depth: number;
  children: number[];
}

/**
 * The answers of all labels as one tree of tokens. Each path ends where the label is the only one left: the tokens after that point are
 * copied entities and punctuation and say nothing about the relation.
 */
export interface LabelTrie {
  nodes: TrieNode[]; // the root is 0
  /** Leaf of each label, in the order given. */
  leaves: number[];
  /** Inner nodes but the root, parents first, runs without a fork adjacent: what the model has to read. */
  inner: number[];
  /** Edges whose probability counts: those at or below the first fork. */
  edges: { parent: number; child: number }[];
}

/** Builds the tree. Throws a UserError when two labels have the same answer, or one answer is the beginning of another. */
export function buildLabelTrie(answers: readonly LabelAnswer[]): LabelTrie {
  const nodes: TrieNode[] = [{ token: -1, parent: -1, depth: 0, children: [] }];
  const passing: number[] = [answers.length]; // how many labels pass through each node
  const childOf = (parent: number, token: number) =>
    nodes[parent].children.find((child) => nodes[child].token === token);
  for (const { ids } of answers) {
    let at = 0;
    for (let i = 0; i < ids.length; i++) {
      let next = childOf(at, ids[i]);
      if (next === undefined) {
        next = nodes.length;
        nodes.push({ token: ids[i], parent: at, depth: i + 1, children: [] });
        passing.push(0);
        nodes[at].children.push(next);
      }
      passing[next]++;
      at = next;
    }
  }
  const leaves: number[] = [];
  for (const { label, ids } of answers) {
    let at = 0;
    for (let i = 0; i < ids.length && (passing[at] > 1 || at === 0); i++) at = childOf(at, ids[i]) as number;
    if (at === 0 || passing[at] > 1) {
      const other = answers.find((one) => one.label !== label && startsWith(one.ids, ids));
      throw new UserError(
        `labels "${label}" and "${other?.label}" cannot be told apart: their answers have the same tokens.`,
      );
    }
    leaves.push(at);
  }
  cutBelow(nodes, new Set(leaves));
  return { nodes, leaves, inner: innerNodes(nodes), edges: countedEdges(nodes) };
}

function startsWith(ids: ArrayLike<number>, prefix: ArrayLike<number>): boolean {
  for (let i = 0; i < prefix.length; i++) if (ids[i] !== prefix[i]) return false;
  return ids.length >= prefix.length;
}

function cutBelow(nodes: TrieNode[], leaves: ReadonlySet<number>): void {
  for (const leaf of leaves) nodes[leaf].children = [];
}

function innerNodes(nodes: readonly TrieNode[]): number[] {
  const inner: number[] = [];
  const pending = [...nodes[0].children].reverse();
  while (pending.length > 0) {
    const at = pending.pop() as number;
    if (nodes[at].children.length === 0) continue;
    inner.push(at);
    pending.push(...[...nodes[at].children].reverse());
  }
  return inner;
}

function countedEdges(nodes: readonly TrieNode[]): { parent: number; child: number }[] {
  const edges: { parent: number; child: number }[] = [];
  const visit = (parent: number, forked: boolean) => {
    const counts = forked || nodes[parent].children.length > 1;
    for (const child of nodes[parent].children) {
      if (counts) edges.push({ parent, child });
      visit(child, counts);
    }
  };
  visit(0, false);
  return edges;
}
