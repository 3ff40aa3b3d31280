/** A pair of neighbouring pieces. */
export interface Pair {
  index: number;
  left: number;
  right: number;
}

/** Whether a pair may become a piece. */
export type Allows = (left: number, right: number) => boolean;

/** All text as chains of pieces, with the count and the places of each pair of neighbours. */
export interface Pairs {
  /** Counts every pair of the chains. */
  offerAll(allows: Allows): void;
  /** The most frequent pair, the first seen among equals; null when no pair occurs. */
  takeBest(): Pair | null;
  /** Replaces every occurrence of a pair by `id`. */
  join(pair: Pair, id: number, allows: Allows): void;
}

const ID_RANGE = 2 ** 24;
/** Sums of fractional weights leave a rounding error. */
const NOTHING = 1e-6;

/** Chains of the characters of each chunk; a character that is no piece ends one. */
export function createPairs(weights: ReadonlyMap<string, number>, ids: ReadonlyMap<string, number>): Pairs {
  let size = 0;
  for (const chunk of weights.keys()) size += chunk.length;
  const symbols = new Int32Array(size);
  const next = new Int32Array(size).fill(-1);
  const previous = new Int32Array(size).fill(-1);
  const weightAt = new Float64Array(size);
  const pairOf = new Map<number, number>();
  const lefts: number[] = [];
  const rights: number[] = [];
  const counts: number[] = [];
  /** The places where a pair was seen; some may have changed since. */
  const places: number[][] = [];
  const heap = createHeap(counts);

  const find = (left: number, right: number): number => {
    const key = left * ID_RANGE + right;
    let index = pairOf.get(key);
    if (index === undefined) {
      index = lefts.push(left) - 1;
      rights.push(right);
      counts.push(0);
      places.push([]);
      pairOf.set(key, index);
    }
    return index;
  };
  const add = (place: number): number => {
    const index = find(symbols[place], symbols[next[place]]);
    counts[index] += weightAt[place];
    places[index].push(place);
    return index;
  };
  const remove = (left: number, right: number, weight: number) => {
    counts[find(left, right)] -= weight;
  };

  let used = 0;
  for (const [chunk, weight] of weights) {
    let last = -1;
    for (const character of chunk) {
      const id = ids.get(character);
      if (id === undefined) {
        last = -1;
        continue;
      }
      symbols[used] = id;
      weightAt[used] = weight;
      if (last >= 0) {
        next[last] = used;
        previous[used] = last;
        add(last);
      }
      last = used++;
    }
  }

  return {
    offerAll(allows) {
      for (let index = 0; index < counts.length; index++) {
        if (allows(lefts[index], rights[index])) heap.push(index);
      }
    },
    takeBest() {
      const index = heap.pop();
      return index < 0 ? null : { index, left: lefts[index], right: rights[index] };
    },
    join({ index, left, right }, id, allows) {
      const touched = new Set<number>();
      // In order, so that of three equal neighbours the first two are joined.
      for (const place of places[index].sort((a, b) => a - b)) {
        const second = next[place];
        if (symbols[place] !== left || second < 0 || symbols[second] !== right) continue;
        const weight = weightAt[place];
        const before = previous[place];
        const after = next[second];
        if (before >= 0) remove(symbols[before], left, weight);
        if (after >= 0) remove(right, symbols[after], weight);
        symbols[place] = id;
        symbols[second] = -1;
        next[place] = after;
        next[second] = -1;
        if (after >= 0) previous[after] = place;
        if (before >= 0) touched.add(add(before));
        if (after >= 0) touched.add(add(place));
      }
      counts[index] = 0;
      places[index] = [];
      for (const one of touched) if (allows(lefts[one], rights[one])) heap.push(one);
    },
  };
}

/** Pairs by count, the largest on top, the smaller index first among equals; a pair whose count has changed is moved when it comes up. */
function createHeap(counts: readonly number[]) {
  const indices: number[] = [];
  const seen: number[] = [];
  const isBefore = (a: number, b: number) => seen[a] > seen[b] || (seen[a] === seen[b] && indices[a] < indices[b]);
  const swap = (a: number, b: number) => {
    [indices[a], indices[b]] = [indices[b], indices[a]];
    [seen[a], seen[b]] = [seen[b], seen[a]];
  };
  const push = (index: number) => {
    if (counts[index] <= NOTHING) return;
    seen.push(counts[index]);
    for (let at = indices.push(index) - 1; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!isBefore(at, parent)) break;
      swap(at, parent);
      at = parent;
    }
  };
  const takeTop = (): { index: number; count: number } => {
    const top = { index: indices[0], count: seen[0] };
    swap(0, indices.length - 1);
    indices.pop();
    seen.pop();
    for (let at = 0; 2 * at + 1 < indices.length; ) {
      let child = 2 * at + 1;
      if (child + 1 < indices.length && isBefore(child + 1, child)) child++;
      if (!isBefore(child, at)) break;
      swap(at, child);
      at = child;
    }
    return top;
  };
  return {
    push,
    /** −1 when nothing is left. */
    pop(): number {
      while (indices.length > 0) {
        const { index, count } = takeTop();
        if (counts[index] === count) return index;
        // A grown count already has an entry of its own.
        if (counts[index] < count) push(index);
      }
      return -1;
    },
  };
}
