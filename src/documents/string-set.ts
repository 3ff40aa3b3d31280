// Random for every process, so that no file can be made whose names all have one hash. No result depends on them.
const BASE = crypto.getRandomValues(new Uint32Array(1))[0] | 1;
const UNIT_HASHES = new Int32Array(1 << 16);
/** One call gives at most this number of bytes. */
const MOST_RANDOM_BYTES = 1 << 16;
for (let at = 0; at < UNIT_HASHES.byteLength; at += MOST_RANDOM_BYTES) {
  crypto.getRandomValues(new Uint8Array(UNIT_HASHES.buffer, at, MOST_RANDOM_BYTES));
}

/**
 * The polynomial hash of a text up to each unit: `ends[i + 1] = ends[i] · BASE + UNIT_HASHES[unit]` (mod 2^32), so that the hash of any part
 * needs one product (Karp and Rabin 1987).
 */
export function prefixHashes(units: Uint16Array, length: number, ends: Int32Array): void {
  ends[0] = 0;
  for (let i = 0; i < length; i++) ends[i + 1] = (Math.imul(ends[i], BASE) + UNIT_HASHES[units[i]]) | 0;
}

/** The hash of a whole text: the last of its {@link prefixHashes}. */
export function hashOf(units: Uint16Array, length: number): number {
  let hash = 0;
  for (let i = 0; i < length; i++) hash = (Math.imul(hash, BASE) + UNIT_HASHES[units[i]]) | 0;
  return hash;
}

/** The first `count` powers of the base. */
export function basePowers(count: number): Int32Array {
  const powers = new Int32Array(count);
  powers[0] = 1;
  for (let i = 1; i < count; i++) powers[i] = Math.imul(powers[i - 1], BASE);
  return powers;
}

/** Spreads a hash: its low bits depend only on the low bits of the units (the finalizer of MurmurHash3). */
export function spread(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A growing list of strings in typed arrays: a million short strings take some 15 MB, a third of what JavaScript strings take. */
export interface StringList {
  size(): number;
  /** Adds the string `units[0, length)` and returns its number. */
  add(units: Uint16Array, length: number): number;
  lengthOf(index: number): number;
  /** Copies the first `length` units of a string. */
  copy(index: number, into: Uint16Array, length: number): void;
  text(index: number): string;
}

/** A growing set of strings in typed arrays. */
export interface StringSet extends StringList {
  /** The number of the string `units[start, start + length)` with its {@link hashOf}; -1 when there is none. */
  find(units: Uint16Array, start: number, length: number, hash: number): number;
}

const MIN_SIZE = 1 << 10;
const UNITS_PER_STRING = 8;

/** `expected`: about how many strings will come, so that the arrays need not grow. */
export function createStringList(expected = MIN_SIZE): StringList {
  const strings = createStrings(expected);
  return { ...readers(strings), add: (units, length) => append(strings, units, length) };
}

export function createStringSet(expected = MIN_SIZE): StringSet {
  const strings = createStrings(expected);
  let hashes = new Int32Array(Math.max(MIN_SIZE, expected));
  // Number + 1; 0 is free. At most half of them are taken.
  let slots = new Int32Array(1 << (33 - Math.clz32(Math.max(MIN_SIZE, expected) - 1)));

  /** The slot of a string, or the free one where it would be. */
  const slotOf = (units: Uint16Array, start: number, length: number, hash: number): number => {
    const mask = slots.length - 1;
    const { arena, starts } = strings;
    let at = spread(hash) & mask;
    for (; slots[at] !== 0; at = (at + 1) & mask) {
      const index = slots[at] - 1;
      if (hashes[index] !== hash) continue;
      const from = starts[index];
      if (starts[index + 1] - from !== length) continue;
      let i = 0;
      while (i < length && arena[from + i] === units[start + i]) i++;
      if (i === length) break;
    }
    return at;
  };
  const enlarge = () => {
    slots = new Int32Array(2 * slots.length);
    const mask = slots.length - 1;
    for (let index = 0; index < strings.size; index++) {
      let at = spread(hashes[index]) & mask;
      while (slots[at] !== 0) at = (at + 1) & mask;
      slots[at] = index + 1;
    }
  };
  return {
    ...readers(strings),
    add(units, length) {
      if (2 * (strings.size + 1) > slots.length) enlarge();
      const hash = hashOf(units, length);
      const slot = slotOf(units, 0, length, hash);
      if (slots[slot] !== 0) return slots[slot] - 1;
      const index = append(strings, units, length);
      if (index >= hashes.length) hashes = grown(hashes, index + 1);
      hashes[index] = hash;
      slots[slot] = index + 1;
      return index;
    },
    find: (units, start, length, hash) => slots[slotOf(units, start, length, hash)] - 1,
  };
}

/** String i is `arena[starts[i], starts[i + 1])`. */
interface Strings {
  arena: Uint16Array;
  starts: Uint32Array;
  size: number;
}

function createStrings(expected: number): Strings {
  const count = Math.max(MIN_SIZE, expected);
  return { arena: new Uint16Array(UNITS_PER_STRING * count), starts: new Uint32Array(count + 1), size: 0 };
}

function append(strings: Strings, units: Uint16Array, length: number): number {
  const { size } = strings;
  const start = strings.starts[size];
  const end = start + length;
  if (end > strings.arena.length) strings.arena = grown(strings.arena, end);
  if (size + 2 > strings.starts.length) strings.starts = grown(strings.starts, size + 2);
  for (let i = 0; i < length; i++) strings.arena[start + i] = units[i];
  strings.starts[size + 1] = end;
  strings.size++;
  return size;
}

function readers(strings: Strings): Omit<StringList, "add"> {
  return {
    size: () => strings.size,
    lengthOf: (index) => strings.starts[index + 1] - strings.starts[index],
    copy(index, into, length) {
      const start = strings.starts[index];
      for (let i = 0; i < length; i++) into[i] = strings.arena[start + i];
    },
    text: (index) => String.fromCharCode(...strings.arena.subarray(strings.starts[index], strings.starts[index + 1])),
  };
}

/** The same numbers in an array of at least `length`, half as large again. */
export function grown<T extends Uint16Array | Uint32Array | Int32Array>(numbers: T, length: number): T {
  const larger = new (numbers.constructor as new (length: number) => T)(
    Math.max(length, Math.ceil(1.5 * numbers.length)),
  );
  larger.set(numbers);
  return larger;
}
