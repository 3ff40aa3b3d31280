import type { KeySpan } from "../compute/backend.ts";

/** Rows of a key/value cache that are next to each other. */
export type RowSpan = Pick<KeySpan, "start" | "length">;

/** Which rows of a key/value cache hold tokens, and for how many sequences: a shared beginning is kept until its last sequence has ended. */
export interface CacheRows {
  /** Rows that hold nothing. */
  readonly free: number;
  /** Takes `length` rows for one sequence; null when there are no such rows next to each other. */
  take(length: number): RowSpan | null;
  /** Takes `length` rows wherever they are, in as few spans as are found at once; null when fewer are free. */
  takeAny(length: number): RowSpan[] | null;
  /** One more sequence sees these rows. */
  hold(span: RowSpan): void;
  /** One sequence less sees these rows; those that none sees are free again. */
  release(span: RowSpan): void;
}

export function createCacheRows(capacity: number): CacheRows {
  const holders = new Int32Array(capacity);
  let free = capacity;
  /** Where the next search begins: behind what was found last, so that a search rarely passes used rows. */
  let next = 0;

  const use = (start: number, length: number): RowSpan => {
    holders.fill(1, start, start + length);
    free -= length;
    next = start + length;
    return { start, length };
  };
  /** The first row of `length` free ones in [from, end); −1 where there are none. */
  const find = (from: number, end: number, length: number): number => {
    let run = 0;
    for (let row = from; row < end; row++) {
      run = holders[row] === 0 ? run + 1 : 0;
      if (run === length) return row - length + 1;
    }
    return -1;
  };
  const take = (length: number): RowSpan | null => {
    if (length > free) return null;
    const behind = find(next, capacity, length);
    const start = behind >= 0 ? behind : find(0, capacity, length);
    return start < 0 ? null : use(start, length);
  };

  return {
    get free() {
      return free;
    },
    take,
    takeAny(length) {
      if (length === 0) return [];
      if (length > free) return null;
      const whole = take(length);
      if (whole) return [whole];
      const spans: RowSpan[] = [];
      let left = length;
      for (let row = 0; left > 0; row++) {
        if (holders[row] !== 0) continue;
        let end = row + 1;
        while (end < capacity && end - row < left && holders[end] === 0) end++;
        spans.push(use(row, end - row));
        left -= end - row;
        row = end - 1;
      }
      return spans;
    },
    hold({ start, length }) {
      for (let row = start; row < start + length; row++) holders[row]++;
    },
    release({ start, length }) {
      for (let row = start; row < start + length; row++) if (--holders[row] === 0) free++;
    },
  };
}
