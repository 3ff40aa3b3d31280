import { UserError } from "../../base/errors.ts";
import type { CodeRange, Pattern } from "./pattern.ts";

const MAX_PLACES = 30_000;
const MAX_STATES = 20_000;

/** A deterministic automaton over the bytes of UTF-8. States are numbers; it is made as far as it is walked. */
export interface ByteAutomaton {
  readonly start: number;
  /** The state after a byte, −1 where no text of the language begins like this. */
  next(state: number, byte: number): number;
  /** Whether the text so far is whole. */
  accepts(state: number): boolean;
  /** Whether something may follow. */
  continues(state: number): boolean;
}

/** A place of the nondeterministic automaton: edges by bytes, or without one. */
interface Place {
  bytes: { from: number; to: number; target: number }[];
  free: number[];
}

/** Builds the automaton (Thompson's construction, then subsets as they are met). Throws a UserError for a pattern that is too large. */
export function byteAutomaton(pattern: Pattern): ByteAutomaton {
  const places: Place[] = [];
  const place = (): number => {
    if (places.length >= MAX_PLACES) {
      throw new UserError(`the pattern has more than ${MAX_PLACES} places, expected a smaller one.`, {
        hint: "Counts such as {0,1000} multiply what they repeat.",
      });
    }
    return places.push({ bytes: [], free: [] }) - 1;
  };

  /** Adds a pattern behind a place; returns its end. */
  const add = (from: number, of: Pattern): number => {
    if (of.kind === "text") {
      let at = from;
      for (const byte of Buffer.from(of.text)) at = edge(at, byte, byte);
      return at;
    }
    if (of.kind === "set") {
      const end = place();
      for (const bytes of of.ranges.flatMap(utf8Ranges)) {
        let at = from;
        for (const [i, [low, high]] of bytes.entries()) {
          if (i === bytes.length - 1) places[at].bytes.push({ from: low, to: high, target: end });
          else at = edge(at, low, high);
        }
      }
      return end;
    }
    if (of.kind === "sequence") return of.parts.reduce((at, part) => add(at, part), from);
    if (of.kind === "choice") {
      const end = place();
      for (const option of of.options) {
        const start = place();
        places[from].free.push(start);
        places[add(start, option)].free.push(end);
      }
      return end;
    }
    let at = from;
    for (let i = 0; i < of.least; i++) at = add(at, of.of);
    if (of.most === null) {
      // A place of its own: what comes before must not be repeated.
      const loop = place();
      places[at].free.push(loop);
      places[add(loop, of.of)].free.push(loop);
      const end = place();
      places[loop].free.push(end);
      return end;
    }
    const end = place();
    places[at].free.push(end);
    for (let i = of.least; i < of.most; i++) {
      const start = place();
      places[at].free.push(start);
      at = add(start, of.of);
      places[at].free.push(end);
    }
    return end;
  };
  const edge = (from: number, low: number, high: number): number => {
    const target = place();
    places[from].bytes.push({ from: low, to: high, target });
    return target;
  };

  const first = place();
  const last = add(first, pattern);
  const closure = (seeds: Iterable<number>): number[] => {
    const seen = new Set<number>();
    const open = [...seeds];
    while (open.length > 0) {
      const at = open.pop() as number;
      if (seen.has(at)) continue;
      seen.add(at);
      open.push(...places[at].free);
    }
    // Places without edges say nothing but the end.
    return Array.from(seen)
      .filter((at) => at === last || places[at].bytes.length > 0)
      .sort((a, b) => a - b);
  };

  const states: { places: number[]; next: Int32Array }[] = [];
  const numbers = new Map<string, number>();
  const stateOf = (own: number[]): number => {
    const key = own.join();
    const known = numbers.get(key);
    if (known !== undefined) return known;
    if (states.length >= MAX_STATES) throw new UserError("the pattern has too many states, expected a smaller one.");
    numbers.set(key, states.length);
    return states.push({ places: own, next: new Int32Array(256).fill(UNKNOWN) }) - 1;
  };
  const start = stateOf(closure([first]));
  return {
    start,
    next(state, byte) {
      const known = states[state].next[byte];
      if (known !== UNKNOWN) return known;
      const targets = new Set<number>();
      for (const at of states[state].places) {
        for (const { from, to, target } of places[at].bytes) if (byte >= from && byte <= to) targets.add(target);
      }
      const next = targets.size === 0 ? DEAD : stateOf(closure(targets));
      states[state].next[byte] = next;
      return next;
    },
    accepts: (state) => states[state].places.includes(last),
    continues: (state) => states[state].places.some((at) => places[at].bytes.length > 0),
  };
}

const UNKNOWN = -2;
const DEAD = -1;

const LAST_OF_LENGTH = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** A range of code points as sequences of ranges of bytes (as RE2 and utf8-ranges cut them). */
export function utf8Ranges([from, to]: CodeRange): [number, number][][] {
  for (const last of LAST_OF_LENGTH) {
    if (from <= last && to > last) return [...utf8Ranges([from, last]), ...utf8Ranges([last + 1, to])];
  }
  if (to <= 0x7f) return [[[from, to]]];
  for (const shift of [6, 12, 18]) {
    const mask = (1 << shift) - 1;
    // Inside one lead, the last bytes must cover all continuations or none but one.
    if (from >> shift === to >> shift) continue;
    if ((from & mask) !== 0) return [...utf8Ranges([from, from | mask]), ...utf8Ranges([(from | mask) + 1, to])];
    if ((to & mask) !== mask) return [...utf8Ranges([from, (to & ~mask) - 1]), ...utf8Ranges([to & ~mask, to])];
  }
  const [low, high] = [Buffer.from(String.fromCodePoint(from)), Buffer.from(String.fromCodePoint(to))];
  return [Array.from(low, (byte, i): [number, number] => [byte, high[i]])];
}
