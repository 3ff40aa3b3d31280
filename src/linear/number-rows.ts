import type { Example } from "../data/example.ts";
import { type FeatureSettings, type RowHashes, rowHashes } from "./features.ts";

/** Rows whose n-grams are numbered in the order of their first occurrence: for each row and group the numbers, distinct. */
export interface NumberedRows {
  rows: readonly RowHashes[];
  /** The hash of each number. */
  hashes: Uint32Array;
}

const FIRST_SLOTS = 1 << 16;
const FREE = -1;

/** Hashes and numbers the n-grams of rows once, for all trainings on them or on parts of them. */
export function numberRows(examples: readonly Example[], settings: FeatureSettings): NumberedRows {
  const numbers = createNumbers();
  const rows = examples.map((example) => rowHashes(example, settings).map((group) => group.map(numbers.numberOf)));
  return { rows, hashes: numbers.hashes() };
}

/** Numbers distinct hashes from 0: a table with open addressing, several times as fast as a Map where there are millions. */
function createNumbers() {
  let mask = FIRST_SLOTS - 1;
  let slots = new Int32Array(FIRST_SLOTS).fill(FREE);
  let known = new Uint32Array(FIRST_SLOTS >> 1);
  let count = 0;
  const slotOf = (hash: number): number => {
    let slot = hash & mask;
    while (slots[slot] !== FREE && known[slots[slot]] !== hash) slot = (slot + 1) & mask;
    return slot;
  };
  const grow = () => {
    mask = 2 * slots.length - 1;
    slots = new Int32Array(mask + 1).fill(FREE);
    for (let number = 0; number < count; number++) slots[slotOf(known[number])] = number;
    const longer = new Uint32Array(2 * known.length);
    longer.set(known);
    known = longer;
  };
  return {
    numberOf(hash: number): number {
      const slot = slotOf(hash);
      if (slots[slot] !== FREE) return slots[slot];
      const number = count++;
      known[number] = hash;
      slots[slot] = number;
      // At most half of the slots are taken, so that a free one is near.
      if (count === known.length) grow();
      return number;
    },
    hashes: () => known.slice(0, count),
  };
}

/** The number of rows that have each n-gram, among the rows at these places. */
export function countRows({ rows, hashes }: NumberedRows, places: Iterable<number>): Uint32Array {
  const counts = new Uint32Array(hashes.length);
  for (const place of places) for (const group of rows[place]) for (const number of group) counts[number]++;
  return counts;
}
