import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildLabelTrie, type LabelTrie } from "./label-trie.ts";

const build = (...answers: number[][]) => buildLabelTrie(answers.map((ids, i) => ({ label: `L${i}`, ids })));

/** The tokens from the root to a node. */
function pathTo(trie: LabelTrie, node: number): number[] {
  const tokens: number[] = [];
  for (let at = node; at > 0; at = trie.nodes[at].parent) tokens.unshift(trie.nodes[at].token);
  return tokens;
}

const edgeTokens = (trie: LabelTrie) => trie.edges.map(({ child }) => pathTo(trie, child));

describe("buildLabelTrie", () => {
  it("cuts each answer where its label is the only one left", () => {
    const trie = build([7, 1, 2], [8, 1, 2], [9, 3, 3, 3]);
    expect(trie.leaves.map((leaf) => pathTo(trie, leaf))).toEqual([[7], [8], [9]]);
    expect(trie.inner).toEqual([]);
    expect(edgeTokens(trie)).toEqual([[7], [8], [9]]);
  });

  it("reads a shared beginning once and does not count it", () => {
    const trie = build([5, 6, 7, 1], [5, 6, 8, 1]);
    expect(trie.inner.map((node) => pathTo(trie, node))).toEqual([[5], [5, 6]]);
    expect(edgeTokens(trie)).toEqual([
      [5, 6, 7],
      [5, 6, 8],
    ]);
  });

  it("counts everything below the first fork, also where the path does not fork", () => {
    const trie = build([5, 6, 7, 1], [5, 6, 7, 2], [5, 9]);
    expect(edgeTokens(trie)).toEqual([
      [5, 6],
      [5, 6, 7],
      [5, 6, 7, 1],
      [5, 6, 7, 2],
      [5, 9],
    ]);
    expect(trie.leaves.map((leaf) => trie.nodes[leaf].depth)).toEqual([4, 4, 2]);
  });

  it("tells a label from a longer one by the end token", () => {
    const trie = build([5, 2], [5, 6, 2]);
    expect(trie.leaves.map((leaf) => pathTo(trie, leaf))).toEqual([
      [5, 2],
      [5, 6],
    ]);
  });

  it("accepts labels of one token and a single label", () => {
    expect(build([4], [5]).leaves.length).toBe(2);
    const alone = build([4, 5, 2]);
    expect(alone.edges).toEqual([]);
    expect(alone.inner).toEqual([]);
    expect(pathTo(alone, alone.leaves[0])).toEqual([4]);
  });

  it("accepts chains of any depth", () => {
    const chain = Array.from({ length: 30_000 }, (_, i) => i % 7);
    const trie = build([...chain, 8], [...chain, 9]);
    expect(trie.inner.length).toBe(30_000);
    expect(trie.edges.length).toBe(2);
  });

  it("refuses answers that cannot be told apart", () => {
    expect(() => build([1, 2], [1, 2])).toThrow('"L0" and "L1" cannot be told apart');
    expect(() => build([1, 2, 3], [4], [1, 2])).toThrow('"L2" and "L0" cannot be told apart');
    expect(() => build([])).toThrow('"L0" has an empty answer');
    const twice = [1, 2].map(() => ({ label: "same", ids: [3, 4] }));
    expect(() => buildLabelTrie(twice)).toThrow('"same" and "same" cannot be told apart');
  });

  it("keeps its promises for any set of answers", () => {
    const answers = fc.uniqueArray(fc.array(fc.integer({ min: 3, max: 5 }), { maxLength: 6 }), {
      minLength: 2,
      maxLength: 12,
      selector: (ids) => ids.join(),
    });
    fc.assert(
      fc.property(answers, (list) => {
        const ended = list.map((ids) => [...ids, 2]);
        const trie = build(...ended);
        for (const [i, leaf] of trie.leaves.entries()) {
          const path = pathTo(trie, leaf);
          expect(ended[i].slice(0, path.length)).toEqual(path);
          const sharing = ended.filter((ids) => path.every((token, depth) => ids[depth] === token));
          expect(sharing).toEqual([ended[i]]);
          expect(trie.nodes[leaf].children).toEqual([]);
        }
        expect(new Set(trie.leaves).size).toBe(ended.length);
        // Every node the model reads comes after its parent, and every counted edge starts at one of them or at the prompt's end.
        const place = new Map([[0, -1], ...trie.inner.map((node, i) => [node, i] as const)]);
        for (const node of trie.inner)
          expect(place.get(trie.nodes[node].parent)).toBeLessThan(place.get(node) as number);
        for (const { parent } of trie.edges) expect(place.has(parent)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  it("builds the tree of 10,000 labels at once", () => {
    // Two forks of 100 branches and one with 10,000 below the root, where a search among the children would be quadratic.
    const wide = Array.from({ length: 10_000 }, (_, i) => [i, 1, 2]);
    const started = performance.now();
    expect(build(...wide).leaves).toHaveLength(10_000);
    const deep = Array.from({ length: 10_000 }, (_, i) => [5, Math.floor(i / 100), i % 100, 2]);
    expect(build(...deep).edges).toHaveLength(100 + 10_000);
    expect(performance.now() - started).toBeLessThan(1500);
  });
});
