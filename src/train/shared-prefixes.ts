import type { AttentionSegment } from "../compute/backend.ts";

/** Sequences of token ids as rows of one forward pass; beginnings that several have in common stand there once. */
export interface PackedSequences {
  ids: Int32Array; // [T]
  segments: AttentionSegment[];
  /** rows[s][i] is the row of token i of sequence s. */
  rows: Int32Array[];
}

/** Shorter common beginnings are not worth a segment of their own: attention works on blocks of 32 rows. */
const SHORTEST_PREFIX = 16;

type Context = AttentionSegment["context"];

/**
 * Packs sequences behind each other. With `share`, sequences that begin alike (the instruction of a prompt, the sentence that several pairs
 * of entities are in) see the rows of their common beginning instead of having their own, to any depth: every token still sees exactly the
 * tokens before it in its sequence, so what is computed of it is the same.
 */
export function packSequences(sequences: readonly ArrayLike<number>[], share: boolean): PackedSequences {
  const ids: number[] = [];
  const segments: AttentionSegment[] = [];
  const rows = sequences.map((sequence) => new Int32Array(sequence.length));

  /** Tokens [from, end) of the first sequence of a group, which all of the group have; returns what those behind them see. */
  const emit = (group: readonly number[], from: number, end: number, context: Context): Context => {
    if (end === from) return context;
    const start = ids.length;
    const sequence = sequences[group[0]];
    for (let i = from; i < end; i++) {
      for (const member of group) rows[member][i] = ids.length;
      ids.push(sequence[i]);
    }
    segments.push({ start, length: end - from, keyStart: start, position: from, context });
    return [...context, { start, length: end - from, position: from }];
  };

  /** Sequences that have their first `common` tokens in common, of which the first `from` are `context`. */
  const place = (group: readonly number[], from: number, common: number, context: Context): void => {
    if (group.length === 1 || !share) {
      for (const member of group) emit([member], from, sequences[member].length, context);
      return;
    }
    const end = commonEnd(group, common);
    const worth = end - from >= SHORTEST_PREFIX;
    const seen = worth ? emit(group, from, end, context) : context;
    // By the next token, in order of appearance; those that end here have all their rows, or have them still to come.
    const branches = new Map<number, number[]>();
    for (const member of group) {
      const next = sequences[member].length > end ? sequences[member][end] : -1;
      const branch = branches.get(next);
      if (branch) branch.push(member);
      else branches.set(next, [member]);
    }
    for (const [next, branch] of branches) {
      if (next >= 0) place(branch, worth ? end : from, end + 1, seen);
      else if (!worth) for (const member of branch) emit([member], from, end, context);
    }
  };

  /** How far the sequences of a group agree; they do up to `known`. */
  const commonEnd = (group: readonly number[], known: number): number => {
    const first = sequences[group[0]];
    let end = first.length;
    for (const member of group) {
      const other = sequences[member];
      end = Math.min(end, other.length);
      let i = known;
      while (i < end && other[i] === first[i]) i++;
      end = Math.min(end, Math.max(i, known));
    }
    return end;
  };

  place([...sequences.keys()], 0, 0, []);
  return { ids: Int32Array.from(ids), segments, rows };
}
