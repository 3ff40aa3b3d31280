import { describe, expect, it } from "vitest";
import { chainDraft, forcedDraft, LONGEST_DRAFT, NO_DRAFT, trieDraft } from "./draft.ts";
import { buildLabelTrie } from "./label-trie.ts";

// "(head," then a label of one or two tokens, then ",tail)" and the end token.
const ANSWERS = [
  [1, 2, 10, 3, 4, 0],
  [1, 2, 11, 12, 3, 4, 0],
  [1, 2, 11, 13, 3, 4, 0],
];
const TRIE = buildLabelTrie(ANSWERS.map((ids, i) => ({ label: `${i}`, ids })));
const forced = (...ids: number[]) => forcedDraft(TRIE, (label) => ANSWERS[label], ids).tokens;

describe("drafts", () => {
  it("of a tree of labels are what decides between them, with the probabilities of its edges", () => {
    const { tokens, parents, asked } = trieDraft(TRIE);
    expect(tokens).toEqual([1, 2, 11]);
    expect(parents).toEqual([-1, 0, 1]);
    expect(asked).toEqual(
      TRIE.edges.map(({ child }) => ({ parent: TRIE.nodes[child].depth - 2, token: TRIE.nodes[child].token })),
    );
  });

  it("propose what all labels have in common, and the rest of the answer once one is left", () => {
    expect(forced()).toEqual([1, 2]);
    expect(forced(1)).toEqual([2]);
    expect(forced(1, 2)).toEqual([]);
    expect(forced(1, 2, 10)).toEqual([3, 4]);
    expect(forced(1, 2, 11)).toEqual([]);
    expect(forced(1, 2, 11, 13)).toEqual([3, 4]);
    expect(forced(1, 2, 11, 13, 3)).toEqual([4]);
    expect(forced(1, 2, 11, 13, 3, 4)).toEqual([]);
  });

  it("propose nothing where the answer is none of a label", () => {
    for (const ids of [[9], [1, 9], [1, 2, 10, 9], [1, 2, 10, 3, 4, 9], [1, 2, 11, 13, 3, 9, 4]]) {
      expect(forced(...ids)).toEqual([]);
    }
  });

  it("are bounded", () => {
    const long = Array.from({ length: 200 }, (_, i) => 20 + i);
    const answers = [7, 8].map((end) => [...long, end, 0]);
    const trie = buildLabelTrie(answers.map((ids, i) => ({ label: `${i}`, ids })));
    expect(forcedDraft(trie, (label) => answers[label], []).tokens).toEqual(long.slice(0, LONGEST_DRAFT));
    expect(chainDraft([])).toBe(NO_DRAFT);
    expect(chainDraft([5, 6])).toEqual({ tokens: [5, 6], parents: [-1, 0] });
  });
});
