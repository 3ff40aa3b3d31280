/** Finds the longest key of a set that a text has at a position. */
export interface PrefixTrie {
  readonly keys: readonly string[];
  /** The index in `keys` of the longest key that `text` has at `at`, or -1. */
  longestAt(text: string, at: number): number;
}

/** Builds a trie over UTF-16 units. Keys must not be empty; of equal keys the first counts. */
export function createPrefixTrie(keys: readonly string[]): PrefixTrie {
  // A plain table for the first step, which happens at every character of every text.
  const roots = new Int32Array(keys.length > 0 ? 0x10000 : 0);
  const steps = new Map<number, number>();
  const keyAt: number[] = [-1];
  keys.forEach((key, index) => {
    let node = 0;
    for (let i = 0; i < key.length; i++) {
      const unit = key.charCodeAt(i);
      let following = i === 0 ? roots[unit] : (steps.get(node * 0x10000 + unit) ?? 0);
      if (following === 0) {
        following = keyAt.push(-1) - 1;
        if (i === 0) roots[unit] = following;
        else steps.set(node * 0x10000 + unit, following);
      }
      node = following;
    }
    if (keyAt[node] < 0) keyAt[node] = index;
  });
  const longestAt = (text: string, at: number): number => {
    let node = roots[text.charCodeAt(at)];
    let longest = keyAt[node];
    for (let i = at + 1; i < text.length; i++) {
      node = steps.get(node * 0x10000 + text.charCodeAt(i)) ?? 0;
      if (node === 0) break;
      if (keyAt[node] >= 0) longest = keyAt[node];
    }
    return longest;
  };
  return { keys, longestAt: keys.length === 0 ? () => -1 : longestAt };
}
